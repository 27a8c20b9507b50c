//! The whole way, by the programs that users run: train, resume, export, draw; the same bytes however it went.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use e2e::tiny::{aloud, artifact, kill_in_mid_run, picture_folder, rounds_reported, start_and_reach, tiny, train};
use e2e::{command, run, succeed};
use prism_core::Architecture;
use prism_core::artifact::Artifact;
use prism_core::grid::Picture;

#[test]
fn a_run_leaves_everything_that_the_readme_promises() {
    let folder = tempfile::tempdir().unwrap();
    let picture = succeed("prism-train", folder.path(), &tiny(&[]));
    let run = folder.path().join("runs/strokes-001");
    assert_eq!(folder.path().join(picture.trim()), run.join("samples.png"));
    for file in [
        "settings.toml",
        "partition.json",
        "checkpoint.safetensors",
        "metrics.jsonl",
        "samples/round-0003.png",
        "model.safetensors.zst",
        "samples.png",
    ] {
        assert!(run.join(file).exists(), "{file} is missing");
    }
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["round"], i as u64 + 1);
        assert!(line["loss"].as_f64().unwrap() > 0.0);
        // The whole step, for messages of less than a bit a weight.
        assert_eq!(line["lambda"], 1.0);
        let (bits, bound) = (&line["uplink_bits_per_weight"], &line["kl_bits_per_weight"]);
        let (bits, bound) = (bits.as_f64().unwrap(), bound.as_f64().unwrap());
        assert!(0.0 < bound && bound < bits && bits < 0.9, "uplink {bits}, bound {bound}");
    }
    // The saved settings are a recipe: they give the same model again.
    let again = run.join("settings.toml");
    let second = folder.path().join("second");
    succeed("prism-train", folder.path(), &["--config", again.to_str().unwrap(), "--out", "second", "--quiet"]);
    assert_eq!(artifact(&run), artifact(&second));
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let one = train(folder.path(), "one", &["--threads", "1"]);
    for threads in ["2", "3"] {
        assert!(one == train(folder.path(), threads, &["--threads", threads]), "{threads} threads");
    }
    assert!(one != train(folder.path(), "other-seed", &["--seed", "1"]), "the seed must matter");
}

#[test]
fn a_run_killed_at_any_moment_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    // Two of three clients a round, so that somebody always lags behind.
    let more = ["--rounds", "4", "--clients", "3", "--fraction", "0.6", "--alpha", "0.2"];
    let whole = train(folder.path(), "whole", &more);
    for milliseconds in [40u64, 100, 150, 250, 400] {
        let name = format!("killed-{milliseconds}");
        let flags = [&["--out", &name], &more[..]].concat();
        kill_in_mid_run(folder.path(), &tiny(&flags), &name, milliseconds);
        succeed("prism-train", folder.path(), &["--resume", &name, "--quiet"]);
        let run = folder.path().join(&name);
        assert!(whole == artifact(&run), "{name}, milliseconds after its settings were saved");
        assert_eq!(rounds_reported(&run), 4, "{name}: each round is reported once");
    }
}

/// Rounds that wait for a checkpoint: a run that is asked to stop saves them, and one that is killed repeats them.
#[cfg(unix)]
#[test]
fn between_two_checkpoints_nothing_is_lost_but_time() {
    let folder = tempfile::tempdir().unwrap();
    let run_of = |name: &str| folder.path().join(name);
    for (name, signal) in [("stopped", "-INT"), ("killed", "-KILL")] {
        let more = ["--out", name, "--rounds", "100000", "--sample-every", "0"];
        let mut child = start_and_reach(folder.path(), &tiny(&more), name, 3);
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        child.wait().unwrap();
        let reported = rounds_reported(&run_of(name));
        let rounds = (reported + 1).to_string();
        let resumed = run("prism-train", folder.path(), &["--resume", name, "--rounds", &rounds]);
        let said = String::from_utf8(resumed.stderr).unwrap();
        let (_, after) = said.split_once("resumed after round ").unwrap_or_else(|| panic!("{name}: {said}"));
        let committed: usize = after.lines().next().unwrap().trim().parse().unwrap();
        match name {
            "stopped" => assert_eq!(committed, reported, "its last round is saved"),
            _ => assert!((1..=reported).contains(&committed), "{committed} of {reported}"),
        }
        assert_eq!(rounds_reported(&run_of(name)), reported + 1, "{name}: each round is reported once");
        let whole = format!("whole-{name}");
        let bytes = train(folder.path(), &whole, &["--rounds", &rounds]);
        assert!(bytes == artifact(&run_of(name)), "{name} after round {reported}");
        let states = |name: &str| {
            let names = fs::read_dir(run_of(name).join("clients/0001")).unwrap();
            let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(states(name), states(&whole), "{name}: older states are removed");
    }
}

/// Ctrl-C in the middle of measuring: nothing is kept of it, and the run can go on.
#[cfg(unix)]
#[test]
fn a_run_that_is_asked_to_stop_while_it_measures_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let large = ["--limit", "6000", "--image-size", "64", "--encoder", "public", "--clients", "1", "--rounds", "1"];
    let flags = aloud(&[&large[..], &["--mode", "one-shot", "--out", "run"]].concat());
    for arguments in [&flags[..], &["--resume", "run"]] {
        let mut command = command("prism-train", folder.path(), arguments);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("client 0 measures") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "the run ended before it measured");
        }
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
        assert!(rest.contains("after round 0; go on with: ") && rest.contains(" --resume run"), "{rest}");
        assert!(!folder.path().join("run/shared/moments.safetensors").exists(), "it measured to the end: {rest}");
    }
}

