//! Where files and folders really are, also those that are not there yet.

use std::path::{Path, PathBuf};

use prism_core::{Error, Result};
use prism_data::Source;

use super::launch::{Launch, Start};
use crate::settings::Settings;

/// The same path however it is named: absolute, and without links as far as it is there.
pub fn whole(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let of = |known: &Path| Some(known.canonicalize().ok()?.join(path.strip_prefix(known).ok()?));
    path.ancestors().find_map(of).unwrap_or_else(|| path.clone())
}

/// Refuses a new run folder among the images, whose pictures would be images of the next run.
///
/// # Errors
/// [`Error::Usage`] naming both.
pub fn check(settings: &Settings, launch: &Launch) -> Result<()> {
    let images = settings.data.data_dir.as_deref().filter(|_| settings.data.dataset == Source::Folder);
    let (Some(images), Start::New | Start::MomentsOf(_)) = (images, &launch.start) else { return Ok(()) };
    let out = launch.out.as_deref().unwrap_or(Path::new("runs"));
    match whole(out).starts_with(whole(images)) {
        true => Err(Error::usage(format!(
            "the run folder {} lies among the images of {}, and its pictures would count as images; choose another --out",
            out.display(),
            images.display()
        ))),
        false => Ok(()),
    }
}
