//! Folders as people have them, from the command line: what is trained on, what is refused before any work, what is said.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use prism_core::Architecture;
use prism_core::grid::Picture;

const SMALL: &str = "--image-size 16 --ngf 4 --latent 16 --clients 1 --rounds 2 --local-steps 2 --batch-size 16 \
                     --sample-every 0 --encoder random:1";

fn run(folder: &Path, line: &str) -> Output {
    let words = line.split(' ').filter(|word| !word.is_empty());
    Command::new(env!("CARGO_BIN_EXE_prism-train")).args(words).current_dir(folder).output().unwrap()
}

/// Standard output and standard error of a command that succeeds.
fn succeed(folder: &Path, line: &str) -> (String, String) {
    let output = run(folder, line);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "`{line}`: {stderr}");
    (stdout, stderr)
}

fn refuse(folder: &Path, line: &str, words: &[&str]) {
    let output = run(folder, line);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "`{line}`: {stderr}");
    words.iter().for_each(|word| assert!(stderr.contains(word), "`{line}` should mention '{word}': {stderr}"));
}

/// Writes a picture of 16x16 pixels that follows from `seed`; equal seeds, equal pictures.
fn put(path: &Path, channels: usize, seed: usize) {
    let arch = Architecture { image_size: 16, channels, ngf: 2, latent: 2, classes: 0, label_scale: 3.0 };
    let mut state = seed as u32;
    let mut pixel = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels: Vec<u8> = (0..arch.pixels()).map(|_| pixel()).collect();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, Picture::single(&arch, &pixels).png().unwrap()).unwrap();
}

/// `count` different colour pictures in each class.
fn classes(folder: &Path, names: &[&str], count: usize) {
    for (class, name) in names.iter().enumerate() {
        (0..count).for_each(|k| put(&folder.join(name).join(format!("{k}.png")), 3, 1000 * class + k));
    }
}

fn losses(run: &Path) -> Vec<f64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|line| line["loss"].as_f64().unwrap()).collect()
}

/// Copies of one picture made a loss of 2e15, and a model that was ruined for every class.
#[test]
fn a_class_of_copies_ruins_no_model_and_is_named_even_in_quiet() {
    let folder = tempfile::tempdir().unwrap();
    classes(&folder.path().join("photos"), &["ship"], 6);
    (0..6).for_each(|k| put(&folder.path().join(format!("photos/cat/{k}.png")), 3, 77));
    for mode in ["rounds", "one-shot"] {
        let (_, said) =
            succeed(folder.path(), &format!("--data-dir photos {SMALL} --mode {mode} --out {mode} --quiet"));
        assert!(said.contains("WARNING: class 'cat' of client 0 has pictures that are all the same"), "{said}");
        assert!(!said.contains("'ship'"), "{said}");
        let losses = losses(&folder.path().join(mode));
        assert!(losses.iter().all(|&loss| loss < 1e4), "{mode}: {losses:?}");
    }
}

#[test]
fn a_folder_of_data_is_trained_on_or_refused_and_never_passed_by() {
    let folder = tempfile::tempdir().unwrap();
    classes(&folder.path().join("photos"), &["cat", "ship"], 4);
    let (_, said) = succeed(folder.path(), &format!("--data-dir photos {SMALL} --out run"));
    assert!(said.contains("photos: 8 images of 16x16, in colour, 2 classes"), "{said}");
    assert!(said.contains("files: 8 PNG; 16x16 pixels; all 8 in colour"), "{said}");
    let absolute = folder.path().canonicalize().unwrap().join("photos");
    let settings = fs::read_to_string(folder.path().join("run/settings.toml")).unwrap();
    let saved = settings.lines().find_map(|line| line.strip_prefix("data-dir = \"")).unwrap().trim_end_matches('"');
    assert_eq!(Path::new(saved).canonicalize().unwrap(), absolute);
    assert!(Path::new(saved).is_absolute(), "{saved}");
    for (flags, words) in [
        ("--data-dir nowhere", &["nowhere is no folder"][..]),
        ("--dataset strokes --data-dir photos", &["--data-dir is photos", "add --dataset folder"]),
        ("--dataset strokes --skip-broken", &["--skip-broken is for"]),
        ("--dataset strokes --intensity 0-4095", &["--intensity is 0-4095"]),
        ("--dataset strokes --intensity -160-240", &["--intensity is -160-240"]),
    ] {
        refuse(folder.path(), &format!("{flags} {SMALL} --out refused"), words);
    }
    assert!(!folder.path().join("refused").exists());
    for out in ["photos/run", "run/../photos/cat/run"] {
        refuse(folder.path(), &format!("--data-dir photos {SMALL} --out {out}"), &["lies among the images", "--out"]);
    }
}

