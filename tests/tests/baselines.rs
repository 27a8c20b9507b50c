//! What masks are compared with: dense weights, and the published way to match moments.

use std::fs;

use e2e::tiny::{artifact, tiny, train};
use e2e::{refused, succeed};

const FEDAVG: [&str; 6] = ["--training-mask", "dense", "--alpha", "1", "--codec", "raw"];

#[test]
fn dense_weights_are_averaged_and_judged_but_never_shipped() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [&FEDAVG[..], &["--score-scale", "1", "--out", "dense", "--json"]].concat();
    let outcome: serde_json::Value =
        serde_json::from_str(&succeed("prism-train", folder.path(), &tiny(&flags))).unwrap();
    let run = folder.path().join("dense");
    assert_eq!(outcome["dense"], true);
    assert!(run.join("samples.png").exists() && !run.join("model.safetensors.zst").exists());
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    let bits = line["uplink_bits_per_weight"].as_f64().unwrap();
    assert!((32.0..32.5).contains(&bits), "{bits} bits");
    assert_eq!((line["density"].as_f64(), line["lambda"].as_f64()), (Some(1.0), Some(1.0)));
    let weights = outcome["model_bytes"].as_u64().unwrap() / 4;
    assert_eq!(line["dense_bytes"].as_u64().unwrap() % (4 * weights), 0);

    let figures = succeed("prism-train", folder.path(), &["eval", "dense", "--n", "300", "--json", "--quiet"]);
    assert!(figures.contains("frechet_distance"), "{figures}");
    refused("prism-export", folder.path(), &["dense"], 2, &["dense weights", "eval"]);
    succeed("prism-train", folder.path(), &["report", "dense"]);
}

#[test]
fn dense_weights_move_with_the_mean_of_the_clients() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = |name: &str| fs::read(folder.path().join(name).join("checkpoint.safetensors")).unwrap();
    let start = |name: &str, rounds: &str| {
        succeed(
            "prism-train",
            folder.path(),
            &tiny(&[&FEDAVG[..], &["--rounds", rounds, "--out", name, "--quiet"]].concat()),
        );
    };
    start("long", "2");
    start("short", "1");
    assert!(checkpoint("long") != checkpoint("short"));
    succeed("prism-train", folder.path(), &["--resume", "short", "--rounds", "2", "--quiet"]);
    assert!(checkpoint("long") == checkpoint("short"), "a resumed baseline is the uninterrupted one");
}

#[test]
fn a_matched_average_is_kept_with_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let average = ["--objective", "moving-average", "--classes-per-step", "10"];
    let with = |rounds| [&average[..], &["--rounds", rounds]].concat();
    let long = train(folder.path(), "long", &with("2"));
    assert!(long != train(folder.path(), "direct", &["--rounds", "2", "--classes-per-step", "10"]));
    train(folder.path(), "short", &with("1"));
    succeed("prism-train", folder.path(), &["--resume", "short", "--rounds", "2", "--quiet"]);
    assert!(long == artifact(&folder.path().join("short")));
}

#[test]
fn an_average_of_other_classes_in_every_step_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--objective", "moving-average", "--classes-per-step", "2", "--out", "few"];
    refused("prism-train", folder.path(), &tiny(&flags), 2, &["--classes-per-step"]);
    assert!(!folder.path().join("few").exists(), "a refused run leaves nothing behind");
}
