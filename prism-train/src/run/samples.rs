//! Pictures of a run: a quick grid after a round, and the final one, drawn from the artifact that was written.

use std::num::NonZeroUsize;
use std::path::Path;

use prism_core::artifact::Artifact;
use prism_core::grid::Picture;
use prism_core::sampler::{Sampler, pixel};
use prism_core::{Error, file, latent};
use prism_export::{Checkpoint, Options, freeze};
use prism_nn::Result;

/// Rows of a grid; a conditional model shows a column for each class.
const ROWS: u64 = 8;
/// Columns where there are no classes, and the most where there are many.
const COLUMNS: u64 = 10;
/// Calibration images of a quick grid: enough to look at, cheap enough for every round.
const QUICK_CALIBRATION: usize = 128;

/// Draws what the generator of `checkpoint` would show now into the picture `path`.
///
/// # Errors
/// If the computation fails or the picture cannot be written.
pub fn draw_grid(checkpoint: &Checkpoint, path: &Path) -> Result<()> {
    let options = Options { calibration_images: QUICK_CALIBRATION, ..Options::of(checkpoint) };
    draw(&freeze(checkpoint, options)?.artifact, path)
}

/// Draws images of the artifact at `model` into the picture `path`.
///
/// # Errors
/// If the artifact cannot be read or the picture cannot be written.
pub fn draw_picture(model: &Path, path: &Path) -> Result<()> {
    draw(&Artifact::read(model)?, path)
}

fn draw(artifact: &Artifact, path: &Path) -> Result<()> {
    let arch = &artifact.meta().description.architecture;
    let columns = if arch.classes > 0 { (arch.classes as u64).min(COLUMNS) } else { COLUMNS };
    let input =
        |k| latent::input(arch, &latent::latent(arch, 0, k), (arch.classes > 0).then_some((k % columns) as usize));
    let inputs = (0..ROWS * columns).map(input).collect::<prism_core::Result<Vec<_>>>()?.concat();
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let images = pixel::bytes(&Sampler::new(&artifact.model()).images(&inputs, threads));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
    }
    let png = Picture::grid(arch, &images, columns as usize)?.png()?;
    Ok(file::write_atomic(path, |out| out.write_all(&png))?)
}
