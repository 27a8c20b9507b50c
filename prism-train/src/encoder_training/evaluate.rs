//! The class scores of a finished classifier for a set of images, and how many are right.

use candle_core::{Device, Tensor};
use prism_data::Dataset;
use prism_nn::Result;

/// Images that are classified at once.
const BATCH: usize = 250;

/// What `classify` says of every image of `set`, one row of class scores an image.
///
/// # Errors
/// Those of `classify`, which gets images `[B, channels, S, S]` in [-1, 1] and returns `[B, classes]`.
pub fn class_scores(set: &Dataset, classify: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<Vec<f32>>> {
    let side = set.image_size();
    let rows: Vec<usize> = (0..set.len()).collect();
    let mut all = Vec::with_capacity(set.len());
    for rows in rows.chunks(BATCH) {
        let images = Tensor::from_vec(set.batch(rows), (rows.len(), set.channels(), side, side), &Device::Cpu)?;
        all.extend(classify(&images)?.to_vec2::<f32>()?);
    }
    Ok(all)
}

/// Share of `test` that `classify` tells right.
///
/// # Errors
/// As for [`class_scores`].
pub fn accuracy(test: &Dataset, classify: impl Fn(&Tensor) -> Result<Tensor>) -> Result<f64> {
    let labels = test.labels().unwrap_or_default();
    let rows = class_scores(test, classify)?;
    let right = rows.iter().zip(labels).filter(|(row, label)| highest(row) == usize::from(**label)).count();
    Ok(right as f64 / test.len() as f64)
}

/// The class of the highest score, the first of several.
pub fn highest(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}
