//! The privacy ledger of a run: where it is, what goes with it, and what is refused.

use std::fs;
use std::path::Path;

use e2e::tiny::tiny;
use e2e::{refused, succeed};

/// Enough images for their noise, and little training.
const SHORT: [&str; 6] = ["--limit", "400", "--rounds", "1", "--local-steps", "1"];
const PROTECTED: [&str; 6] = ["--dp-epsilon", "20", "--dp-delta", "1e-4", "--dp-features", "grid:2"];

fn train(folder: &Path, more: &[&str]) -> String {
    succeed("prism-train", folder, &tiny(&[&SHORT[..], &PROTECTED[..], more].concat()))
}

/// A run that is stopped and goes on must not forget where its draw is written down, nor how much may be drawn.
#[test]
fn a_run_that_goes_on_keeps_its_ledger_and_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), &["--out", "run", "--dp-ledger", "mine.jsonl", "--dp-total-epsilon", "21"]);
    let resume = ["--resume", "run", "--rounds", "2", "--quiet"];
    succeed("prism-train", folder.path(), &resume);
    assert!(!folder.path().join("privacy-ledger.jsonl").exists());
    let other = [&resume[..], &["--dp-ledger", "other.jsonl"]].concat();
    refused("prism-train", folder.path(), &other, 2, &["other.jsonl", "mine.jsonl", "leave it out"]);
    // With its noise lost it would have to draw again, beyond the limit.
    fs::remove_dir_all(folder.path().join("run/clients")).unwrap();
    refused("prism-train", folder.path(), &["--resume", "run", "--rounds", "3"], 2, &["--dp-total-epsilon 21"]);
    let text = fs::read_to_string(folder.path().join("mine.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn flags_of_the_ledger_without_noise_or_a_place_are_refused_before_a_run_is_made() {
    let folder = tempfile::tempdir().unwrap();
    for flag in ["--dp-total-epsilon=1", "--dp-ledger=mine.jsonl"] {
        refused(
            "prism-train",
            folder.path(),
            &tiny(&[&SHORT[..], &[flag, "--out", "run"]].concat()),
            2,
            &["--dp-epsilon"],
        );
    }
    let nowhere = ["--dp-ledger", "missing/mine.jsonl", "--out", "run"];
    refused(
        "prism-train",
        folder.path(),
        &tiny(&[&SHORT[..], &PROTECTED[..], &nowhere].concat()),
        2,
        &["make its folder"],
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
