//! The model that the program carries, so that it draws something without any file.

use std::path::Path;

use prism_core::Result;
use prism_core::artifact::Artifact;

/// What the embedded model is called in messages.
pub const NAME: &str = "the embedded model";

/// The bytes of `models/mnist.safetensors.zst`.
const BYTES: &[u8] = include_bytes!("../../models/mnist.safetensors.zst");

/// A model and the file that it came from.
pub struct Loaded {
    /// The model.
    pub artifact: Artifact,
    /// Its path, or [`NAME`].
    pub name: String,
    /// Length of its file in bytes.
    pub bytes: u64,
}

/// Reads the model at `path`, or the embedded one.
///
/// # Errors
/// [`Io`](prism_core::Error::Io) if the file cannot be read, [`Corrupt`](prism_core::Error::Corrupt) if it is no intact artifact.
pub fn load(path: Option<&Path>) -> Result<Loaded> {
    let Some(path) = path else {
        return Ok(Loaded { artifact: Artifact::from_bytes(BYTES)?, name: NAME.into(), bytes: BYTES.len() as u64 });
    };
    let artifact = Artifact::read(path)?;
    let bytes = std::fs::metadata(path).map_err(|e| prism_core::Error::io("read", path, e))?.len();
    Ok(Loaded { artifact, name: path.display().to_string(), bytes })
}
