//! The wire's codecs in whole runs: the same bytes at any thread count and after any interruption, sizes as promised.

use std::fs;
use std::path::Path;

use prism_tests::tiny::{artifact, kill_in_mid_run, tiny, train};
use prism_tests::{refused, succeed};
use serde_json::Value;

const MRC_RELAY: [&str; 4] = ["--uplink", "mrc", "--downlink", "relay"];

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("{key} of {line}"))
}

#[test]
fn entropy_coding_changes_the_size_and_not_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let raw = train(folder.path(), "raw", &["--uplink", "raw"]);
    let entropy = train(folder.path(), "entropy", &["--uplink", "entropy"]);
    // The artifact tells how many bytes went up, so it differs there; the scores do not.
    assert!(raw != entropy);
    assert!(scores(folder.path(), "raw") == scores(folder.path(), "entropy"));
    for line in metrics(&folder.path().join("entropy")) {
        let (rate, bound) = (number(&line, "uplink_bits_per_weight"), number(&line, "cross_entropy_bits_per_weight"));
        // A header of 50 bytes on top, which weighs on so small a model, and the luck of the draw.
        let header = 8.0 * 54.0 / 9_012.0;
        assert!(rate > 0.97 * bound && rate < 1.03 * bound + header, "{rate} and {bound}");
    }
}

#[test]
fn blinded_sums_lead_to_the_very_scores_of_differences() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--clients", "4", "--dropout", "0.3", "--downlink", "counts"];
    train(folder.path(), "flips", &[&more[..], &["--uplink", "flips"]].concat());
    train(folder.path(), "sums", &[&more[..], &["--uplink", "sums"]].concat());
    assert!(scores(folder.path(), "flips") == scores(folder.path(), "sums"));
}

fn scores(folder: &Path, run: &str) -> Vec<u8> {
    let bytes = fs::read(folder.join(run).join("checkpoint.safetensors")).unwrap();
    let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

#[test]
fn counts_and_relay_lead_everybody_to_the_same_scores() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "counts", &["--downlink", "counts", "--uplink", "raw"]);
    train(folder.path(), "relay", &["--downlink", "relay", "--uplink", "entropy"]);
    assert!(scores(folder.path(), "counts") == scores(folder.path(), "relay"));
}

/// The server's rate of flips is far below that of a mask, and every client that is relayed them ends where the server is, or its
/// digest would refuse the broadcast.
#[test]
fn flips_cost_a_fraction_of_a_mask_and_can_be_relayed() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--alpha", "0.2"];
    for downlink in ["f32", "counts", "relay", "quantised:8"] {
        train(folder.path(), downlink, &[&more[..], &["--downlink", downlink]].concat());
        for line in metrics(&folder.path().join(downlink)) {
            assert_eq!(number(&line, "clients_answered"), number(&line, "clients_asked"), "{downlink}: {line}");
            // What crosses as scores costs 32 bits a weight with and without flips, so only the masks' own bits may fall.
            let (rate, entropy) =
                (number(&line, "uplink_bits_per_weight"), number(&line, "cross_entropy_bits_per_weight"));
            assert!(rate < entropy, "{downlink}: {rate} bits beside {entropy}");
        }
    }
    assert!(scores(folder.path(), "counts") == scores(folder.path(), "relay"));
}

#[test]
fn the_number_of_threads_changes_no_byte_under_any_codec() {
    let folder = tempfile::tempdir().unwrap();
    for (uplink, downlink) in [("mrc", "relay"), ("mrc", "quantised:8"), ("flips", "relay")] {
        let codecs = ["--uplink", uplink, "--downlink", downlink, "--alpha", "0.2", "--threads"];
        let name = |threads: u32| format!("{uplink}-{downlink}-{threads}");
        let one = train(folder.path(), &name(1), &[&codecs[..], &["1"]].concat());
        assert!(one == train(folder.path(), &name(3), &[&codecs[..], &["3"]].concat()));
    }
}

