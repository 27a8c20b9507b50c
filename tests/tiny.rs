//! A federation small enough for a debug build: seconds, not minutes.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use prism_core::Architecture;
use prism_core::grid::Picture;

use crate::{command, succeed};

const TINY: &str = "--dataset strokes --limit 80 --image-size 16 --ngf 4 --latent 16 --clients 2 --rounds 3 --local-steps 2 \
                    --batch-size 8 --encoder random:1";

/// The arguments of the tiny run, and more, which win over them.
pub fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&aloud(more)[..], &["--quiet"]].concat()
}

/// The same, with everything that a run says.
pub fn aloud<'a>(more: &[&'a str]) -> Vec<&'a str> {
    TINY.split_whitespace().chain(more.iter().copied()).collect()
}

/// Trains in `folder/NAME` and returns the artifact's bytes.
pub fn train(folder: &Path, name: &str, more: &[&str]) -> Vec<u8> {
    succeed("prism-train", folder, &tiny(&[&["--out", name], more].concat()));
    artifact(&folder.join(name))
}

/// Fills `folder` with 12 pictures of each class of `classes`; which ones depends on the class's name.
///
/// # Panics
/// If it cannot be written.
pub fn picture_folder(folder: &Path, classes: &[&str]) {
    let arch = Architecture { image_size: 16, channels: 1, ngf: 2, latent: 2, classes: 0, label_scale: 3.0 };
    for class in classes {
        let path = folder.join(class);
        fs::create_dir_all(&path).expect("the folder can be made");
        for k in 0..12 {
            let shade = class.bytes().map(usize::from).sum::<usize>();
            let image: Vec<u8> = (0..16 * 16).map(|i| ((i * (k + 1) + shade) % 251) as u8).collect();
            let png = Picture::single(&arch, &image).png().expect("a picture is encoded");
            fs::write(path.join(format!("{k}.png")), png).expect("the picture is written");
        }
    }
}

/// The bytes of a run's artifact.
///
/// # Panics
/// If it has none.
pub fn artifact(run: &Path) -> Vec<u8> {
    fs::read(run.join("model.safetensors.zst")).expect("a finished run has an artifact")
}

/// Starts the run `name`, which must have more rounds than `rounds`, and returns once it has reported so many.
///
/// # Panics
/// If it cannot be started, or ends before that.
pub fn start_and_reach(folder: &Path, arguments: &[&str], name: &str, rounds: usize) -> Child {
    let mut child = command("prism-train", folder, arguments).spawn().expect("prism-train starts");
    while rounds_reported(&folder.join(name)) < rounds {
        assert_eq!(child.try_wait().expect("a child can be asked"), None, "{name} ended before round {rounds}");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// How many rounds a run has reported.
pub fn rounds_reported(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// Starts a run and kills it `milliseconds` after its settings are on disk.
///
/// # Panics
/// If it cannot be started.
pub fn kill_in_mid_run(folder: &Path, arguments: &[&str], name: &str, milliseconds: u64) {
    let mut child = command("prism-train", folder, arguments).spawn().expect("prism-train starts");
    let settings = folder.join(name).join("settings.toml");
    let patience = Instant::now();
    while !settings.exists() && patience.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(milliseconds));
    // A run that ended before the signal is resumed all the same, which must change nothing.
    let _ = child.kill();
    child.wait().expect("a child can be waited for");
}
