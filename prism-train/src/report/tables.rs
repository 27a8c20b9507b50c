//! The report's tables.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::record::Record;
use crate::metrics::evaluation::FeatureFigures;
use crate::units::{bytes, duration};

/// Clients whose images are listed one by one.
const MAX_CLIENTS: usize = 50;
/// Classes that get a column each.
const MAX_CLASSES: usize = 40;

/// A count with commas: 12345678 is 12,345,678.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && digits.as_bytes()[at - 1] != b'-' {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn share(x: f64) -> String {
    format!("{:.1}%", 100.0 * x)
}

/// A fact of a run, by its name.
type Fact = (&'static str, fn(&Record) -> Option<String>);

/// The value of a fact or a setting for each run.
type Row = Vec<Option<String>>;

const FACTS: [Fact; 18] = [
    ("data set", |r| r.description().map(|d| d.dataset.clone()).or_else(|| r.setting("data", "dataset"))),
    ("clients, partition", |r| {
        Some(format!("{}, {}", r.setting("federation", "clients")?, r.setting("data", "partition")?))
    }),
    ("rounds x local steps", |r| Some(format!("{} x {}", r.rounds.len(), r.setting("federation", "local-steps")?))),
    ("rounds missed", missed),
    ("weights (ngf)", |r| {
        let arch = &r.description()?.architecture;
        Some(format!("{} ({})", count(arch.weights() as f64), arch.ngf))
    }),
    ("classes", |r| r.description().map(|d| d.architecture.classes.to_string())),
    ("loss after the last round", |r| r.last("loss").map(|x| format!("{x:.4}"))),
    ("Frechet distance", |r| main_figures(r)?.frechet_distance.map(|x| format!("{x:.3}"))),
    ("precision / recall", |r| {
        main_figures(r).map(|f| format!("{:.3} / {:.3}", f.neighbourhood.precision, f.neighbourhood.recall))
    }),
    ("density / coverage", |r| {
        main_figures(r).map(|f| format!("{:.3} / {:.3}", f.neighbourhood.density, f.neighbourhood.coverage))
    }),
    ("agreement with the asked class", |r| r.evaluation.as_ref()?.classifier.as_ref()?.agreement.map(share)),
    ("train on synthetic, test on real (lowest)", |r| r.evaluation.as_ref()?.tstr.as_ref().map(|t| share(t.lowest()))),
    ("model file", |r| r.model_bytes.map(|b| bytes(b as f64))),
    ("uplink in all", |r| Some(bytes(r.sum("uplink_bytes")))),
    ("downlink in all", |r| Some(bytes(r.sum("downlink_bytes")))),
    ("uplink, last round", |r| r.last("uplink_bits_per_weight").map(|x| format!("{x:.4} bit/weight"))),
    ("its bound", |r| r.last("kl_bits_per_weight").map(|x| format!("{x:.4} bit/weight"))),
    ("time", |r| Some(duration(r.sum("seconds")))),
];

/// Which client missed how many rounds; nothing where nobody did.
fn missed(record: &Record) -> Option<String> {
    let found = record.missing();
    let named = |(client, rounds): (&u64, &usize)| format!("client {client}: {rounds}");
    let mut parts: Vec<String> = found.iter().take(MAX_CLIENTS).map(named).collect();
    if found.len() > MAX_CLIENTS {
        parts.push(format!("and {} more clients", found.len() - MAX_CLIENTS));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn main_figures(record: &Record) -> Option<&FeatureFigures> {
    record.evaluation.as_ref()?.features.first()
}

/// The runs side by side.
pub fn comparison(records: &[Record]) -> Markup {
    let rows = FACTS.iter().map(|(name, fact)| (*name, records.iter().map(fact).collect::<Row>()));
    html! {
        div.scroll { table {
            (names(records))
            tbody {
                @for (fact, row) in rows.filter(|(_, row)| row.iter().any(Option::is_some)) { tr { (cells(fact, &row)) } }
            }
        } }
    }
}

/// Every setting, group by group as in `settings.toml`; those in which runs differ stand out.
pub fn settings(records: &[Record]) -> Markup {
    let row = |group: &str, key: &str| records.iter().map(|record| record.setting(group, key)).collect::<Row>();
    html! {
        div.scroll { table {
            (names(records))
            @for (group, keys) in groups(records) {
                tbody {
                    tr.group { th colspan=(records.len() + 1) scope="rowgroup" { "[" (group) "]" } }
                    @for key in keys {
                        @let row = row(group, key);
                        tr.differs[row.iter().any(|value| *value != row[0])] { (cells(key, &row)) }
                    }
                }
            }
        } }
    }
}

/// The keys of each group that some run has.
fn groups(records: &[Record]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (group, table) in records.iter().flat_map(|record| &record.settings) {
        let keys = table.as_table().into_iter().flat_map(|table| table.keys());
        groups.entry(group).or_default().extend(keys.map(String::as_str));
    }
    groups
}

/// The head of a table with a column for each run.
fn names(records: &[Record]) -> Markup {
    html! { thead { tr { th {} @for (run, record) in records.iter().enumerate() { th { (name(run, record)) } } } } }
}

/// The cells of one row of such a table.
fn cells(label: &str, row: &[Option<String>]) -> Markup {
    html! {
        th { (label) }
        @for value in row { td { (value.as_deref().unwrap_or("–")) } }
    }
}

/// The run's name behind a swatch of its colour.
pub fn name(run: usize, record: &Record) -> Markup {
    html! { span.swatch style=(format!("background:{}", super::curve::colour(run))) {} (record.name) }
}

/// Kept weights and open probabilities, layer by layer.
pub fn layers(record: &Record) -> Markup {
    let Some(model) = &record.model else { return html! { p { "No round is finished yet." } } };
    if model.layers.is_empty() {
        return html! { p { "Dense weights: there is no mask." } };
    }
    html! {
        div.scroll { table.layers {
            thead { tr { th { "layer" } th { "weights" } th { "kept" } th { "entropy, bit/weight" } } }
            tbody {
                @for layer in &model.layers {
                    tr {
                        th { (layer.name) }
                        td { (count(layer.weights as f64)) }
                        td { (bar(layer.density)) (share(layer.density)) }
                        td { (bar(layer.entropy)) (format!("{:.3}", layer.entropy)) }
                    }
                }
            }
        } }
    }
}

fn bar(share: f64) -> Markup {
    html! { span.bar { span style=(format!("width:{:.1}%", 100.0 * share.clamp(0.0, 1.0))) {} } }
}

/// Both directions against their bounds, and against sending every weight as 32 bits.
pub fn traffic(records: &[Record]) -> Markup {
    let mean = |record: &Record, key: &str| {
        let curve = record.curve(key);
        let sum: f64 = curve.iter().map(|(_, value)| value).sum();
        (!curve.is_empty()).then(|| format!("{:.4}", sum / curve.len() as f64))
    };
    let rows: [(&str, &str, &str, &str); 2] = [
        ("up", "uplink_bytes", "uplink_bits_per_weight", "kl_bits_per_weight"),
        ("down", "downlink_bytes", "downlink_bits_per_weight", "downlink_bound_bits_per_weight"),
    ];
    html! {
        div.scroll { table {
            thead { tr {
                th { "run" } th {} th { "bytes" } th { "bit/weight and client, mean" } th { "bound, mean" } th { "dense, 32 bit" }
                th { "times less" }
            } }
            tbody {
                @for (run, record) in records.iter().enumerate() {
                    @for (direction, total, bits, bound) in rows {
                        @let dense = dense_bytes(record, direction == "up");
                        tr {
                            th { (name(run, record)) }
                            th { (direction) }
                            td title=(format!("{} bytes", count(record.sum(total)))) { (bytes(record.sum(total))) }
                            td { (mean(record, bits).unwrap_or("–".into())) }
                            td { (mean(record, bound).unwrap_or("–".into())) }
                            td { (dense.map_or("–".into(), bytes)) }
                            td { (dense.map_or("–".into(), |dense| format!("{:.1}", dense / record.sum(total).max(1.0)))) }
                        }
                    }
                }
            }
        } }
    }
}

/// What FedAvg of 32-bit weights would send in one direction in the same rounds.
fn dense_bytes(record: &Record, up: bool) -> Option<f64> {
    let weights = record.description()?.architecture.weights() as f64;
    Some(4.0 * weights * record.sum(if up { "clients_answered" } else { "clients_asked" }))
}

/// Who holds what: a row a client, darker where there is more.
pub fn partition(record: &Record) -> Markup {
    let Some(table) = &record.partition else { return html! { p { "This run kept no partition table." } } };
    let clients = table.clients.len();
    if clients == 0 {
        return html! { p { "This run's partition table names no client." } };
    }
    let (least, most) = (0..clients).map(|c| table.total(c)).fold((usize::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
    let top = table.clients.iter().flatten().copied().max().unwrap_or(1).max(1);
    let shade = |held: usize| format!("background:rgba(0,114,178,{:.3})", 0.55 * held as f64 / top as f64);
    html! {
        p {
            (clients) " clients, " (count(least as f64)) @if least < most { " to " (count(most as f64)) } " images each."
        }
        @if clients <= MAX_CLIENTS && table.classes.len() <= MAX_CLASSES {
            div.scroll { table.partition {
                thead { tr { th { "client" } @for class in &table.classes { th { (class) } } th { "all" } } }
                tbody {
                    @for (client, held) in table.clients.iter().enumerate() {
                        tr {
                            th { (client) }
                            @for &held in held { td style=(shade(held)) { @if held > 0 { (held) } } }
                            td { (table.total(client)) }
                        }
                    }
                }
            } }
        }
    }
}

/// All figures of the last evaluation.
pub fn evaluation(record: &Record) -> Markup {
    let Some(found) = &record.evaluation else { return html! {} };
    let images = &found.images;
    html! {
        p {
            (count(images.generated_images as f64)) " generated images (seed " (images.seed) ", after round " (found.rounds)
            ") against " (count(images.real_images as f64)) " real ones of " (images.dataset) ", " (images.split)
            " split; " (images.neighbours) " nearest neighbours."
        }
        div.scroll { table {
            thead { tr {
                th { "features" } th { "Frechet distance" } th { "precision" } th { "recall" } th { "density" } th { "coverage" }
            } }
            tbody { @for figures in &found.features { (feature_row(figures)) } }
        } }
        @if let Some(figures) = &found.classifier {
            p {
                "A classifier of " (figures.classifier.dataset) " (" (share(figures.classifier.test_accuracy))
                " of its real test images right) is " (share(figures.confidence)) " sure on average"
                @if let Some(agreement) = figures.agreement { ", and puts " (share(agreement)) " in the class that was asked for" }
                ". What it sees:"
            }
            div.scroll { table.layers { tbody {
                @for (class, part) in figures.classifier.class_names.iter().zip(&figures.histogram) {
                    tr { th { (class) } td { (bar(*part)) (share(*part)) } }
                }
            } } }
        }
        @if let Some(tstr) = &found.tstr {
            p {
                "Trained on " (count(tstr.generated_images as f64)) " generated images, classifiers tell at least "
                strong { (share(tstr.lowest())) } " of " (count(tstr.real_images as f64)) " real ones right:"
            }
            table.layers { tbody {
                @for learned in &tstr.students {
                    tr {
                        th { (learned.student.name()) }
                        td { (bar(learned.accuracy)) (share(learned.accuracy)) }
                        td { @if let Some(real) = learned.trained_on_real { "trained on real images " (share(real)) } }
                    }
                }
            } }
        }
    }
}

fn feature_row(figures: &FeatureFigures) -> Markup {
    let near = &figures.neighbourhood;
    html! { tr {
        th { (figures.features) " (" (figures.width) ")" }
        td { (figures.frechet_distance.map_or("-".into(), |x| format!("{x:.3}"))) }
        @for x in [near.precision, near.recall, near.density, near.coverage] { td { (format!("{x:.3}")) } }
    } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0.0, 999.0, 1000.0, 12_345_678.0].map(count), ["0", "999", "1,000", "12,345,678"]);
    }

    #[test]
    fn who_missed_rounds_is_named_with_their_number() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("settings.toml"), "").unwrap();
        let mut lines = String::from("{\"round\":1}\n{\"round\":2,\"missing\":[1,4]}\n{\"round\":3,\"missing\":[4]}\n");
        let record = |lines: &str| {
            std::fs::write(folder.path().join("metrics.jsonl"), lines).unwrap();
            Record::read(folder.path()).unwrap()
        };
        assert_eq!(missed(&record(&lines)).as_deref(), Some("client 1: 1; client 4: 2"));
        assert!(comparison(&[record(&lines)]).into_string().contains("<th>rounds missed</th>"));
        assert_eq!(missed(&record("{\"round\":1}\n")), None);
        let all: Vec<usize> = (0..MAX_CLIENTS + 7).collect();
        lines = format!("{{\"round\":1,\"missing\":{all:?}}}\n");
        assert!(missed(&record(&lines)).unwrap().ends_with("client 49: 1; and 7 more clients"));
    }

    #[test]
    fn settings_stand_in_their_groups_and_those_that_differ_are_marked() {
        let folder = tempfile::tempdir().unwrap();
        let record = |name: &str, settings: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("settings.toml"), settings).unwrap();
            Record::read(&path).unwrap()
        };
        let one = record("one", "[data]\ndataset = \"strokes\"\n[training]\nlr = 0.1\n");
        let two = record("two", "[data]\ndataset = \"strokes\"\nlimit = 80\n[training]\nlr = 0.05\n");
        assert_eq!(one.setting("training", "lr").as_deref(), Some("0.1"));
        assert_eq!(one.setting("training", "dataset"), None);
        let html = settings(&[one, two]).into_string();
        let row =
            |key: &str, values: [&str; 2]| format!("<th>{key}</th><td>{}</td><td>{}</td></tr>", values[0], values[1]);
        for part in [
            ">[data]</th></tr><tr class=\"\"><th>dataset</th>".to_string(),
            ">[training]</th></tr><tr class=\"differs\"><th>lr</th>".to_string(),
            row("dataset", ["strokes", "strokes"]),
            row("limit", ["–", "80"]),
            row("lr", ["0.1", "0.05"]),
        ] {
            assert!(html.contains(&part), "{part} is missing in {html}");
        }
        assert_eq!(html.matches("class=\"differs\"").count(), 2, "{html}");
    }
}
