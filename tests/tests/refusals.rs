//! What a user can get wrong, and what the program says: one sentence, the right exit code, nothing lost.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use e2e::tiny::{aloud, picture_folder, tiny};
use e2e::{command, refused, succeed};

fn refuse_train(folder: &Path, arguments: &[&str], words: &[&str]) {
    refused("prism-train", folder, arguments, 2, words);
}

#[test]
fn impossible_settings_name_the_flag_and_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (["--clients", "0"], ["--clients is 0", "choose 1 to"]),
        (["--rounds", "0"], ["--rounds is 0", "choose 1 to"]),
        (["--local-steps", "0"], ["--local-steps is 0", "choose 1 to"]),
        (["--image-size", "33"], ["--image-size is 33", "power of two"]),
        (["--ngf", "0"], ["--ngf is 0", "1 to 512"]),
        (["--subclasses", "3"], ["--subclasses is 3", "1, 2, 4, 8 or 16"]),
        (["--subclasses=16", "--latent=3"], ["--latent is 3", "--subclasses 16"]),
        (["--batch-size", "1"], ["--batch-size is 1", "two images"]),
        (["--classes-per-step", "1001"], ["--classes-per-step is 1001", "1 to 1000"]),
        (["--threads", "3000"], ["--threads is 3000", "to 1024"]),
        (["bench", "--threads=3000"], ["--threads is 3000", "to 1024"]),
        (["bench", "--batch-size=18446744073709551615"], ["--batch is 18446744073709551615", "2 to 65536"]),
        (["--fraction", "1.5"], ["--fraction is 1.5", "at most 1"]),
        (["--alpha", "NaN"], ["--alpha is NaN", "from 0 to 1"]),
        (["--device", "tpu"], ["'tpu'", "cuda:N"]),
        (["--dataset", "imagenet"], ["--dataset is imagenet", "fashion-mnist"]),
        (["--dp-epsilon", "-1"], ["--dp-epsilon is -1", "above 0"]),
        (["--codec", "zip"], ["--codec is zip", "flips, raw, mrc or sums"]),
        (["--recipe", "mnits"], ["--recipe is mnits", "mnist-rounds"]),
        (["--encoder", "resnet"], ["resnet", "public"]),
        (["--config", "no-such.toml"], ["no-such.toml", "cannot read"]),
        (["--resume", "no-such-run"], ["no-such-run", "holds no run"]),
    ] {
        refuse_train(folder.path(), &arguments, &words);
    }
    fs::write(folder.path().join("flat.toml"), "clients = 5").unwrap();
    refuse_train(
        folder.path(),
        &["--config", "flat.toml"],
        &["flat.toml", "clients stands under no table", "[federation]"],
    );
    refuse_train(folder.path(), &["--resume", "runs/1", "--out", "runs/2"], &["--out", "--resume"]);
    assert!(!folder.path().join("runs").exists(), "a refused run leaves nothing behind");
}

#[test]
fn recipes_are_listed_for_people_and_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let table = succeed("prism-train", folder.path(), &["recipes"]);
    for name in ["quick", "mnist-private-0.2", "photos"] {
        assert!(table.lines().any(|line| line.starts_with(&format!("{name} "))), "{table}");
    }
    assert!(table.contains("156 KB") && table.contains("epsilon 0.2, secagg"), "{table}");
    let list = succeed("prism-train", folder.path(), &["recipes", "--json"]);
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len() + 1, table.lines().count());
    let mnist = list.iter().find(|recipe| recipe["name"] == "mnist").unwrap();
    assert_eq!((mnist["model-bytes"].as_u64(), mnist["privacy"].as_str()), (Some(155_544), Some("none")));
}

/// As in `prism-train | head -0 2>&1`: what is printed to nobody is neither an error nor a panic.
#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    for (program, arguments) in [
        ("prism-train", &aloud(&["--rounds", "1", "--out", "run"])[..]),
        ("prism-export", &["run"]),
        ("prism-infer", &["info"]),
        ("prism-infer", &["--n", "1", "--model", "run/model.safetensors.zst"]),
    ] {
        let mut command = command(program, folder.path(), arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{program} {arguments:?}");
    }
}

