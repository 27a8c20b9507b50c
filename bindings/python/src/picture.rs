//! A picture of what a model draws.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use prism_core::artifact::Artifact;
use prism_core::grid::{Picture, square_columns};
use prism_core::mixture::component_of_image;
use prism_core::sampler::{Mixture, pixel};
use prism_core::{Result, file, latent};
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

fn picture(model: &Path, png: &Path, images: usize) -> Result<()> {
    let artifact = Artifact::read(model)?;
    let sampler = Mixture::new(&artifact.models());
    let (arch, components) = (sampler.arch(), sampler.components());
    let input = |index| latent::input(arch, &latent::latent(arch, SEED, index), latent::default_label(arch, index));
    let inputs = (0..images as u64).map(input).collect::<Result<Vec<_>>>()?.concat();
    let drawn_by: Vec<_> = (0..images as u64).map(|index| component_of_image(components, SEED, index)).collect();
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let pixels = pixel::bytes(&sampler.images(&inputs, &drawn_by, threads));
    let bytes = Picture::grid(arch, &pixels, square_columns(images))?.png()?;
    file::write_atomic(png, |out| out.write_all(&bytes))
}
