//! A new run on the moments of another one (`--moments-from`): nothing is drawn or measured again, so no budget is spent again.
//!
//! Whatever is trained from one release is post-processing of it, however often, so that other generators may be tried on the
//! same noisy sums under one promise. Moments of other images, another encoder or other privacy are refused when they are read.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prism_core::{Error, file};
use prism_export::RunFolder;
use prism_fl::moments::file::check_moments;
use prism_fl::{Client, ClientData, Result, RunContext};

/// What all clients agreed on, and what each keeps of it: everything but optimiser states and global scores.
const KEPT: [&str; 8] = [
    "setup.json",
    "sum.message",
    "moments.safetensors",
    "start.json",
    "images.json",
    "recorded",
    "reply-subclasses.message",
    "reply-moments.message",
];

/// Refuses, before the new run has a folder, a run in the folder `source` whose moments are not those of `clients`.
///
/// # Errors
/// [`Error::Usage`] if there is no run, nothing was measured for it, or it was on other images or under other settings;
/// [`Error::Corrupt`] if a file is damaged.
pub fn check(source: &Path, context: &Arc<RunContext>, clients: &[ClientData]) -> Result<()> {
    let run = RunFolder::open(source)?;
    let has_moments = |folder: PathBuf| folder.join("moments.safetensors").exists();
    let shared = has_moments(run.shared());
    if !shared && !(0..clients.len()).all(|client| has_moments(run.client(client as u32))) {
        return Err(Error::usage(format!(
            "{} has no moments for {} clients; name a run of as many clients that has come to its first round",
            source.display(),
            clients.len()
        ))
        .into());
    }
    check_moments(&run.shared(), &context.moments_source(String::new()))?;
    for (id, data) in clients.iter().enumerate() {
        Client::open(Arc::clone(context), id as u32, data.clone(), &run.client(id as u32)).check()?;
    }
    Ok(())
}

/// Copies what the run in the folder `source` has measured or drawn into the folder of the new one.
///
/// # Errors
/// If a file cannot be read or written.
pub fn copy(source: &Path, folder: &RunFolder, clients: usize) -> Result<()> {
    let source = RunFolder::new(source);
    let client = |client| (source.client(client), folder.client(client));
    let places = std::iter::once((source.shared(), folder.shared())).chain((0..clients as u32).map(client));
    for (from, to) in places.filter(|(from, _)| from.exists()) {
        fs::create_dir_all(&to).map_err(|e| Error::io("create the folder", &to, e))?;
        for name in KEPT {
            copy_file(&from.join(name), &to.join(name))?;
        }
    }
    Ok(())
}

/// Copies the file at `from`, if there is one, or lets both names stand for it where the file system can: it never changes.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() || fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let mut bytes = File::open(from).map_err(|e| Error::io("read", from, e))?;
    Ok(file::write_atomic(to, |out| io::copy(&mut bytes, out).map(drop))?)
}
