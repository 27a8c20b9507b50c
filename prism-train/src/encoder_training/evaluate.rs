//! The class scores of a finished classifier, encoder and head, for a set of images.

use candle_core::{Device, Tensor};
use prism_data::Dataset;
use prism_nn::encoder::Encoder;
use prism_nn::{Error, Result};

use super::network::Head;

/// Images that are classified at once.
const BATCH: usize = 250;

/// The class scores of every image of `set`, one row an image.
///
/// # Errors
/// If the images do not fit the encoder, or the computation fails.
pub fn logits(encoder: &Encoder, head: &Head, set: &Dataset) -> Result<Vec<Vec<f32>>> {
    let side = set.image_size();
    let rows: Vec<usize> = (0..set.len()).collect();
    let mut all = Vec::with_capacity(set.len());
    for rows in rows.chunks(BATCH) {
        let images = Tensor::from_vec(set.batch(rows), (rows.len(), set.channels(), side, side), &Device::Cpu)?;
        let Some(last) = encoder.forward(&images)?.pop() else {
            return Err(Error::usage("a classifier without a convolution has no class scores; train it anew"));
        };
        all.extend(head.classify(&last)?.to_vec2::<f32>()?);
    }
    Ok(all)
}

/// Share of `test` that `encoder` with `head` classifies correctly.
///
/// # Errors
/// If the images do not fit the encoder, or the computation fails.
pub fn accuracy(encoder: &Encoder, head: &Head, test: &Dataset) -> Result<f64> {
    let labels = test.labels().unwrap_or_default();
    let rows = logits(encoder, head, test)?;
    let right = rows.iter().zip(labels).filter(|(row, label)| highest(row) == usize::from(**label)).count();
    Ok(right as f64 / test.len() as f64)
}

/// The class of the highest score, the first of several.
pub fn highest(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}