#[test]
fn partitions_that_do_not_fit_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    for (partition, clients) in [("shards:50", "2"), ("iid", "81"), ("classes:11", "2")] {
        let arguments = tiny(&["--partition", partition, "--clients", clients]);
        let output = e2e::run("prism-train", folder.path(), &arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{partition}: {stderr}");
        assert!(stderr.contains("error: ") && !stderr.contains("panicked"), "{partition}: {stderr}");
    }
}

#[test]
fn missing_data_says_which_files_and_where() {
    let folder = tempfile::tempdir().unwrap();
    refuse_train(
        folder.path(),
        &["--dataset", "mnist", "--data-dir", "nowhere", "--quiet"],
        &["train-images-idx3-ubyte", "nowhere"],
    );
}

#[test]
fn a_folder_that_holds_a_run_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = tiny(&["--rounds", "1", "--out", "run"]);
    succeed("prism-train", folder.path(), &arguments);
    let before = fs::read(folder.path().join("run/checkpoint.safetensors")).unwrap();
    refuse_train(folder.path(), &arguments, &["already holds a run", "--resume"]);
    refuse_train(folder.path(), &["--resume", "run", "--ngf", "8"], &["--ngf 8", "has 4"]);
    assert_eq!(before, fs::read(folder.path().join("run/checkpoint.safetensors")).unwrap());
}

#[test]
fn nothing_in_a_users_folder_is_overwritten_or_removed() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("samples.png"), "mine").unwrap();
    refuse_train(folder.path(), &tiny(&["--out", "photos"]), &["samples.png", "another --out"]);
    assert_eq!(fs::read(photos.join("samples.png")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&photos).unwrap().count(), 1);
}

#[test]
fn a_refused_resume_leaves_the_run_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    // Other pictures in folders with the same names.
    let other = folder.path().join("other/mine");
    picture_folder(&folder.path().join("mine"), &["a", "b"]);
    picture_folder(&other, &["a", "b"]);
    for (from, to) in [("a", "c"), ("b", "a"), ("c", "b")] {
        fs::rename(other.join(from), other.join(to)).unwrap();
    }
    let small = "--dataset folder --data-dir mine --image-size 16 --ngf 2 --clients 2 --rounds 1 --local-steps 1 --batch-size 4 \
                 --encoder random:1 --out run --quiet";
    succeed("prism-train", folder.path(), &small.split_whitespace().collect::<Vec<_>>());
    let read = |name: &str| fs::read(folder.path().join("run").join(name)).unwrap();
    let before = ["settings.toml", "partition.json", "metrics.jsonl"].map(read);
    let wrong = ["--resume", "run", "--data-dir", "other/mine", "--rounds", "3", "--quiet"];
    refuse_train(folder.path(), &wrong, &["other images", "the run's own images"]);
    assert_eq!(before, ["settings.toml", "partition.json", "metrics.jsonl"].map(read));
    succeed("prism-train", folder.path(), &["--resume", "run", "--rounds", "2", "--quiet"]);
}

#[test]
fn damaged_run_files_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    succeed("prism-train", folder.path(), &tiny(&["--rounds", "1", "--out", "run"]));
    let resume = ["--resume", "run", "--rounds", "2", "--quiet"];
    for (file, expected) in [
        ("checkpoint.safetensors", "checkpoint"),
        ("clients/0000/adam-000001.safetensors", "optimiser state"),
        ("clients/0001/moments.safetensors", "feature moments"),
    ] {
        let path = folder.path().join("run").join(file);
        let intact = fs::read(&path).unwrap();
        for damaged in [intact[..intact.len() / 2].to_vec(), flipped(&intact), b"not a tensor file".to_vec()] {
            fs::write(&path, &damaged).unwrap();
            refused("prism-train", folder.path(), &resume, 1, &[expected, file]);
            assert_eq!(fs::read(&path).unwrap(), damaged, "a refused file is left as it is");
        }
        fs::write(&path, intact).unwrap();
    }
    succeed("prism-train", folder.path(), &resume);
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes
}

