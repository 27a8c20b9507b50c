//! Frozen weights: `+sigma` or `-sigma`, one raw keystream bit each.

use crate::arch::Layer;
use crate::prelude::*;
use crate::stream::{Purpose, StreamId};

/// The sign bits of layer number `index`, packed from each byte's lowest bit; 1 stands for `+sigma`.
///
/// They are the first `ceil(weights / 8)` bytes of the stream `sign` of that layer; spare bits of the last byte mean
/// nothing.
pub fn sign_bytes(seed: u64, index: usize, weights: usize) -> Vec<u8> {
    let mut bytes = vec![0; weights.div_ceil(8)];
    StreamId::new(seed, Purpose::Sign).layer(index as u64).open().fill(&mut bytes);
    bytes
}

/// The frozen weights of `layer`, number `index` of its architecture: `±sigma` in the order of [`Layer::shape`].
pub fn frozen_weights(seed: u64, index: usize, layer: &Layer) -> Vec<f32> {
    let sigma = layer.sigma();
    let signs = sign_bytes(seed, index, layer.weights());
    (0..layer.weights()).map(|i| if signs[i / 8] >> (i % 8) & 1 == 1 { sigma } else { -sigma }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Architecture;

    #[test]
    fn signs_are_balanced_and_differ_between_layers() {
        let arch = Architecture { image_size: 32, channels: 1, ngf: 8, latent: 128, classes: 10, label_scale: 3.0 };
        let layers = arch.layers();
        let weights = frozen_weights(0, 1, &layers[1]);
        assert!(weights.iter().all(|w| w.abs() == layers[1].sigma()));
        let positive = weights.iter().filter(|w| **w > 0.0).count() as f64 / weights.len() as f64;
        assert!((positive - 0.5).abs() < 0.02, "{positive}");
        assert_ne!(sign_bytes(0, 1, 256), sign_bytes(0, 2, 256));
    }
}
