//! How many test images the finished encoder tells right.

use candle_core::Tensor;
use prism_nn::Result;
use prism_nn::encoder::Encoder;

use super::network::Network;
use crate::data::Dataset;

/// Images that are encoded at once.
const BATCH: usize = 250;

/// Share of `test` that `encoder` with the classifier of `network` tells right.
pub fn accuracy(encoder: &Encoder, network: &Network, test: &Dataset) -> Result<f64> {
    let side = test.image_size();
    let labels = test.labels().unwrap_or_default();
    let rows: Vec<usize> = (0..test.len()).collect();
    let mut right = 0usize;
    for rows in rows.chunks(BATCH) {
        let images = Tensor::from_vec(test.batch(rows), (rows.len(), 3, side, side), network.device())?;
        let Some(last) = encoder.forward(&images)?.pop() else { continue };
        let chosen = network.classify(&last)?.argmax(1)?.to_vec1::<u32>()?;
        right += rows
            .iter()
            .zip(chosen)
            .filter(|(row, class)| labels.get(**row).map(|&l| u32::from(l)) == Some(*class))
            .count();
    }
    Ok(right as f64 / test.len() as f64)
}