#[test]
fn a_foreign_checkpoint_is_refused_by_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    succeed("prism-train", folder.path(), &tiny(&["--rounds", "1", "--out", "run"]));
    succeed("prism-train", folder.path(), &tiny(&["--rounds", "1", "--out", "other", "--seed", "5"]));
    fs::copy(folder.path().join("other/checkpoint.safetensors"), folder.path().join("run/checkpoint.safetensors"))
        .unwrap();
    refuse_train(folder.path(), &["--resume", "run", "--quiet"], &["seed 5", "give 0"]);
}

#[test]
fn the_exporter_says_what_it_was_given_in_the_place_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    fs::create_dir_all(folder.path().join("runs/begun")).unwrap();
    succeed("prism-train", folder.path(), &tiny(&["--rounds", "1", "--out", "runs/done"]));
    fs::copy(folder.path().join("runs/done/settings.toml"), folder.path().join("runs/begun/settings.toml")).unwrap();
    fs::copy(folder.path().join("runs/done/model.safetensors.zst"), folder.path().join("copy.zst")).unwrap();
    write("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n");
    write("packed", &[0x1f, 0x8b, 8, 0]);
    write("empty", b"");
    for (input, words) in [
        ("nowhere", &["nowhere"][..]),
        ("runs", &["holds runs", "runs/begun, runs/done"]),
        ("runs/done/clients", &["holds no run", "prism-train printed"]),
        ("runs/begun", &["saved no round yet", "--resume runs/begun"]),
        (
            "runs/done/model.safetensors.zst",
            &["finished model", " runs/done/model.safetensors.zst` draws from it", "give runs/done to export"],
        ),
        ("copy.zst", &["finished model", "folder of its run"]),
        ("runs/done/settings.toml", &["no checkpoint", "give its run, runs/done"]),
        ("lfs", &["Git LFS pointer", "git lfs pull"]),
        ("packed", &["is packed", "unpack it"]),
        ("empty", &["is empty", "fetch it again"]),
    ] {
        refused("prism-export", folder.path(), &[input], 2, words);
    }
    refused("prism-export", folder.path(), &["runs/done", "--out", "runs"], 2, &["--out runs is a folder"]);
    let words = &["a path of its own"];
    refused("prism-export", folder.path(), &["runs/done", "--out", "one", "--card", "one"], 2, words);
    // What the program did not write as such is somebody's.
    fs::write(folder.path().join("README.md"), "# Mine").unwrap();
    let before = fs::read(folder.path().join("runs/done/settings.toml")).unwrap();
    for (out, word) in [("runs/done/settings.toml", "no model"), ("runs/done/checkpoint.safetensors", "no model")] {
        refused("prism-export", folder.path(), &["runs/done", "--out", out], 2, &[word, "move it away"]);
    }
    for card in ["README.md", "copy.zst"] {
        refused("prism-export", folder.path(), &["copy.zst", "--card", card], 2, &["no model card", card]);
    }
    assert_eq!(fs::read(folder.path().join("runs/done/settings.toml")).unwrap(), before);
    assert_eq!(fs::read_to_string(folder.path().join("README.md")).unwrap(), "# Mine");
    refused("prism-export", folder.path(), &["copy.zst", "--out", "x", "--card", "y"], 2, &["leave out --out"]);
    let state = "runs/done/clients/0000/adam-000001.safetensors";
    refused("prism-export", folder.path(), &[state], 1, &["give a checkpoint"]);
    write("junk", b"junk");
    refused("prism-export", folder.path(), &["junk"], 1, &["junk", "damaged"]);
    succeed("prism-export", folder.path(), &["runs/done", "--out", "new/folder/model.zst"]);
    assert!(
        fs::read(folder.path().join("new/folder/model.zst")).unwrap()
            == fs::read(folder.path().join("copy.zst")).unwrap()
    );
}
