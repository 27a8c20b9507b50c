//! The model to use: a file, that of a run's folder, or the one that the program carries, so that it draws without any
//! file.

use std::path::{Path, PathBuf};

use prism_core::artifact::Artifact;
use prism_core::{Error, Result, console};

/// What the model inside the program is called in messages.
const EMBEDDED_NAME: &str = "the embedded model";

/// The bytes of `models/mnist.safetensors.zst`.
const EMBEDDED: &[u8] = include_bytes!("../../models/mnist.safetensors.zst");

/// The artifact in a run's folder.
const IN_RUN_FOLDER: &str = "model.safetensors.zst";

/// A model and the file that it came from.
pub struct Loaded {
    /// The model.
    pub artifact: Artifact,
    /// Its path, or what the embedded one is called.
    pub name: String,
    /// Length of its file in bytes.
    pub bytes: u64,
}

/// Reads the model at `path`, or the embedded one.
///
/// # Errors
/// [`Error::Usage`] for a folder without a model, [`Error::Io`] if the file cannot be read, [`Error::Corrupt`] if it is
/// no intact artifact.
pub fn load(path: Option<&Path>) -> Result<Loaded> {
    let Some(path) = path else {
        let artifact = Artifact::from_bytes(EMBEDDED)?;
        return Ok(Loaded { artifact, name: EMBEDDED_NAME.into(), bytes: EMBEDDED.len() as u64 });
    };
    let path = file_of(path)?;
    let artifact = Artifact::read(&path)?;
    let bytes = std::fs::metadata(&path).map_err(|e| Error::io("read", &path, e))?.len();
    Ok(Loaded { artifact, name: path.display().to_string(), bytes })
}

/// The model's file, where a folder may be named in its place.
///
/// # Errors
/// [`Error::Usage`] for a folder without a model, or what is no regular file.
pub fn file_of(path: &Path) -> Result<PathBuf> {
    let found = std::fs::metadata(path);
    if found.as_ref().is_ok_and(|found| !found.is_dir() && !found.is_file()) {
        // Such as a pipe, which nobody may ever write into.
        return Err(Error::usage(format!("{} is no regular file; name a model's file", path.display())));
    }
    if !found.is_ok_and(|found| found.is_dir()) {
        return Ok(path.to_owned());
    }
    let file = path.join(IN_RUN_FOLDER);
    if file.exists() {
        return Ok(file);
    }
    let (folder, export) = (path.display(), console::command("prism-export"));
    Err(Error::usage(format!("the folder {folder} has no {IN_RUN_FOLDER}; `{export} {folder}` makes that of a run")))
}