#[test]
fn a_longer_run_continues_a_shorter_one() {
    let folder = tempfile::tempdir().unwrap();
    let long = train(folder.path(), "long", &["--rounds", "4"]);
    train(folder.path(), "short", &["--rounds", "2"]);
    succeed("prism-train", folder.path(), &["--resume", "short", "--rounds", "4", "--quiet"]);
    assert!(long == artifact(&folder.path().join("short")));
}

/// Neither its images nor its training are needed for that.
#[test]
fn a_finished_run_says_so_and_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    picture_folder(&folder.path().join("mine"), &["a", "b"]);
    let data = ["--dataset", "folder", "--data-dir", "mine", "--out", "run"];
    let trained = run("prism-train", folder.path(), &aloud(&data));
    let said = String::from_utf8(trained.stderr).unwrap();
    let rounds: Vec<&str> = said.lines().filter(|line| line.starts_with("round ")).collect();
    assert_eq!(rounds.len(), 3, "{said}");
    assert!(rounds[0].starts_with("round 1/3  loss ") && rounds[0].ends_with(" left"), "{said}");
    assert!(!rounds[2].ends_with(" left"), "{said}");
    for line in rounds {
        assert!(line.contains(" images/s  up ") && line.contains("  down "), "{line}");
        assert!(!line.contains("lambda") && !line.contains("bit/weight"), "{line}");
    }
    let model = artifact(&folder.path().join("run"));
    fs::create_dir(folder.path().join("elsewhere")).unwrap();
    fs::rename(folder.path().join("mine"), folder.path().join("elsewhere/mine")).unwrap();
    let again = run("prism-train", folder.path(), &["--resume", "run"]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(0), "{said}");
    for words in ["finished all of its 3 rounds", "--resume run --rounds 6", "next "] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(model == artifact(&folder.path().join("run")));
    let longer = ["--resume", "run", "--data-dir", "elsewhere/mine", "--rounds", "4", "--quiet"];
    succeed("prism-train", folder.path(), &longer);
    assert!(model != artifact(&folder.path().join("run")));
}

#[test]
fn the_published_way_sends_a_bit_a_weight_and_steps_by_the_distance_of_masks() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &["--codec", "raw", "--training-mask", "drawn"]);
    let metrics = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    for line in metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        let lambda = line["lambda"].as_f64().unwrap();
        assert!(lambda > 0.0 && lambda < 1.0, "lambda {lambda}");
        // A bit a weight, each layer rounded up to a byte, and a header.
        let [up, down] =
            ["uplink_bits_per_weight", "downlink_bits_per_weight"].map(|rate| line[rate].as_f64().unwrap());
        assert!(up > 1.0 && up < 1.1 && down > 32.0 && down < 32.1, "uplink {up}, downlink {down}");
    }
}

#[test]
fn every_option_of_the_method_trains() {
    let folder = tempfile::tempdir().unwrap();
    let base = train(folder.path(), "base", &[]);
    for (name, more) in [
        ("published", ["--codec", "raw"]),
        ("drawn", ["--training-mask", "drawn"]),
        ("alpha", ["--alpha", "0.5"]),
        ("half", ["--fraction", "0.5"]),
        ("shards", ["--partition", "shards:2"]),
        ("dirichlet", ["--partition", "dirichlet:0.5"]),
        ("classes", ["--partition", "classes:5"]),
        ("colour", ["--channels", "3"]),
        ("subclasses", ["--subclasses", "2"]),
        ("sketches", ["--objective", "moments-sketches"]),
        ("biased", ["--objective", "moments-biased"]),
        ("saturation", ["--tanh-grad-bias", "0.5"]),
    ] {
        assert!(base != train(folder.path(), name, &more), "{name} changes nothing");
    }
}

