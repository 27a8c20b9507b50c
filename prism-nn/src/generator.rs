//! The masked generator, differentiable in its scores.
//!
//! ```text
//! z [B, latent + classes] -> convT 4x4 -> block ... block -> BN, ReLU, conv 3x3 -> tanh -> [B, channels, S, S] in [-1, 1]
//! block(x) = conv2(ReLU(BN(conv1(up(ReLU(BN(x))))))) + up(skip(x))            up = nearest x2
//! ```
//!
//! No convolution has a bias, and no batch norm has parameters. Weights are `±sigma` of the seed, kept or dropped by a mask;
//! they are passed in as tensors, so that one forward pass serves training (masks drawn from scores) and a finished mask.

mod inputs;
mod styles;

use candle_core::{Device, Tensor, Var};
use prism_core::arch::Layer;
use prism_core::sampler::FoldedNorm;
use prism_core::{Architecture, Mask, frozen, score};

use crate::error::{Error, Result};
use crate::ops;
use crate::step_mask::StepMask;

pub use inputs::{latents, styled_latents, with_labels};
pub use styles::Styles;

/// Weights of layer `first`, then of each block (`conv1`, `conv2`, `skip`), then of `last`.
const WEIGHTS_PER_BLOCK: usize = 3;

/// A generator whose weights are frozen; only the choice of weights is learned.
#[derive(Clone, Debug)]
pub struct Generator {
    arch: Architecture,
    layers: Vec<Layer>,
    frozen: Vec<Tensor>,
    seed: u64,
    device: Device,
}

/// Per-channel statistics of one batch norm's input.
#[derive(Clone, Debug, PartialEq)]
pub struct NormStatistics {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Biased variance of each channel.
    pub variance: Vec<f32>,
}

impl NormStatistics {
    /// The norm as one factor and one summand a channel: `scale = 1 / sqrt(variance + 1e-5)`, `shift = -mean * scale`.
    pub fn fold(&self) -> FoldedNorm {
        let scales = self.variance.iter().map(|&v| 1.0 / (f64::from(v) + ops::composed::NORM_EPSILON).sqrt());
        let scales: Vec<f64> = scales.collect();
        let shift = scales.iter().zip(&self.mean).map(|(scale, &mean)| (-f64::from(mean) * scale) as f32).collect();
        FoldedNorm { scale: scales.into_iter().map(|scale| scale as f32).collect(), shift }
    }
}

impl Generator {
    /// The generator of `arch` whose frozen weights come from `seed`.
    ///
    /// # Errors
    /// If a number of `arch` is outside its limits, or the device has no room.
    pub fn new(arch: &Architecture, seed: u64, device: &Device) -> Result<Self> {
        arch.validate()?;
        let layers = arch.layers();
        let frozen = layers
            .iter()
            .enumerate()
            .map(|(index, layer)| layer_tensor(frozen::frozen_weights(seed, index, layer), layer, device))
            .collect::<Result<Vec<_>>>()?;
        Ok(Generator { arch: arch.clone(), layers, frozen, seed, device: device.clone() })
    }

    /// The architecture.
    pub fn arch(&self) -> &Architecture {
        &self.arch
    }

    /// The root seed of the frozen weights.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The frozen weights, `±sigma` in [`Layer::shape`], in the order of [`Architecture::layers`].
    pub fn frozen(&self) -> &[Tensor] {
        &self.frozen
    }

    /// Standard normal scores of the seed, one variable a layer, in the order of [`Architecture::layers`].
    ///
    /// # Errors
    /// If the device has no room.
    pub fn initial_scores(&self) -> Result<Vec<Var>> {
        let scores = |(index, layer)| score::initial_scores(self.seed, index, layer, 1.0);
        self.scores_from(self.layers.iter().enumerate().map(scores))
    }