/// It was found only when all rounds had run and the model was to be written.
#[test]
fn a_class_name_that_no_model_can_bear_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let long = "a".repeat(81);
    classes(&folder.path().join("photos"), &[&long, "ship"], 4);
    refuse(folder.path(), &format!("--data-dir photos {SMALL} --out run"), &[&long, "81 characters", "at most 80"]);
    assert!(!folder.path().join("run").exists());
    fs::rename(folder.path().join("photos").join(&long), folder.path().join("photos").join(&long[1..])).unwrap();
    succeed(folder.path(), &format!("--data-dir photos {SMALL} --out run --quiet"));
}

#[test]
fn a_run_is_judged_by_its_own_images_from_wherever_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let (there, here) = (folder.path().join("there"), folder.path().join("here"));
    classes(&there.join("photos"), &["dog", "truck"], 150);
    classes(&here.join("photos"), &["cat", "ship"], 150);
    succeed(&there, &format!("--data-dir photos {SMALL} --out ../run --quiet"));
    let judge = "eval ../run --split train --n 260";
    let own = succeed(&there, judge).0;
    assert_eq!(succeed(&here, judge).0, own);
    refuse(&here, &format!("{judge} --data-dir photos"), &["not the images that the run was trained on", "cat, ship"]);
    put(&there.join("photos/dog/0.png"), 3, 99);
    refuse(&here, judge, &["of 300 in 'photos', files or pixels have changed"]);
}

