//! Where images go: into a grid, a folder, an array. Files are written whole or not at all.

use std::path::{Path, PathBuf};

use prism_core::grid::Picture;
use prism_core::sampler::pixel;
use prism_core::{Architecture, Error, Result, console, file, npy};

use crate::plan::{Plan, Target, folder_of};

/// Collects images as they are drawn.
pub(crate) struct Outputs<'a> {
    plan: &'a Plan,
    arch: &'a Architecture,
    /// Bytes of the grid's images.
    grid: Vec<u8>,
    /// Values of the array.
    array: Vec<f32>,
    written: u64,
}

impl<'a> Outputs<'a> {
    /// Creates the folders that are asked for and not there yet.
    ///
    /// # Errors
    /// If one cannot be created.
    pub(crate) fn new(plan: &'a Plan, arch: &'a Architecture) -> Result<Self> {
        let picture = match &plan.picture {
            Some(Target::File(path)) => Some(folder_of(path)),
            _ => None,
        };
        for folder in [plan.folder.as_deref(), picture, plan.array.as_deref().map(folder_of)].into_iter().flatten() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
        }
        Ok(Outputs { plan, arch, grid: Vec::new(), array: Vec::new(), written: 0 })
    }

    /// Takes the next images, `[n, channels, size, size]` in [-1, 1].
    ///
    /// # Errors
    /// If a file of the folder cannot be written.
    pub(crate) fn take(&mut self, images: &[f32]) -> Result<()> {
        if self.plan.array.is_some() {
            self.array.extend_from_slice(images);
        }
        let bytes = pixel::bytes(images);
        if let Some(folder) = &self.plan.folder {
            for image in bytes.chunks_exact(self.arch.pixels()) {
                let path = folder.join(self.plan.inputs.file_name(self.written, &self.plan.class_names));
                write(&path, &Picture::single(self.arch, image).png()?)?;
                self.written += 1;
            }
        }
        if self.plan.picture.is_some() {
            self.grid.extend(bytes);
        }
        Ok(())
    }

    /// Writes grid and array, and names every file or folder written.
    ///
    /// # Errors
    /// If one of them cannot be written.
    pub(crate) fn finish(self) -> Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        if let Some(target) = &self.plan.picture {
            let picture = Picture::grid(self.arch, &self.grid, self.plan.columns)?.png()?;
            match target {
                Target::File(path) => {
                    write(path, &picture)?;
                    written.push(path.clone());
                }
                Target::Stdout => console::out_bytes(&picture)?,
            }
        }
        written.extend(self.plan.folder.clone());
        if let Some(path) = &self.plan.array {
            let (size, channels) = (self.arch.image_size, self.arch.channels);
            let header = npy::header(&[self.array.len() / self.arch.pixels(), channels, size, size]);
            file::write_atomic(path, |out| {
                out.write_all(&header)?;
                out.write_all(&npy::values(&self.array))
            })?;
            written.push(path.clone());
        }
        Ok(written)
    }
}

/// A report that has no form in JSON: a failure of the program, and none of its user's.
pub(crate) fn no_json(error: serde_json::Error) -> Error {
    Error::corrupt("the report", format!("it is no JSON ({error})"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    file::write_atomic(path, |out| out.write_all(bytes))
}
