//! `prism-train report` as users run it: one file, nothing outside it, nothing of a hostile name in it.

use std::fs;
use std::path::Path;

use e2e::tiny::picture_folder;
use e2e::{refused, succeed};

fn train(folder: &Path, name: &str, more: &str) {
    let flags = "--dataset strokes --limit 80 --image-size 16 --ngf 4 --latent 16 --clients 2 --rounds 2 --local-steps 2 \
                 --batch-size 8 --encoder random:1 --quiet";
    let arguments: Vec<&str> = flags.split_whitespace().chain(more.split_whitespace()).chain(["--out", name]).collect();
    succeed("prism-train", folder, &arguments);
}

#[test]
fn a_report_holds_every_part_and_nothing_lies_outside_it() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "one", "");
    let path = succeed("prism-train", folder.path(), &["report", "one"]);
    assert_eq!(path.trim(), "one/report.html");
    let html = fs::read_to_string(folder.path().join("one/report.html")).unwrap();
    for part in [
        "At a glance",
        "Samples",
        "By round",
        "Traffic",
        "Privacy",
        "layer by layer",
        "Who held what",
        "Settings",
        "Lambda",
        "blocks.0.conv1",
        "none: the moments of clients&#39; images",
        "[federation]",
        "local-steps",
        "after round 2",
        "the finished model",
    ] {
        assert!(html.contains(part) || html.contains(&part.replace("&#39;", "'")), "{part} is missing");
    }
    // Two rounds and the finished model.
    assert_eq!(html.matches("<figure><img").count(), 3);
    // Twenty generated images, each beside its nearest and another one, beneath the names of the classes.
    assert_eq!(html.matches("<td><img").count(), 60);
    assert_eq!(html.matches("<th>0</th><th>1</th><th>2</th>").count(), 2 + 1, "two tables and that of clients: {html}");
    for part in ["Beside real images", "nearest training image", "Columns: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9."] {
        assert!(html.contains(part), "{part} is missing");
    }
    assert!(html.matches("<svg").count() >= 5);
    let outside = html.matches("http").count() - html.matches("http://www.w3.org/").count();
    assert_eq!(outside, 0, "a report loads nothing");
}

#[test]
fn a_mixture_shows_the_layers_of_every_component() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "two", "--mode one-shot --components 2");
    succeed("prism-train", folder.path(), &["report", "two"]);
    let html = fs::read_to_string(folder.path().join("two/report.html")).unwrap();
    assert!(html.contains("0.blocks.0.conv1") && html.contains("1.blocks.0.conv1"));
}

#[test]
fn runs_are_compared_and_names_cannot_break_out() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "one", "");
    train(folder.path(), "<script>", "--lr 0.05");
    succeed("prism-train", folder.path(), &["report", "one", "<script>", "--out", "both.html"]);
    let html = fs::read_to_string(folder.path().join("both.html")).unwrap();
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"));
    // The learning rate is all in which the runs' settings differ.
    assert_eq!(html.matches("class=\"differs\"").count(), 1);
    assert_eq!(html.matches("<figure><img").count(), 6);
}

#[test]
fn no_real_image_is_in_the_report_of_protected_ones_or_of_others_than_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "private", "--limit 400 --dp-epsilon 20 --dp-delta 1e-4 --dp-features grid:2");
    picture_folder(&folder.path().join("mine"), &["a", "b"]);
    train(folder.path(), "moved", "--dataset folder --data-dir mine");
    fs::rename(folder.path().join("mine"), folder.path().join("elsewhere")).unwrap();
    train(folder.path(), "flat", "--dataset folder --data-dir elsewhere/a");
    for (run, words, images) in [
        ("private", "protected by privacy, so no real one is shown", 0),
        ("moved", "mine is no folder", 0),
        ("flat", "nearest training image", 60),
    ] {
        succeed("prism-train", folder.path(), &["report", run]);
        let html = fs::read_to_string(folder.path().join(run).join("report.html")).unwrap();
        assert!(html.contains(words), "{run}: {html}");
        assert_eq!(html.matches("<td><img").count(), images, "{run}");
    }
}

#[test]
fn what_is_missing_is_left_out_and_what_is_damaged_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "one", "");
    let run = folder.path().join("one");
    for file in ["partition.json", "checkpoint.safetensors", "model.safetensors.zst", "samples.png", "metrics.jsonl"] {
        fs::remove_file(run.join(file)).unwrap();
        succeed("prism-train", folder.path(), &["report", "one"]);
    }
    fs::remove_dir_all(run.join("samples")).unwrap();
    fs::write(run.join("metrics.jsonl"), "{\"round\": 1, \"loss\": 0.5, \"new\": [1]}\n{\"rou").unwrap();
    succeed("prism-train", folder.path(), &["report", "one"]);
    // Numbers that are too large to draw are left out, and a table of nobody is no wonder.
    let extremes = ["1e308", "-1e308", "5e-324", "1.0"];
    let line = |(i, x): (usize, &&str)| format!("{{\"round\": {i}, \"loss\": {x}, \"uplink_bits_per_weight\": {x}}}\n");
    fs::write(run.join("metrics.jsonl"), extremes.iter().enumerate().map(line).collect::<String>()).unwrap();
    fs::write(run.join("partition.json"), "{\"classes\": [], \"clients\": []}").unwrap();
    succeed("prism-train", folder.path(), &["report", "one"]);
    let html = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(html.contains("names no client") && !html.contains("18,446"), "{html}");
    fs::write(run.join("partition.json"), "{").unwrap();
    refused("prism-train", folder.path(), &["report", "one"], 1, &["partition.json"]);
    refused("prism-train", folder.path(), &["report", "nowhere"], 2, &["nowhere", "holds no run"]);
    refused("prism-train", folder.path(), &["report"], 2, &["RUN"]);
}
