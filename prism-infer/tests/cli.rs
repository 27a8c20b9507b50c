//! The program itself, on the model that it embeds: what goes to which stream, and the exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/mnist.safetensors.zst");
const FASHION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/fashion-mnist.safetensors.zst");

fn run(folder: &Path, line: &str) -> Output {
    let words = line.split(' ').filter(|word| !word.is_empty());
    Command::new(env!("CARGO_BIN_EXE_prism-infer")).args(words).current_dir(folder).output().unwrap()
}

fn succeed(folder: &Path, line: &str) -> (String, String) {
    let output = run(folder, line);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "`{line}`: {stderr}");
    (stdout, stderr)
}

fn refuse(folder: &Path, line: &str, code: i32, word: &str) {
    let output = run(folder, line);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "`{line}`: {stderr}");
    assert!(
        stderr.contains(word) && stderr.matches("error: ").count() == 1,
        "`{line}` should mention '{word}': {stderr}"
    );
    assert!(output.stdout.is_empty(), "`{line}` has nothing to say on standard output");
}

fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n")
}

#[test]
fn without_flags_it_draws_the_embedded_model_into_samples_png() {
    let folder = tempfile::tempdir().unwrap();
    let (stdout, stderr) = succeed(folder.path(), "");
    assert_eq!(stdout, "samples.png\n");
    assert!(stderr.contains("drew 64 images of the embedded model"), "{stderr}");
    let first = fs::read(folder.path().join("samples.png")).unwrap();
    assert!(is_png(&first));
    let (_, stderr) = succeed(folder.path(), "--n 64 --seed 0 --threads 1 --quiet");
    assert_eq!(stderr, "");
    assert_eq!(fs::read(folder.path().join("samples.png")).unwrap(), first, "overwritten by the same picture");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "and by nothing else");
}

#[test]
fn a_picture_on_standard_output_is_alone_there() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), "--n 4 --out - --npy images.npy");
    assert!(output.status.success() && is_png(&output.stdout));
    succeed(folder.path(), "--n 4 --out same.png");
    assert_eq!(fs::read(folder.path().join("same.png")).unwrap(), output.stdout);
    assert!(folder.path().join("images.npy").exists());
}

#[test]
fn the_report_is_json_on_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let (stdout, _) = succeed(folder.path(), "--n 3 --out a.png --out-dir b --npy c.npy --json");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["images"], 3);
    assert_eq!(report["written"], serde_json::json!(["a.png", "b", "c.npy"]));
    assert_eq!(fs::read_dir(folder.path().join("b")).unwrap().count(), 3);
}

#[test]
fn info_shows_the_metadata_and_verifies_the_known_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (text, _) = succeed(folder.path(), "info --verify");
    for word in ["data set", "privacy", "bits per weight", "blocks.0.conv1", "(found again)"] {
        assert!(text.contains(word), "should show '{word}': {text}");
    }
    let (stdout, _) = succeed(folder.path(), "info --json");
    let info: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(info["meta"]["version"], 1);
    assert!(info["stats"]["bits_per_weight"].as_f64().unwrap() > 0.0);
    assert_eq!(info.get("verified"), None);
}

#[test]
fn the_users_mistakes_exit_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for (line, word) in [
        ("--n 0", "from 1 upwards"),
        ("--threads 0", "from 1 upwards"),
        ("--columns x", "from 1 upwards"),
        ("--label 1000", "label"),
        ("--model missing.zst", "missing.zst"),
        ("info --model missing.zst", "missing.zst"),
        ("--seed=-1", "--seed"),
        ("--seed 1 --latents z.npy", "cannot be used with"),
        ("--nonsense", "--nonsense"),
        ("draw", "draw"),
    ] {
        refuse(folder.path(), line, 2, word);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a refused command leaves nothing behind");
}

#[test]
fn damaged_models_exit_with_1_and_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let model = fs::read(MODEL).unwrap();
    fs::write(folder.path().join("cut.zst"), &model[..model.len() / 2]).unwrap();
    refuse(folder.path(), "--model cut.zst", 1, "artifact cut.zst cannot be used");
    refuse(folder.path(), "info --model cut.zst", 1, "artifact cut.zst cannot be used");
}

