//! A picture of what a model draws.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use prism_core::grid::square_columns;
use prism_core::inputs::{Inputs, Source};
use prism_core::loaded::LoadedModel;
use prism_core::sampler::Precision;
use prism_core::{Result, file};
use pyo3::prelude::*;

use crate::errors::ours;

/// Seed of the picture: always the same images of the same model.
const SEED: u64 = 0;

/// Draws images from a model file into one PNG picture.
#[pyfunction]
#[pyo3(signature = (model, png, images = 64))]
pub fn draw(py: Python<'_>, model: PathBuf, png: PathBuf, images: usize) -> PyResult<()> {
    py.detach(|| picture(&model, &png, images)).map_err(ours)
}

/// Draws `images` images of the model at `model` into the picture `png`.
///
/// # Errors
/// If the model cannot be read or the picture not be written.
pub fn picture(model: &Path, png: &Path, images: usize) -> Result<()> {
    let model = LoadedModel::open(model)?;
    let inputs = Inputs::new(model.description(), Source::Seed(SEED), images as u64)?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let bytes = model.picture(&inputs, square_columns(images), Precision::F32, threads)?.png()?;
    file::write_atomic(png, |out| out.write_all(&bytes))
}
