//! The masked generator, differentiable in its scores.
//!
//! ```text
//! z [B, latent + classes] -> convT 4x4 -> block ... block -> BN, ReLU, conv 3x3 -> tanh -> [B, channels, S, S] in [-1, 1]
//! block(x) = conv2(ReLU(BN(conv1(up(ReLU(BN(x))))))) + up(skip(x))            up = nearest x2
//! ```
//!
//! No convolution has a bias, and no batch norm has parameters. Weights are `±sigma` of the seed, kept or dropped by a mask;
//! they are passed in as tensors, so that one forward pass serves training (masks drawn from scores) and a finished mask.

mod first;
mod fixed;
mod inputs;
pub(crate) mod pass;
mod subclasses;

use candle_core::{Device, Tensor, Var};
use prism_core::arch::Layer;
use prism_core::{Architecture, Mask, frozen, score};

use crate::error::{Error, Result};
use crate::ops;
use crate::step_mask::StepMask;

pub use fixed::{FixedGenerator, NormStatistics};
pub use inputs::{latents, subclass_latents, with_labels};
pub use subclasses::Subclasses;

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

    /// The generator whose layers have `weights`, made ready for forward passes on the CPU.
    ///
    /// # Errors
    /// If `weights` do not fit the architecture, or are not in main memory.
    pub fn with_weights(&self, weights: &[Tensor]) -> Result<FixedGenerator> {
        self.check_count("weight tensors", weights.len())?;
        FixedGenerator::new(&self.arch, weights)
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
        self.forward_with_grad_bias(z, weights, 0.0)
    }

    /// The images of [`Generator::forward`], with `grad_bias` added to the slope of their tanh on the way back ([`ops::tanh`]).
    ///
    /// # Errors
    /// As for [`Generator::forward`].
    pub fn forward_with_grad_bias(&self, z: &Tensor, weights: &[Tensor], grad_bias: f32) -> Result<Tensor> {
        let u = self.before_tanh(z, weights)?;
        Ok(ops::tanh(&u, grad_bias)?)
    }

    /// The forward pass up to the tanh.
    fn before_tanh(&self, z: &Tensor, weights: &[Tensor]) -> Result<Tensor> {
        self.check_count("weight tensors", weights.len())?;
        let (blocks, last) = (&weights[1..weights.len() - 1], &weights[weights.len() - 1]);
        let mut x = ops::first_layer(z, &weights[0])?;
        for block in blocks.chunks_exact(WEIGHTS_PER_BLOCK) {
            let h = ops::upsample2x(&ops::batch_norm_relu(&x)?)?;
            let h = ops::batch_norm_relu(&ops::conv2d(&h, &block[0])?)?;
            let skip = ops::upsample2x(&ops::conv2d(&x, &block[2])?)?;
            x = (ops::conv2d(&h, &block[1])? + skip)?;
        }
        Ok(ops::conv2d(&ops::batch_norm_relu(&x)?, last)?)
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

#[cfg(test)]
mod tests;