/// A safetensors file without tensors, whose metadata hold `prism` under the key of the same name.
fn safetensors(prism: &Value) -> Vec<u8> {
    let header = serde_json::json!({ "__metadata__": { "prism": prism.to_string() } }).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

#[test]
fn a_file_that_is_no_model_is_named_for_what_it_is_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let model = fs::read(MODEL).unwrap();
    let checkpoint = safetensors(&serde_json::json!({ "kind": "checkpoint", "version": 1 }));
    let unpacked = safetensors(&serde_json::json!({ "version": 1 }));
    let cases: [(&[u8], &str); 9] = [
        (b"", "it is empty: fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 24240\n", "`git lfs pull`"),
        (&model[..5000], "its 5000 bytes are no whole zstd frame: it was cut short or altered, so fetch it again"),
        (b"\x1f\x8b\x08\x08\0\0\0\0", "unpack it with `gunzip`"),
        (b"PK\x03\x04\x14\0", "it is a zip archive"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (&unpacked, "pack it again with `zstd`"),
        (&checkpoint, "it is the checkpoint of a run and no finished model: use the run's model.safetensors.zst"),
        (b"not a model", "it is not packed with zstd"),
    ];
    for (bytes, word) in cases {
        fs::write(folder.path().join("m"), bytes).unwrap();
        refuse(folder.path(), "m", 1, word);
    }
}

#[test]
fn a_model_is_named_by_its_file_or_the_folder_of_its_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    refuse(folder.path(), "run", 2, "the folder run has no model.safetensors.zst");
    fs::copy(MODEL, folder.path().join("run/model.safetensors.zst")).unwrap();
    for model in ["run", "run/model.safetensors.zst", "--model run", "--model run/model.safetensors.zst"] {
        let (_, stderr) = succeed(folder.path(), &format!("{model} -n 1 -o one.png"));
        assert!(stderr.contains("1 images of run/model.safetensors.zst"), "`{model}`: {stderr}");
        let (text, _) = succeed(folder.path(), &format!("info {model}"));
        assert!(text.contains("run/model.safetensors.zst"), "`{model}`: {text}");
    }
    refuse(folder.path(), "run --model run", 2, "cannot be used with");
}

#[test]
#[cfg(unix)]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    if Command::new("mkfifo").arg(folder.path().join("pipe")).status().is_ok_and(|status| status.success()) {
        refuse(folder.path(), "pipe", 2, "pipe is no regular file");
    }
}

#[test]
fn classes_are_asked_for_by_name_number_or_range() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(FASHION, folder.path().join("m")).unwrap();
    let draw = |label: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prism-infer"));
        command.args(["m", "-n", "8", "--npy", "x.npy", "--label", label]).current_dir(folder.path());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(fs::read(folder.path().join("x.npy")).unwrap()) } else { Err(stderr) }
    };
    let alike = [
        ("Sneaker", "7"),
        ("ankle BOOT,Bag", "9,8"),
        ("Shirt,0-2", "6,0,1,2"),
        ("T-shirt/top", "0"),
        ("0-9", "0,1,2,3,4,5,6,7,8,9"),
    ];
    for (text, numbers) in alike {
        assert_eq!(draw(text).unwrap(), draw(numbers).unwrap(), "--label {text}");
    }
    assert_ne!(draw("0").unwrap(), draw("1").unwrap());
    for (text, word) in [
        ("cat", "label cat does not exist; this model has the labels 0 to 9: T-shirt/top, Trouser, Pullover,"),
        ("8-11", "label 8-11 does not exist"),
        ("3-0", "label range 3-0 counts down"),
        ("", "label  does not exist"),
    ] {
        let why = draw(text).unwrap_err();
        assert!(why.contains(word), "--label {text} should mention '{word}': {why}");
    }
}

/// As in `prism-infer --out - | head -c 0`.
#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prism-infer"));
    command.args(["--n", "4", "--out", "-"]).current_dir(folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[cfg(target_os = "linux")]
fn a_path_that_is_no_utf_8_is_reported() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"\xff.png");
    let mut command = Command::new(env!("CARGO_BIN_EXE_prism-infer"));
    command.args(["--n", "1", "--json", "--quiet", "--out"]).arg(name).current_dir(folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["written"], serde_json::json!(["\u{fffd}.png"]));
    assert!(folder.path().join(name).exists());
}

#[test]
fn outputs_that_cannot_be_written_are_refused_before_anything_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    for (line, word) in [
        ("--n 1 --out d1 --npy d1", "--out and --npy both name d1"),
        ("--n 1 --out d1 --npy ./d/../d1", "--out and --npy both name"),
        ("--n 1 --out d1 --out-dir d1", "--out and --out-dir both name d1"),
        ("--n 1 --npy new/d1 --out-dir new/d1", "--npy and --out-dir both name"),
        ("--n 1 --out d", "--out is the folder d; name a file in it"),
        ("--n 1 --npy d", "--npy is the folder d; name a file in it"),
        ("--n 1 --out x.jpg", "--out is x.jpg and pictures are PNG; name it x.png"),
        ("--n 1 --out new/x.JPEG", "name it new/x.png"),
        ("--n 1 --out x.npy", "use --npy for an array"),
    ] {
        refuse(folder.path(), line, 2, word);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
    fs::write(folder.path().join("file"), b"").unwrap();
    refuse(folder.path(), "--n 1 --out file/x.png", 2, "cannot create the folder file");
}

