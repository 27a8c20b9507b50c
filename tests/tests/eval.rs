//! `prism-train eval` as users run it: on a run folder, a checkpoint and an artifact, and where it must refuse.

use std::path::Path;

use e2e::tiny::{picture_folder, tiny};
use e2e::{refused, succeed};

/// Trains a tiny conditional model in `folder` as the flags `more` say.
fn train_as(folder: &Path, more: &str) {
    let more: Vec<&str> = ["--seed", "3"].into_iter().chain(more.split_whitespace()).collect();
    succeed("prism-train", folder, &tiny(&more));
}

/// Trains a tiny conditional model in `folder/run`.
fn train(folder: &Path) {
    train_as(folder, "--rounds 1 --out run");
}

fn eval(folder: &Path, arguments: &str) -> serde_json::Value {
    let arguments: Vec<&str> =
        std::iter::once("eval").chain(arguments.split(' ')).chain(["--json", "--quiet"]).collect();
    serde_json::from_str(&succeed("prism-train", folder, &arguments)).expect("the figures are one line of JSON")
}

#[test]
fn a_run_its_checkpoint_and_its_artifact_get_the_same_figures() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let flags = "--n 300 --seed 1 --dataset strokes";
    let run = eval(folder.path(), &format!("run {flags}"));
    assert_eq!((run["dataset"].as_str(), run["split"].as_str()), (Some("strokes"), Some("test")));
    assert_eq!((run["generated_images"].as_u64(), run["real_images"].as_u64()), (Some(300), Some(300)));
    let figures = &run["features"][0];
    assert_eq!(figures["width"], 256);
    // An untrained generator's images are far from strokes, and none lies among them.
    assert!(figures["frechet_distance"].as_f64().unwrap() > 1.0, "{figures}");
    assert!(figures["coverage"].as_f64().unwrap() < 0.2, "{figures}");
    let saved = std::fs::read_to_string(folder.path().join("run/evaluation.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&saved).unwrap()["features"], run["features"]);
    for model in ["run/checkpoint.safetensors", "run/model.safetensors.zst"] {
        // Without the run's settings, strokes are drawn from seed 0 and not 3, so only the generated half is the same.
        let other = eval(folder.path(), &format!("{model} {flags}"));
        let distance = |figures: &serde_json::Value| figures["frechet_distance"].as_f64().unwrap();
        let (a, b) = (distance(figures), distance(&other["features"][0]));
        assert!((a / b - 1.0).abs() < 0.2, "{a} and {b}");
    }
    let twice = eval(folder.path(), &format!("run {flags}"));
    assert_eq!(twice["features"], run["features"]);
}

#[test]
fn a_classifier_is_trained_saved_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let first = eval(folder.path(), "run --n 300 --epochs 1 --classifier judge.safetensors --tstr 5000 --tstr-real");
    assert!(folder.path().join("judge.safetensors").exists());
    let second = eval(folder.path(), "run --n 300 --classifier judge.safetensors");
    assert_eq!(first["classifier"], second["classifier"]);
    assert_eq!(first["features"], second["features"]);
    let judged = &first["classifier"];
    let shares: f64 = judged["histogram"].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    let accuracy = judged["classifier"]["test_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.5, "a classifier of real strokes tells only {accuracy} right");
    assert_eq!((first["tstr"]["generated_images"].as_u64(), first["tstr"]["epochs"].as_u64()), (Some(5000), Some(1)));
    assert!(first["tstr"]["reference_images"].as_u64().unwrap() <= 5000);
    let students = first["tstr"]["students"].as_array().unwrap();
    assert_eq!(students.len(), 3);
    for student in students {
        assert!(student["trained_on_real"].as_f64().unwrap() > 0.2, "chance is 1 in 10: {student}");
    }
    assert_eq!(first["features"][1]["width"], 64);
    assert!(second["tstr"].is_null());
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let refuse = |arguments: &str, words: &[&str]| {
        let arguments: Vec<&str> = std::iter::once("eval").chain(arguments.split(' ')).collect();
        refused("prism-train", folder.path(), &arguments, 2, words);
    };
    refuse("run --n 256", &["256 images", "at least 257", "--n"]);
    refuse("run --n 1", &["--n is 1"]);
    refuse("run --n 300 --neighbours 300", &["--neighbours from 1 to 299"]);
    refuse("run --inception nowhere.pth", &["nowhere.pth", "pytorch-fid"]);
    refuse("run --dataset mnist", &["mnist", "--data-dir"]);
    refuse("nowhere", &["nowhere"]);
    refuse(".", &["holds no run"]);
    refuse("run --tstr 1", &["--tstr is 1"]);
    refuse("run --tstr-real", &["--tstr"]);
    refuse("run --tstr 300 --tstr-real --split train", &["--split train", "the same images"]);
    std::fs::write(folder.path().join("odd.safetensors"), "odd").unwrap();
    refused("prism-train", folder.path(), &["eval", "run/samples.png"], 1, &["samples.png"]);
    refused("prism-train", folder.path(), &["eval", "run", "--classifier", "odd.safetensors"], 1, &["odd.safetensors"]);
}

#[test]
fn a_judge_of_other_classes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, classes) in [("digits", ["one", "two"]), ("clothes", ["hat", "two"])] {
        for split in ["train", "test"] {
            picture_folder(&folder.path().join(name).join(split), &classes);
        }
    }
    let small = "--dataset folder --image-size 16 --ngf 2 --clients 1 --rounds 1 --local-steps 1 --batch-size 4 --encoder random:1";
    for (name, data) in [("one", "digits"), ("other", "clothes")] {
        let flags: Vec<&str> = small.split(' ').chain(["--quiet", "--data-dir", data, "--out", name]).collect();
        succeed("prism-train", folder.path(), &flags);
    }
    let judged = |run: &'static str| {
        ["eval", run, "--n", "300", "--classifier", "judge.safetensors", "--epochs", "1", "--quiet"]
    };
    // Few images are judged by what needs no covariance.
    succeed("prism-train", folder.path(), &judged("one"));
    let neighbours = [&judged("one")[..], &["--neighbours", "24"]].concat();
    refused("prism-train", folder.path(), &neighbours, 2, &["--neighbours from 1 to 23"]);
    let words = ["class 0 is 'one'", "class 0 of 'clothes' is 'hat'", "--classifier"];
    refused("prism-train", folder.path(), &judged("other"), 2, &words);
}