    /// Variables that hold the given scores, one vector a layer, in the order of [`Architecture::layers`].
    ///
    /// # Errors
    /// If a vector's length is not its layer's number of weights, or the device has no room.
    pub fn scores_from(&self, scores: impl IntoIterator<Item = Vec<f32>>) -> Result<Vec<Var>> {
        let vars = self.layers.iter().zip(scores).map(|(layer, values)| {
            let tensor = layer_tensor(values, layer, &self.device)?;
            Ok(Var::from_tensor(&tensor)?)
        });
        let vars = vars.collect::<Result<Vec<_>>>()?;
        self.check_count("score vectors", vars.len())?;
        Ok(vars)
    }

    /// `frozen * M` for each layer, with M chosen by `rule`.
    ///
    /// The gradient passes straight through M to the scores ([`ops::masked_weight`]).
    ///
    /// # Errors
    /// If `scores` do not fit the architecture, or the computation fails.
    pub fn masked_weights(&self, scores: &[Var], rule: impl Into<StepMask>) -> Result<Vec<Tensor>> {
        let rule = rule.into();
        self.check_count("score tensors", scores.len())?;
        let weights = scores.iter().zip(&self.frozen).enumerate();
        weights.map(|(i, (s, w))| Ok(ops::masked_weight(s, w, rule.layer(i as u64))?)).collect()
    }

    /// `frozen * mask` for each layer.
    ///
    /// # Errors
    /// If `mask` is of another architecture, or the computation fails.
    pub fn fixed_weights(&self, mask: &Mask) -> Result<Vec<Tensor>> {
        if !mask.fits(&self.arch) {
            return Err(Error::usage(format!(
                "a mask of {} bits does not fit a generator of {} weights; use the architecture that the mask was made for",
                mask.len(),
                self.arch.weights()
            )));
        }
        let layers = self.layers.iter().zip(mask.layers()).zip(&self.frozen);
        let weights = layers.map(|((layer, bits), weight)| {
            let kept = bits.iter().map(|bit| f32::from(u8::from(*bit))).collect();
            Ok((layer_tensor(kept, layer, &self.device)? * weight)?)
        });
        weights.collect()
    }

    /// Images of the inputs `z`, with batch norms that use the batch's own statistics.
    ///
    /// # Shapes
    /// * `z`: `[B, latent + classes]` (see [`latents`])
    /// * `weights`: one tensor a layer, in [`Layer::shape`]
    /// * result: `[B, channels, S, S]`, in [-1, 1]
    ///
    /// # Errors
    /// If a shape does not fit, or the computation fails.
    pub fn forward(&self, z: &Tensor, weights: &[Tensor]) -> Result<Tensor> {
        self.forward_leaking(z, weights, 0.0)
    }

    /// The images of [`Generator::forward`], whose tanh has a slope greater by `leak` on the way back ([`ops::tanh`]).
    ///
    /// # Errors
    /// As for [`Generator::forward`].
    pub fn forward_leaking(&self, z: &Tensor, weights: &[Tensor], leak: f32) -> Result<Tensor> {
        let u = self.before_tanh(z, weights, |_, x| Ok(ops::batch_norm_relu(x)?))?;
        Ok(ops::tanh(&u, leak)?)
    }

    /// Images of the inputs `z` by the finished generator: its batch norms are folded to `scale * x + shift`, one entry a
    /// norm.
    ///
    /// One image then does not depend on the others of its batch. Shapes as in [`Generator::forward`].
    ///
    /// # Errors
    /// If a shape or the number of norms does not fit, or the computation fails.
    pub fn forward_folded(&self, z: &Tensor, weights: &[Tensor], norms: &[FoldedNorm]) -> Result<Tensor> {
        let expected = self.arch.norms().len();
        if norms.len() != expected {
            return Err(Error::usage(format!(
                "{} folded norms were given for {expected} batch norms; calibrate this very architecture",
                norms.len()
            )));
        }
        Ok(self.before_tanh(z, weights, |index, x| apply_folded(x, &norms[index]))?.tanh()?)
    }