#[test]
fn what_clients_keep_in_memory_changes_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let lagging = ["--rounds", "5", "--clients", "4", "--fraction", "0.5", "--dropout", "0.3", "--layer-growth", "2"];
    let averaged = ["--average-rate", "0.01", "--downlink", "f32"];
    for (name, more) in [("moments", &lagging[..]), ("averages", &averaged[..])] {
        let run = |memory| {
            let more = [more, &["--client-memory", memory]].concat();
            train(folder.path(), &format!("{name}-{memory}"), &more)
        };
        assert!(run("0") == run("512"), "{name}");
    }
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes_with_lagging_clients() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--rounds", "6", "--clients", "4", "--fraction", "0.5", "--dropout", "0.3"];
    // A checkpoint each round, or hardly any; states in memory, or all in files.
    let (each, rare) = (["--checkpoint-seconds", "0"], ["--checkpoint-seconds", "1000000"]);
    let codecs = [
        ("mrc", "relay", 150u64, each, "512"),
        ("mrc", "counts", 400, rare, "512"),
        ("mrc", "quantised:6", 250, rare, "0"),
        ("flips", "relay", 300, each, "0"),
        ("flips", "counts", 500, rare, "512"),
    ];
    for (attempt, (uplink, downlink, milliseconds, checkpoints, memory)) in codecs.into_iter().enumerate() {
        let more = [&more[..], &["--uplink", uplink, "--downlink", downlink]].concat();
        let whole = train(folder.path(), &format!("whole-{attempt}"), &more);
        let name = format!("killed-{attempt}");
        let arguments = tiny(&[&["--out", name.as_str(), "--client-memory", memory][..], &checkpoints, &more].concat());
        kill_in_mid_run(folder.path(), &arguments, &name, milliseconds);
        succeed("prism-train", folder.path(), &["--resume", &name, "--quiet"]);
        assert!(whole == artifact(&folder.path().join(&name)), "{downlink}");
        let [sent, resumed] = [format!("whole-{attempt}"), name].map(|run| {
            let lines = metrics(&folder.path().join(run));
            lines
                .iter()
                .map(|line| (number(line, "downlink_bytes"), number(line, "downlink_bound_bits_per_weight")))
                .collect::<Vec<_>>()
        });
        assert_eq!(sent, resumed, "{downlink}: the same messages, too");
    }
}

#[test]
fn the_summary_adds_up_and_names_the_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = tiny(&[&MRC_RELAY[..], &["--out", "run", "--json"]].concat());
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
        train(folder.path(), alpha, &["--alpha", alpha, "--rounds", "1", "--uplink", "raw"]);
        let line = &metrics(&folder.path().join(alpha))[0];
        let rate = number(line, "uplink_bits_per_weight");
        for key in ["kl_bits_per_weight", "cross_entropy_bits_per_weight"] {
            let bound = number(line, key);
            assert!(bound >= least && bound < rate, "--alpha {alpha}: {key} is {bound} at {rate} bits");
        }
    }
}

#[test]
fn a_price_on_divergence_makes_messages_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str, more: &[&str]| {
        train(folder.path(), name, &[&MRC_RELAY[..], more].concat());
        metrics(&folder.path().join(name)).iter().map(|line| number(line, "kl_bits_per_weight")).sum::<f64>()
    };
    let free = bytes("free", &["--local-steps", "4"]);
    let priced = bytes("priced", &["--local-steps", "4", "--kl-weight", "1"]);
    assert!(priced < 0.8 * free, "{priced} against {free} bits");
}

#[test]
fn unknown_codecs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (flag, value, word) in
        [("--uplink", "zip", "raw"), ("--downlink", "quantised:1", "2 to 16"), ("--kl-weight", "NaN", "kl-weight")]
    {
        refused("prism-train", folder.path(), &tiny(&[flag, value]), 2, &[word]);
    }
    let sums = ["--uplink", "sums"];
    refused("prism-train", folder.path(), &tiny(&[&sums[..], &["--downlink", "relay"]].concat()), 2, &["counts"]);
    refused("prism-train", folder.path(), &tiny(&[&sums[..], &["--alpha", "0.5"]].concat()), 2, &["--alpha 0"]);
    for uplink in ["flips", "sums"] {
        let chosen = ["--uplink", uplink, "--choice", "system"];
        refused("prism-train", folder.path(), &tiny(&chosen), 2, &[uplink, "--choice system"]);
    }
    for codec in [["--uplink", "sums"], ["--downlink", "counts"], ["--downlink", "relay"]] {
        let arguments = tiny(&[&codec[..], &["--clients", "4096"]].concat());
        refused("prism-train", folder.path(), &arguments, 2, &["4096 clients are asked", "4095 at most", "--fraction"]);
    }
}
