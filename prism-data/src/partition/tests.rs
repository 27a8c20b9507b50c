use proptest::prelude::*;

use super::*;

/// `n` labels that run through `classes` in a scrambled order.
fn labels(n: usize, classes: usize) -> Vec<u16> {
    let mut stream = StreamId::new(11, Purpose::Test).open();
    (0..n).map(|i| if i < classes { i as u16 } else { stream.below(classes) as u16 }).collect()
}

/// Refuses lists that share an image, repeat one or are out of order; returns how many images they hold.
fn disjoint(parts: &[Vec<usize>], n: usize) -> usize {
    let mut seen = vec![false; n];
    for part in parts {
        assert!(part.is_sorted());
        for &image in part {
            assert!(!std::mem::replace(&mut seen[image], true), "image {image} was given twice");
        }
    }
    seen.into_iter().filter(|&s| s).count()
}

fn classes_of(part: &[usize], labels: &[u16]) -> usize {
    let mut held: Vec<u16> = part.iter().map(|&image| labels[image]).collect();
    held.sort_unstable();
    held.dedup();
    held.len()
}

fn error(text: &str, labels: Option<&[u16]>, n: usize, clients: usize) -> String {
    let classes = labels.map_or(0, |_| 10);
    text.parse::<Partition>().unwrap().split(labels, n, classes, clients, 0).unwrap_err().to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn iid_parts_cover_everything_equally(n in 1usize..2000, share in 0f64..1.0, seed: u64) {
        let clients = 1 + (share * (n - 1) as f64) as usize;
        let parts = Partition::Iid.split(None, n, 0, clients, seed).unwrap();
        prop_assert_eq!(disjoint(&parts, n), n);
        let sizes = parts.iter().map(Vec::len);
        prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
    }

    #[test]
    fn shards_cover_everything_with_few_classes_each(
        n in 200usize..2000, clients in 1usize..20, shards in 1usize..6, seed: u64,
    ) {
        let labels = labels(n, 10);
        let parts = Partition::Shards(shards).split(Some(&labels), n, 10, clients, seed).unwrap();
        prop_assert_eq!(parts.len(), clients);
        prop_assert_eq!(disjoint(&parts, n), n);
        for part in &parts {
            prop_assert!(part.len() >= shards * (n / (clients * shards)));
            // A shard of size s spans at most the classes that begin inside it, plus one.
            if clients * shards >= 20 && n >= 1000 {
                prop_assert!(classes_of(part, &labels) <= 2 * shards);
            }
        }
    }

    #[test]
    fn dirichlet_shares_cover_everything_and_leave_nobody_empty(
        n in 100usize..2000, clients in 1usize..10, alpha in 0.3f64..100.0, seed: u64,
    ) {
        let labels = labels(n, 10);
        let parts = Partition::Dirichlet(alpha).split(Some(&labels), n, 10, clients, seed).unwrap();
        prop_assert_eq!(parts.len(), clients);
        prop_assert_eq!(disjoint(&parts, n), n);
        let minimum = dirichlet::minimum(n, clients);
        prop_assert!(parts.iter().all(|part| part.len() >= minimum));
    }

    #[test]
    fn each_client_holds_exactly_its_number_of_classes(clients in 1usize..30, held in 1usize..=10, seed: u64) {
        let n = 3000;
        let labels = labels(n, 10);
        let parts = Partition::Classes(held).split(Some(&labels), n, 10, clients, seed).unwrap();
        prop_assert!(parts.iter().all(|part| classes_of(part, &labels) == held));
        let given = disjoint(&parts, n);
        if clients * held >= 10 {
            prop_assert_eq!(given, n);
        }
    }

    #[test]
    fn the_seed_alone_decides(seed: u64, which in 0usize..4) {
        let partition = [Partition::Iid, Partition::Shards(2), Partition::Dirichlet(0.5), Partition::Classes(2)][which];
        let labels = labels(500, 10);
        let split = |seed| partition.split(Some(&labels), 500, 10, 8, seed).unwrap();
        prop_assert_eq!(split(seed), split(seed));
        prop_assert_ne!(split(seed), split(seed.wrapping_add(1)));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,20}", number in "[0-9.eE+-]{0,8}", which in 0usize..3) {
        let _ = text.parse::<Partition>();
        let text = format!("{}:{number}", ["shards", "dirichlet", "classes"][which]);
        if let Ok(partition) = text.parse::<Partition>() {
            prop_assert_eq!(partition.to_string().parse::<Partition>().unwrap(), partition);
        }
    }
}