    /// Mean and biased variance of each batch norm's input, averaged over batches of inputs, from noise alone.
    ///
    /// Each batch runs as in [`Generator::forward`]. Sums are kept in `f64` and in a fixed order, so the result does not
    /// depend on the number of threads. Entries are in the order of [`Architecture::norms`].
    ///
    /// # Errors
    /// If there is no batch, a shape does not fit, or the computation fails.
    pub fn norm_statistics(&self, batches: &[Tensor], weights: &[Tensor]) -> Result<Vec<NormStatistics>> {
        if batches.is_empty() {
            return Err(Error::usage("batch norms cannot be calibrated from 0 batches; give at least one"));
        }
        let norms = self.arch.norms();
        let mut sums: Vec<_> = norms.iter().map(|norm| vec![(0f64, 0f64); norm.channels]).collect();
        for z in batches {
            self.before_tanh(z, weights, |index, x| {
                add_statistics(&mut sums[index], x)?;
                Ok(ops::batch_norm_relu(x)?)
            })?;
        }
        let count = batches.len() as f64;
        let average = |sums: Vec<(f64, f64)>| NormStatistics {
            mean: sums.iter().map(|(mean, _)| (mean / count) as f32).collect(),
            variance: sums.iter().map(|(_, variance)| (variance / count) as f32).collect(),
        };
        Ok(sums.into_iter().map(average).collect())
    }

    /// The forward pass up to the tanh, with `norm_relu(i, x)` in place of the i-th batch norm and the ReLU after it.
    fn before_tanh(
        &self,
        z: &Tensor,
        weights: &[Tensor],
        mut norm_relu: impl FnMut(usize, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        self.check_count("weight tensors", weights.len())?;
        let (blocks, last) = (&weights[1..weights.len() - 1], &weights[weights.len() - 1]);
        let mut x = ops::first_layer(z, &weights[0])?;
        let mut norm = 0;
        for block in blocks.chunks_exact(WEIGHTS_PER_BLOCK) {
            let h = ops::upsample2x(&norm_relu(norm, &x)?)?;
            let h = norm_relu(norm + 1, &ops::conv2d(&h, &block[0])?)?;
            let skip = ops::upsample2x(&ops::conv2d(&x, &block[2])?)?;
            x = (ops::conv2d(&h, &block[1])? + skip)?;
            norm += 2;
        }
        Ok(ops::conv2d(&norm_relu(norm, &x)?, last)?)
    }

    fn check_count(&self, what: &str, count: usize) -> Result<()> {
        let expected = self.layers.len();
        if count == expected {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{count} {what} were given for {expected} layers; use the architecture they were made for"
        )))
    }
}

fn layer_tensor(values: Vec<f32>, layer: &Layer, device: &Device) -> Result<Tensor> {
    if values.len() != layer.weights() {
        return Err(Error::usage(format!(
            "{} values were given for layer {} of {} weights; use the architecture they were made for",
            values.len(),
            layer.name,
            layer.weights()
        )));
    }
    Ok(Tensor::from_vec(values, &layer.shape(), device)?)
}

fn apply_folded(x: &Tensor, norm: &FoldedNorm) -> Result<Tensor> {
    let per_channel = |values: &[f32]| Tensor::from_slice(values, (1, values.len(), 1, 1), x.device());
    Ok(x.broadcast_mul(&per_channel(&norm.scale)?)?.broadcast_add(&per_channel(&norm.shift)?)?.relu()?)
}

/// Adds the mean and the biased variance of each channel of `x [B, C, H, W]` to `sums [C]`.
fn add_statistics(sums: &mut [(f64, f64)], x: &Tensor) -> Result<()> {
    let (batch, channels, height, width) = x.dims4()?;
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    let (area, count) = (height * width, (batch * height * width) as f64);
    for (channel, sum) in sums.iter_mut().enumerate() {
        let maps = || (0..batch).flat_map(|b| &values[(b * channels + channel) * area..][..area]);
        let mean = maps().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = maps().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        sum.0 += mean;
        sum.1 += variance;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