/// Components are trained one by one: the first as the only one would be, each going on where it was after an interruption.
#[test]
fn a_mixture_trains_resumes_and_ships_its_components() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let read = |name: &str| Artifact::read(&folder.join(name).join("model.safetensors.zst")).unwrap();
    let alone = ["--mode", "one-shot"];
    let two = [&alone[..], &["--components", "2"]].concat();
    train(folder, "alone", &alone);
    let whole = train(folder, "two", &two);
    let (alone, mixture) = (read("alone"), read("two"));
    assert_eq!(mixture.components()[0], alone.components()[0]);
    assert_ne!(mixture.components()[1], alone.components()[0]);
    train(folder, "shorter", &[&two[..], &["--rounds", "1", "--lr-decay-rounds", "0"]].concat());
    succeed("prism-train", folder, &["--resume", "shorter", "--rounds", "3", "--quiet"]);
    assert!(whole == artifact(&folder.join("shorter")), "a resumed mixture goes on where it was");
    let info = succeed("prism-infer", folder, &["info", "--model", "two/model.safetensors.zst", "--verify"]);
    assert!(info.contains("a mixture of 2") && info.contains("(found again)") && info.contains("1.first"), "{info}");
}

#[test]
fn the_exporter_gives_the_very_artifact_that_the_run_left() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = train(folder.path(), "run", &[]);
    let printed = succeed("prism-export", folder.path(), &["run", "--out", "again.safetensors.zst"]);
    assert!(printed.contains("again.safetensors.zst"), "{printed}");
    assert!(bytes == fs::read(folder.path().join("again.safetensors.zst")).unwrap());
    let sampled = ["run", "--mask", "sampled", "--out", "sampled.safetensors.zst", "--json"];
    let report: serde_json::Value = serde_json::from_str(&succeed("prism-export", folder.path(), &sampled)).unwrap();
    assert_eq!(report["file_bytes"], fs::metadata(folder.path().join("sampled.safetensors.zst")).unwrap().len());
    assert!(bytes != fs::read(folder.path().join("sampled.safetensors.zst")).unwrap());
}

#[test]
fn a_card_comes_with_an_export_or_alone() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &[]);
    succeed("prism-export", folder.path(), &["run", "--out", "again.safetensors.zst", "--card", "with.md"]);
    let printed = succeed("prism-export", folder.path(), &["again.safetensors.zst", "--card", "alone.md"]);
    assert_eq!(printed, "alone.md\n");
    let card = fs::read_to_string(folder.path().join("alone.md")).unwrap();
    assert!(card.starts_with("---\nlibrary_name: prism\n") && card.contains("| data set | strokes |"), "{card}");
    assert_eq!(card, fs::read_to_string(folder.path().join("with.md")).unwrap());
}

#[test]
fn a_trained_artifact_draws_pictures() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &[]);
    succeed("prism-infer", folder.path(), &["--model", "run/model.safetensors.zst", "--n", "10", "--quiet"]);
    let picture: PathBuf = folder.path().join("samples.png");
    let bytes = fs::read(picture).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    let info = run("prism-infer", folder.path(), &["info", "--model", "run/model.safetensors.zst", "--json"]);
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert!(info.to_string().contains("strokes"), "{info}");
}

/// The recipe for larger colour images, from PNG files to a picture, with and without classes.
#[test]
fn a_folder_of_colour_images_trains_at_64_pixels() {
    let folder = tempfile::tempdir().unwrap();
    for (name, classes) in [("classes", &["blue", "red"][..]), ("flat", &[""])] {
        for (number, class) in classes.iter().enumerate() {
            let path = folder.path().join(name).join(class);
            fs::create_dir_all(&path).unwrap();
            (0..12).for_each(|k| fs::write(path.join(format!("{k}.png")), stripes(number, k)).unwrap());
        }
        let small =
            ["--ngf", "2", "--clients", "2", "--rounds", "2", "--local-steps", "1", "--batch-size", "16", "--quiet"];
        let own = ["--recipe", "photos", "--data-dir", name, "--out"];
        let run = format!("run-{name}");
        succeed("prism-train", folder.path(), &[&own[..], &[&run], &small[..]].concat());
        let model = format!("{run}/model.safetensors.zst");
        succeed(
            "prism-infer",
            folder.path(),
            &["--model", &model, "--n", "3", "--npy", "images.npy", "--out", "grid.png"],
        );
        let text = succeed("prism-infer", folder.path(), &["info", "--model", &model]);
        assert!(text.contains("64 x 64"), "{text}");
        assert!(fs::metadata(folder.path().join("images.npy")).unwrap().len() > 3 * 3 * 64 * 64 * 4);
    }
}

/// A PNG of 64 by 64 pixels: stripes as wide as `k`, in a colour for each class.
fn stripes(class: usize, k: usize) -> Vec<u8> {
    let arch = Architecture { image_size: 64, channels: 3, ngf: 2, latent: 2, classes: 0, label_scale: 3.0 };
    let pixel = |i: usize| {
        let (channel, column) = (i / (64 * 64), i % 64);
        if channel == 2 * (1 - class) && (column / (k + 1)).is_multiple_of(2) { 255 } else { 20 }
    };
    let image: Vec<u8> = (0..3 * 64 * 64).map(pixel).collect();
    Picture::single(&arch, &image).png().unwrap()
}
