//! Pictures of a run: a quick grid after a round, and the final one.

use std::num::NonZeroUsize;
use std::path::Path;

use prism_core::artifact::Artifact;
use prism_core::grid::Picture;
use prism_core::{Error, file};
use prism_export::{Checkpoint, Options};
use prism_nn::Result;

use crate::metrics::EvaluatedModel;

/// Rows of a grid; a conditional model shows a column for each class.
const ROWS: usize = 8;
/// Columns where there are no classes, and the most where there are many.
const COLUMNS: usize = 10;
/// Calibration images of a quick grid: enough to look at, cheap enough for every round.
const QUICK_CALIBRATION: usize = 128;

/// Draws what the generator of `checkpoint` would show now into the picture `path`.
///
/// # Errors
/// If the computation fails or the picture cannot be written.
pub fn draw_grid(checkpoint: &Checkpoint, path: &Path) -> Result<()> {
    let options = Options { calibration_images: QUICK_CALIBRATION, ..Options::of(checkpoint) };
    draw(&EvaluatedModel::trained_with(path, checkpoint, options)?, path)
}

/// Draws images of the artifact that was written at `model` into the picture `path`.
///
/// # Errors
/// If the artifact cannot be read or the picture cannot be written.
pub fn draw_picture(model: &Path, path: &Path) -> Result<()> {
    draw(&EvaluatedModel::shipped(model, Artifact::read(model)?), path)
}

/// Draws images of a baseline, for which there is no artifact, into the picture `path`.
///
/// # Errors
/// If the computation fails or the picture cannot be written.
pub fn draw_baseline(checkpoint: &Checkpoint, path: &Path) -> Result<()> {
    draw(&EvaluatedModel::trained(path, checkpoint)?, path)
}

fn draw(evaluated: &EvaluatedModel, path: &Path) -> Result<()> {
    let arch = &evaluated.description.architecture;
    let columns = if arch.classes > 0 { arch.classes.min(COLUMNS) } else { COLUMNS };
    let labels: Vec<_> = (0..ROWS * columns).map(|k| (arch.classes > 0).then_some(k % columns)).collect();
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let images = evaluated.draw(0, &labels, threads, &|_| ())?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
    }
    let pixels: Vec<u8> = (0..images.len()).flat_map(|index| images.image(index)).copied().collect();
    let png = Picture::grid(arch, &pixels, columns)?.png()?;
    Ok(file::write_atomic(path, |out| out.write_all(&png))?)
}
