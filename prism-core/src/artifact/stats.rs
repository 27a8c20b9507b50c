//! How large an artifact's mask is, against how small it could be.

use serde::Serialize;

use super::meta::{Encoding, LayerMeta};
use crate::mask::entropy;
use crate::mixture::prefix;
use crate::prelude::*;

/// Sizes and densities of a whole mask.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Number of weights.
    pub weights: usize,
    /// Number of kept weights.
    pub ones: usize,
    /// Share of the weights that is kept.
    pub density: f64,
    /// Bytes of all mask tensors.
    pub mask_bytes: usize,
    /// Bits that the mask tensors take per weight.
    pub bits_per_weight: f64,
    /// Bits per weight below which no code of independent bits can go, given each layer's density.
    pub entropy_bits_per_weight: f64,
    /// The layers, in the order of the architecture; of a mixture those of every component in turn.
    pub layers: Vec<LayerStats>,
}

/// Sizes and densities of one layer's mask.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerStats {
    /// The layer's name; of a mixture behind the component's number, as in `0.first`.
    pub name: String,
    /// Number of weights.
    pub weights: usize,
    /// Share of the weights that is kept.
    pub density: f64,
    /// How the mask is written.
    pub encoding: Encoding,
    /// Bytes of the mask tensor.
    pub bytes: usize,
    /// Bits that the mask tensor takes per weight.
    pub bits_per_weight: f64,
    /// Binary entropy of the density.
    pub entropy_bits_per_weight: f64,
}

impl Stats {
    pub(super) fn new(layers: &[LayerMeta], components: usize) -> Self {
        let each = layers.len() / components;
        let named = |(i, layer)| LayerStats::new(&prefix(i / each, components), layer);
        let stats: Vec<_> = layers.iter().enumerate().map(named).collect();
        let weights: usize = stats.iter().map(|l| l.weights).sum();
        let ones: usize = layers.iter().map(|l| l.ones).sum();
        let mask_bytes: usize = layers.iter().map(|l| l.bytes).sum();
        let entropy: f64 = stats.iter().map(|l| l.entropy_bits_per_weight * l.weights as f64).sum();
        Stats {
            weights,
            ones,
            density: ones as f64 / weights as f64,
            mask_bytes,
            bits_per_weight: mask_bytes as f64 * 8.0 / weights as f64,
            entropy_bits_per_weight: entropy / weights as f64,
            layers: stats,
        }
    }
}

impl LayerStats {
    fn new(prefix: &str, layer: &LayerMeta) -> Self {
        let weights: usize = layer.shape.iter().product();
        let density = layer.ones as f64 / weights as f64;
        LayerStats {
            name: format!("{prefix}{}", layer.name),
            weights,
            density,
            encoding: layer.encoding,
            bytes: layer.bytes,
            bits_per_weight: layer.bytes as f64 * 8.0 / weights as f64,
            entropy_bits_per_weight: entropy(density),
        }
    }
}