#[test]
fn what_is_read_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/mnist.safetensors.zst");
    fs::copy(model, folder.path().join("m.zst")).unwrap();
    let header = format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 128), }");
    let latents = [&b"\x93NUMPY\x01\x00\x76\x00"[..], header.as_bytes(), &[0; 4 * 128]].concat();
    fs::write(folder.path().join("l.npy"), latents).unwrap();
    succeed(folder.path(), "m.zst --latents l.npy --npy x.npy");
    let before = fs::read(folder.path().join("m.zst")).unwrap();
    for line in ["-n 1 m.zst -o m.zst", "-n 1 m.zst --npy ./m.zst"] {
        refuse(folder.path(), line, 2, "the model and");
    }
    refuse(folder.path(), "m.zst --latents l.npy --npy l.npy", 2, "--latents and --npy both name l.npy");
    assert_eq!(fs::read(folder.path().join("m.zst")).unwrap(), before);
}

#[test]
fn folders_of_outputs_are_made() {
    let folder = tempfile::tempdir().unwrap();
    succeed(folder.path(), "-n 1 -o new/dir/x.png --npy new/deep/x.npy --out-dir other/images");
    for path in ["new/dir/x.png", "new/deep/x.npy", "other/images/image-00000-seed-0-0.png"] {
        assert!(folder.path().join(path).exists(), "{path}");
    }
}

#[test]
fn single_images_are_named_by_seed_and_class_and_never_mix_with_older_ones() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(FASHION, folder.path().join("m")).unwrap();
    let line = "m -n 2 --seed 7 --label Sneaker,T-shirt/top --out-dir d";
    succeed(folder.path(), line);
    let names = ["image-00000-seed-7-Sneaker.png", "image-00001-seed-7-T_shirt_top.png"];
    names.iter().for_each(|name| assert!(folder.path().join("d").join(name).exists(), "{name}"));
    succeed(folder.path(), line);
    succeed(folder.path(), &line.replace("-n 2", "-n 3"));
    for other in [line.to_string(), line.replace("--seed 7", "--seed 8"), line.replace("Sneaker,", "")] {
        refuse(folder.path(), &other, 2, "holds images of another command, such as image-0000");
    }
    assert_eq!(fs::read_dir(folder.path().join("d")).unwrap().count(), 3);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_failure_and_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for line in ["--n 1 --out -", "--n 1", "info", "info --json"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prism-infer"));
        command.args(line.split(' ')).current_dir(folder.path()).stdout(full.try_clone().unwrap());
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "`{line}`: {stderr}");
        assert!(stderr.contains("cannot write <stdout>") && !stderr.contains("panicked"), "`{line}`: {stderr}");
    }
}

#[test]
fn integers_draw_nearly_the_same_images() {
    let folder = tempfile::tempdir().unwrap();
    succeed(folder.path(), "--n 10 --npy f32.npy --quiet");
    succeed(folder.path(), "--n 10 --npy i16.npy --quiet --precision i16");
    let values = |name| prism_core::npy::read(&fs::read(folder.path().join(name)).unwrap()).unwrap().1;
    let (floats, integers) = (values("f32.npy"), values("i16.npy"));
    assert_ne!(floats, integers);
    let error = floats.iter().zip(&integers).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(error < 1e-2, "{error}");
}

#[test]
fn bench_prints_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let line =
        "bench --json --ngf 4 --image-size 16 --channels 1 --latent 9 --batch 3 --threads 2 --precision i16 --runs 2";
    let (stdout, _) = succeed(folder.path(), line);
    assert_eq!(stdout.lines().count(), 1);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert!(report["ms_per_image"].as_f64().unwrap() > 0.0);
    let field = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(["batch", "threads", "ngf", "image_size", "channels", "runs"].map(field), [3, 2, 4, 16, 1, 2]);
    assert_eq!(report["precision"], "i16");
    let (stdout, _) = succeed(folder.path(), "bench --ngf 4 --runs 1 --batch 1");
    assert!(stdout.contains("ms an image (random weights, batch 1,"), "{stdout}");
    refuse(folder.path(), "bench --ngf 0", 2, "ngf is 0");
    refuse(folder.path(), "bench --ngf 1 --runs 18446744073709551615", 2, "choose 1 to 1000000");
    refuse(folder.path(), "bench --ngf 1 --runs 1000001", 2, "--runs is 1000001");
    refuse(folder.path(), "bench --ngf 1 --batch 1000000000", 2, "choose 1 to 87381");
    refuse(
        folder.path(),
        "bench --ngf 1 --latent 4096 --image-size 8 --channels 1 --batch 65537",
        2,
        "choose 1 to 65536",
    );
    refuse(folder.path(), "bench --model x --ngf 4", 2, "--ngf");
}