#[test]
fn check_shows_what_is_there_and_writes_a_contact_sheet_alone() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    classes(&photos.join("Train"), &["cat", "ship", "newt"], 5);
    (1..5).for_each(|k| fs::remove_file(photos.join(format!("Train/newt/{k}.png"))).unwrap());
    put(&photos.join("Train/ship/copy.png"), 3, 0);
    put(&photos.join("Testing/cat/0.png"), 3, 1);
    put(&photos.join("Testing/ship/9.png"), 3, 1234);
    fs::write(photos.join("Train/cat/notes.txt"), "text").unwrap();
    fs::write(photos.join("Train/cat/broken.png"), "\u{89}PNG").unwrap();
    let (said, _) =
        succeed(folder.path(), "check --data-dir photos --image-size 16 --clients 2 --dp-epsilon 1 --channels 3");
    for words in [
        "12 images of 16x16, in colour, 3 classes",
        "classes: cat (5), newt (1), ship (6)",
        "1 of the kind .txt",
        "broken.png (",
        "1 images are copies of others",
        "1 pictures lie in several classes",
        "held out: 2 images; 1 of them are training images too",
        "images of newt are in one place",
        "model: at most",
        "a client and round",
        "local steps",
        "of memory",
        "contact sheet contact-sheet.png",
    ] {
        assert!(said.contains(words), "'{words}': {said}");
    }
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["contact-sheet.png", "photos"]);
    assert!(fs::read(folder.path().join("contact-sheet.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn check_takes_any_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let idx = |name: &str, header: &[u8], values: &[u8]| {
        fs::create_dir_all(folder.path().join("letters")).unwrap();
        fs::write(folder.path().join("letters").join(name), [header, values].concat()).unwrap();
    };
    idx("train-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 8], &[7; 256]);
    idx("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 4], &[1, 26, 1, 26]);
    let small = "--image-size 16 --ngf 2 --clients 2 --encoder random:1 --batch-size 20";
    for (data, words) in [
        ("--dataset strokes --limit 40", &["strokes: 40 images", "held out: "][..]),
        ("--data-dir letters", &["letters: 4 images", "classes: 1 (2), 26 (2)", "held out: none"]),
    ] {
        let (said, _) = succeed(folder.path(), &format!("check {data} {small}"));
        words.iter().for_each(|word| assert!(said.contains(word), "'{word}': {said}"));
    }
    let other = run(folder.path(), &format!("check --dataset mnist --data-dir letters {small}"));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("label 1 is 26") && said.contains("--dataset folder"), "{said}");
    refuse(folder.path(), "--data-dir letters --intensity 0-99", &["--intensity is 0-99", "8 bits"]);
}

#[test]
fn broken_files_are_named_at_once_and_passed_over_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    classes(&folder.path().join("photos"), &["cat", "ship"], 5);
    for name in ["cat/2.png", "ship/4.png"] {
        fs::write(folder.path().join("photos").join(name), "GIF89a").unwrap();
    }
    let line = format!("--data-dir photos {SMALL} --out run --quiet");
    let said = String::from_utf8(run(folder.path(), &line).stderr).unwrap();
    for words in ["cat/2.png (it holds GIF", "ship/4.png (it holds GIF", "--skip-broken"] {
        assert!(said.contains(words), "'{words}': {said}");
    }
    let (_, said) = succeed(folder.path(), &format!("{line} --skip-broken"));
    assert!(said.contains("WARNING: passed over 2 broken image files: ") && said.contains("cat/2.png"), "{said}");
    // What is passed over is given again, or the images would be others.
    assert_eq!(run(folder.path(), "--resume run --rounds 3 --quiet").status.code(), Some(1));
    succeed(folder.path(), "--resume run --rounds 3 --quiet --skip-broken");
}

/// The Frechet distance needs more images than features; a folder of own images is seldom so large.
#[test]
fn few_own_images_are_judged_by_what_needs_no_covariance() {
    let folder = tempfile::tempdir().unwrap();
    classes(&folder.path().join("photos"), &["cat", "ship"], 20);
    succeed(folder.path(), &format!("--data-dir photos {SMALL} --out run --quiet"));
    refuse(folder.path(), "eval run --n 300", &["no images are held out", "--split train"]);
    let (said, _) = succeed(folder.path(), "eval run --split train --n 300");
    for words in ["needs 257 real images, 217 more", "kernel distance", "precision", "recall"] {
        assert!(said.contains(words), "'{words}': {said}");
    }
    succeed(folder.path(), "report run --out report.html");
}

/// What of a run's output does not come of noise or time: everything but numbers, and the line that says what took longest.
fn without_numbers(text: &str) -> String {
    let timeless = text.lines().filter(|line| !line.trim_start().starts_with("time "));
    let shown = timeless.map(|line| line.trim_matches(|c: char| !c.is_alphanumeric()));
    let words = shown.flat_map(str::split_whitespace).filter(|word| !word.chars().any(|c| c.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found.sort();
    found
}

#[test]
fn a_private_run_says_and_leaves_the_same_whichever_image_is_in_the_place_of_another() {
    let private = "--channels 3 --clients 2 --rounds 1 --mode one-shot --subclasses 2 --dp-epsilon 100 --dp-delta 1e-4 \
                   --dp-trust secagg --dp-features pooled";
    let seen = [false, true].map(|replaced| {
        let folder = tempfile::tempdir().unwrap();
        classes(&folder.path().join("photos"), &["cat", "ship"], 100);
        if replaced {
            // Another picture of another class.
            fs::remove_file(folder.path().join("photos/cat/40.png")).unwrap();
            put(&folder.path().join("photos/ship/new.png"), 3, 4321);
        }
        let (stdout, stderr) = succeed(folder.path(), &format!("--data-dir photos {SMALL} {private} --out run"));
        succeed(folder.path(), "report run");
        let here = folder.path().to_str().unwrap();
        let report = fs::read_to_string(folder.path().join("run/report.html")).unwrap().replace(here, "");
        // Curves have as many marks as their numbers ask for.
        let text: String =
            report.split('<').filter_map(|part| Some(part.split_once('>')?.1.to_owned() + "\n")).collect();
        let names = files(folder.path()).into_iter().map(|name| name.replace(here, ""));
        let made: Vec<String> = names.filter(|name| !name.starts_with("/photos")).collect();
        (without_numbers(&stdout), without_numbers(&stderr), without_numbers(&text), made)
    });
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].3.iter().any(|name| name == "/run/privacy.json"), "{:?}", seen[0].3);
}
