//! `FORMAT.md` is enough to write a reader: a Python script written from it draws the same images.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use e2e::model::{mixture, tiny, untrained};
use prism_core::Architecture;
use prism_infer::cli::Cli;

/// What the script exits with where something that it needs is not installed.
const NOT_INSTALLED: i32 = 77;

/// Draws eight images of `model` under seed 5 and holds them against the second reader's. Returns whether it could run.
fn compare(model: &Path, folder: &Path) -> bool {
    let array = folder.join("images.npy");
    let (model, images) = (model.to_str().unwrap(), array.to_str().unwrap());
    let arguments = ["prism-infer", "--model", model, "--npy", images, "--n", "8", "--seed", "5", "--quiet"];
    prism_infer::draw(&Cli::parse_from(arguments).draw).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("second_reader.py");
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let output = match Command::new(&python).arg(script).args([model, "--npy", images, "--seed", "5"]).output() {
        Ok(output) => output,
        Err(error) => return skip(&format!("{} does not run: {error}", python.display())),
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(NOT_INSTALLED) {
        return skip(&said);
    }
    assert!(output.status.success(), "the second reader disagrees on {model}: {said}");
    assert!(said.contains("known answer: right"), "{said}");
    true
}

/// Set where everything that the script needs is installed, so that a test which did not run is no test that passed.
const REQUIRED: &str = "PRISM_SECOND_READER_REQUIRED";

fn skip(why: &str) -> bool {
    assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set and the second reader did not run: {why}");
    eprintln!("\nSKIPPED: the second reader of the format did not run: {why}\n");
    false
}

#[test]
fn the_second_reader_draws_the_same_images_of_every_kind_of_model() {
    let folder = tempfile::tempdir().unwrap();
    let base = Architecture { image_size: 16, ngf: 3, latent: 7, ..tiny() };
    let models = [
        (untrained(tiny(), 0.5, 0), "conditional"),
        (
            untrained(Architecture { classes: 0, channels: 3, ..base.clone() }, 0.1, u64::MAX),
            "sparse, colour, unconditional",
        ),
        (untrained(Architecture { image_size: 32, label_scale: 0.7, ..base.clone() }, 0.9, 12), "dense"),
        (mixture(base, 0.4, u64::MAX, 3), "mixture"),
    ];
    for (model, kind) in models {
        let path = folder.path().join(format!("{kind}.safetensors.zst"));
        model.write(&path).unwrap();
        if !compare(&path, folder.path()) {
            return;
        }
    }
}

#[test]
fn the_second_reader_draws_the_same_images_of_the_models_that_we_ship() {
    let folder = tempfile::tempdir().unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let files = std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path());
    let shipped: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(".safetensors.zst")).collect();
    assert!(!shipped.is_empty());
    for model in shipped {
        prism_core::artifact::Artifact::read(&model).unwrap().verify().unwrap();
        if !compare(&model, folder.path()) {
            return;
        }
    }
}