/// What a private run rests on: a part goes by an image's number, whatever it and the others show.
#[test]
fn equal_parts_do_not_move_when_an_image_gets_another_label() {
    let labels = labels(500, 10);
    let mut relabelled = labels.clone();
    relabelled[123] = (labels[123] + 1) % 10;
    let split = |partition: Partition, labels: &[u16]| partition.split(Some(labels), 500, 10, 8, 3).unwrap();
    assert_eq!(split(Partition::Iid, &labels), split(Partition::Iid, &relabelled));
    // By label more than that image moves, which PRIVACY.md says: a sum over all clients does not see it.
    assert_ne!(split(Partition::Shards(2), &labels), split(Partition::Shards(2), &relabelled));
}

#[test]
fn a_small_alpha_skews_and_a_large_one_does_not() {
    let labels = labels(6000, 10);
    let largest_share = |alpha| {
        let parts = Partition::Dirichlet(alpha).split(Some(&labels), 6000, 10, 5, 3).unwrap();
        let counts = Table::new(Some(&labels), &(0..10).map(|c| c.to_string()).collect::<Vec<_>>(), &parts).clients;
        let share = |class: usize| {
            let column = counts.iter().map(|counts| counts[class]);
            column.clone().max().unwrap() as f64 / column.sum::<usize>() as f64
        };
        (0..10).map(share).sum::<f64>() / 10.0
    };
    assert!(largest_share(0.1) > 0.7);
    assert!(largest_share(1000.0) < 0.25);
}

#[test]
fn names_go_through_text_and_back() {
    for text in ["iid", "shards:2", "dirichlet:0.5", "classes:3"] {
        let partition: Partition = text.parse().unwrap();
        assert_eq!(partition.to_string(), text);
        let json = serde_json::to_string(&partition).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Partition>(&json).unwrap(), partition);
    }
}

#[test]
fn impossible_partitions_are_refused_in_words() {
    for text in ["", "iid:2", "shards", "shards:-1", "shards:two", "dirichlet:", "IID", "classes:1.5"] {
        assert!(text.parse::<Partition>().unwrap_err().to_string().contains("is unknown"), "{text}");
    }
    for text in ["shards:0", "classes:0", "dirichlet:0", "dirichlet:-1", "dirichlet:NaN", "dirichlet:inf"] {
        assert!(text.parse::<Partition>().unwrap_err().to_string().contains("choose"), "{text}");
    }
    let labels = labels(100, 10);
    assert!(error("iid", None, 100, 0).contains("number of clients is 0"));
    assert!(error("iid", None, 100, 101).contains("at most 100 clients"));
    assert!(error("shards:2", None, 100, 5).contains("no labels"));
    assert!(error("shards:21", Some(&labels), 100, 5).contains("at most shards:20"));
    assert!(error(&format!("shards:{}", usize::MAX), Some(&labels), 100, 5).contains("at most shards:20"));
    assert!(error("shards:2", Some(&labels[..99]), 100, 5).contains("99 labels for 100 images"));
    assert!(error("shards:2", Some(&[10; 100]), 100, 5).contains("label 10"));
    assert!(error("classes:11", Some(&labels), 100, 5).contains("at most classes:10"));
    assert!(error("classes:9", Some(&labels), 100, 90).contains("choose fewer clients"));
    let starved = error("dirichlet:0.001", Some(&labels), 100, 10);
    assert!(starved.contains("dirichlet:0.001") && starved.contains("larger alpha"), "{starved}");
}

#[test]
fn a_class_without_images_is_dealt_to_nobody() {
    let labels = [0, 0, 2, 2];
    let parts = Partition::Classes(2).split(Some(&labels), 4, 3, 2, 0).unwrap();
    assert!(parts.iter().all(|part| classes_of(part, &labels) == 2));
    assert!(Partition::Classes(3).split(Some(&labels), 4, 3, 2, 0).is_err());
}
