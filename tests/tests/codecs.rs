//! The wire's codecs in whole runs: the same bytes at any thread count and after any interruption, sizes as promised.

use std::fs;
use std::path::Path;

use e2e::tiny::{artifact, kill_in_mid_run, tiny, train};
use e2e::{refused, succeed};
use serde_json::Value;

const MRC: [&str; 2] = ["--codec", "mrc"];

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("{key} of {line}"))
}

#[test]
fn blinded_sums_lead_to_the_very_scores_of_differences() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--clients", "4", "--fraction", "0.75", "--codec"];
    train(folder.path(), "flips", &[&more[..], &["flips"]].concat());
    train(folder.path(), "sums", &[&more[..], &["sums"]].concat());
    assert!(scores(folder.path(), "flips") == scores(folder.path(), "sums"));
}

fn scores(folder: &Path, run: &str) -> Vec<u8> {
    let bytes = fs::read(folder.join(run).join("checkpoint.safetensors")).unwrap();
    let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

/// The server's rate of flips is far below that of a mask, and every client ends where the server is, or its digest would refuse
/// the broadcast.
#[test]
fn flips_cost_a_fraction_of_a_mask() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &["--alpha", "0.2"]);
    for line in metrics(&folder.path().join("run")) {
        assert_eq!(number(&line, "clients_answered"), number(&line, "clients_asked"), "{line}");
        // What crosses as scores costs 32 bits a weight with and without flips, so only the masks' own bits may fall.
        let (rate, entropy) = (number(&line, "uplink_bits_per_weight"), number(&line, "cross_entropy_bits_per_weight"));
        assert!(rate < entropy, "{rate} bits beside {entropy}");
    }
}

#[test]
fn the_number_of_threads_changes_no_byte_under_any_codec() {
    let folder = tempfile::tempdir().unwrap();
    for (codec, alpha) in [("raw", "0.2"), ("mrc", "0.2"), ("flips", "0.2"), ("sums", "0")] {
        let codecs = ["--codec", codec, "--alpha", alpha, "--threads"];
        let one = train(folder.path(), &format!("{codec}-1"), &[&codecs[..], &["1"]].concat());
        assert!(one == train(folder.path(), &format!("{codec}-3"), &[&codecs[..], &["3"]].concat()), "{codec}");
    }
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes_with_lagging_clients() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--rounds", "6", "--clients", "4", "--fraction", "0.5"];
    let codecs = [("mrc", 150u64), ("mrc", 400), ("raw", 250), ("flips", 300), ("flips", 500), ("sums", 350)];
    for (attempt, (codec, milliseconds)) in codecs.into_iter().enumerate() {
        let more = [&more[..], &["--codec", codec]].concat();
        let whole = train(folder.path(), &format!("whole-{attempt}"), &more);
        let name = format!("killed-{attempt}");
        let arguments = tiny(&[&["--out", name.as_str()][..], &more].concat());
        kill_in_mid_run(folder.path(), &arguments, &name, milliseconds);
        succeed("prism-train", folder.path(), &["--resume", &name, "--quiet"]);
        assert!(whole == artifact(&folder.path().join(&name)), "{codec}");
        let [sent, resumed] = [format!("whole-{attempt}"), name].map(|run| {
            let lines = metrics(&folder.path().join(run));
            lines
                .iter()
                .map(|line| (number(line, "downlink_bytes"), number(line, "downlink_bound_bits_per_weight")))
                .collect::<Vec<_>>()
        });
        assert_eq!(sent, resumed, "{codec}: the same messages, too");
    }
}

#[test]
fn the_summary_adds_up_and_names_the_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = tiny(&[&MRC[..], &["--out", "run", "--json"]].concat());
    let outcome: Value = serde_json::from_str(&succeed("prism-train", folder.path(), &arguments)).unwrap();
    let lines = metrics(&folder.path().join("run"));
    let total = |key: &str| lines.iter().map(|line| number(line, key)).sum::<f64>();
    for key in ["uplink_bytes", "downlink_bytes", "paper_bytes", "dense_bytes"] {
        assert_eq!(number(&outcome["traffic"], key), total(key), "{key}");
    }
    for line in &lines {
        // Here headers weigh: the model has 9,012 weights where the paper's has millions.
        let header = 8.0 * 60.0 / 9_012.0;
        let (rate, bound) = (number(line, "uplink_bits_per_weight"), number(line, "kl_bits_per_weight"));
        assert!(rate > bound / 2.0 && rate < 4.0 * bound + header, "{rate} and {bound}");
    }
    // Before anything happened there is nothing to relay; then two clients' updates.
    assert!(number(&lines[0], "downlink_bits_per_weight") < 0.06);
    assert!(number(&lines[1], "downlink_bits_per_weight") > number(&lines[0], "downlink_bits_per_weight"));
}

#[test]
fn a_bound_is_over_the_same_weights_as_the_rate_that_it_bounds() {
    let folder = tempfile::tempdir().unwrap();
    for (alpha, least) in [("0.5", 1.0), ("1", 32.0)] {
        train(folder.path(), alpha, &["--alpha", alpha, "--rounds", "1", "--codec", "raw"]);
        let line = &metrics(&folder.path().join(alpha))[0];
        let rate = number(line, "uplink_bits_per_weight");
        for key in ["kl_bits_per_weight", "cross_entropy_bits_per_weight"] {
            let bound = number(line, key);
            assert!(bound >= least && bound < rate, "--alpha {alpha}: {key} is {bound} at {rate} bits");
        }
    }
}

#[test]
fn codecs_that_cannot_serve_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    refused("prism-train", folder.path(), &tiny(&["--codec", "zip"]), 2, &["--codec is zip", "raw"]);
    refused("prism-train", folder.path(), &tiny(&["--codec", "sums", "--alpha", "0.5"]), 2, &["--alpha 0"]);
    for codec in ["flips", "mrc", "sums"] {
        let arguments = tiny(&["--codec", codec, "--clients", "4096"]);
        refused("prism-train", folder.path(), &arguments, 2, &["4096 clients are asked", "4095 at most", "--fraction"]);
    }
}
