//! A new run on the moments of another one (`--moments-from`): nothing is drawn or measured again, so no budget is spent again.
//!
//! Whatever is trained from one release is post-processing of it, however often, so that other generators may be tried on the
//! same noisy sums under one promise.

use std::fs::File;
use std::io;
use std::path::Path;

use prism_core::{Error, file};
use prism_nn::Result;

use super::client_files::{self, MomentsKey, moments_path, thresholds_path};
use super::folder::{self, RunFolder};

/// Refuses, before the new run has a folder, the run in the folder `source` if its moments are not those under `key`, which the new
/// run would draw itself; `key` is none where each client keeps its own.
///
/// # Errors
/// [`Error::Usage`] if there is no run, it has no moments that all share, or they are others; as for [`client_files::found_key`].
pub fn check(source: &Path, key: Option<&MomentsKey>) -> Result<()> {
    RunFolder::settings_of(source)?;
    let run = source.display();
    let Some(key) = key else {
        return Err(Error::usage(format!(
            "--moments-from {run} takes what all clients have sent, and here each keeps its moments to itself; choose --federation \
             one-shot, or --dp-trust secagg with --dp-epsilon, or leave it out"
        ))
        .into());
    };
    let shared = folder::shared(source);
    let Some(found) = client_files::found_key(&shared)? else {
        return Err(Error::usage(format!(
            "{run} has no moments that all clients share (there is no {}); name a run of --federation one-shot or --dp-trust \
             secagg that has come to its first round",
            moments_path(&shared).display()
        ))
        .into());
    };
    let others = differing(&found, key);
    if !others.is_empty() {
        return Err(Error::usage(format!(
            "the moments of {run} are not those of this run, which differs in {}; take the values in {}, or leave out \
             --moments-from",
            others.join("; "),
            source.join("settings.toml").display()
        ))
        .into());
    }
    // Without them classes would be parted anew, by another draw, and otherwise than the moments were.
    let parted = key.styles > 1 && key.privacy != client_files::RAW;
    if parted && !thresholds_path(&shared).exists() {
        let missing = thresholds_path(&shared);
        return Err(Error::usage(format!(
            "{run} does not say where its classes part into styles (there is no {}); name a run that does, or leave out \
             --moments-from",
            missing.display()
        ))
        .into());
    }
    Ok(())
}

/// The settings in which two keys differ.
fn differing(found: &MomentsKey, own: &MomentsKey) -> Vec<&'static str> {
    let parts = [
        (found.data == own.data, "its images (--dataset, --data-dir, --limit, --image-size, --channels)"),
        (found.members == own.members, "who holds which (--clients, --partition, --seed)"),
        (found.encoder == own.encoder, "--encoder or --sketches"),
        (found.conditional == own.conditional, "--conditional"),
        (found.styles == own.styles, "--styles"),
        (found.privacy == own.privacy, "its privacy (the --dp- settings; runs that say no dp-accountant have zcdp)"),
    ];
    parts.into_iter().filter_map(|(same, what)| (!same).then_some(what)).collect()
}

/// Copies the moments of the run in the folder `source`, and where its classes part, into the folder of the new one.
///
/// # Errors
/// If a file cannot be read or written.
pub fn copy(source: &Path, folder: &RunFolder) -> Result<()> {
    let (from, to) = (folder::shared(source), folder.shared());
    std::fs::create_dir_all(&to).map_err(|e| Error::io("create the folder", &to, e))?;
    for (from, to) in [(moments_path(&from), moments_path(&to)), (thresholds_path(&from), thresholds_path(&to))] {
        if from.exists() {
            let mut bytes = File::open(&from).map_err(|e| Error::io("read", &from, e))?;
            file::write_atomic(&to, |out| io::copy(&mut bytes, out).map(drop))?;
        }
    }
    Ok(())
}
