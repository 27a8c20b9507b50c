//! A federation small enough for a debug build: seconds, not minutes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

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

/// The bytes of a run's artifact.
///
/// # Panics
/// If it has none.
pub fn artifact(run: &Path) -> Vec<u8> {
    fs::read(run.join("model.safetensors.zst")).expect("a finished run has an artifact")
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
