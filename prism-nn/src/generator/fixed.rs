//! A generator whose weights no longer change: its batch norms are measured on its own noise and folded, then it draws images.
//!
//! It computes as the training step does ([`super::pass`]), on the CPU, so that the same weights give the same bytes wherever they
//! were trained.

use candle_core::{Device, Tensor};
use prism_core::Architecture;
use prism_core::sampler::FoldedNorm;
use prism_core::simd::Isa;
use prism_core::simd::math::{self, BLOCK};

use super::pass::{Net, Weights};
use crate::cpu::map::Map;
use crate::cpu::map_norm::Affine;
use crate::error::{Error, Result};
use crate::ops::composed::NORM_EPSILON;
use crate::ops::storage::with_floats;

/// Images that are drawn at once.
const BATCH: usize = 64;

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
        let scales = self.variance.iter().map(|&v| 1.0 / (f64::from(v) + NORM_EPSILON).sqrt());
        let scales: Vec<f64> = scales.collect();
        let shift = scales.iter().zip(&self.mean).map(|(scale, &mean)| (-f64::from(mean) * scale) as f32).collect();
        FoldedNorm { scale: scales.into_iter().map(|scale| scale as f32).collect(), shift }
    }
}

/// A generator with fixed weights ([`Generator::with_weights`](super::Generator::with_weights)).
#[derive(Clone, Debug)]
pub struct FixedGenerator {
    arch: Architecture,
    weights: Weights,
}

impl FixedGenerator {
    /// Packs one tensor a layer, of the shapes of `arch`.
    pub(super) fn new(arch: &Architecture, tensors: &[Tensor]) -> Result<Self> {
        let mut weights = Weights::default();
        let fits = tensors.iter().zip(arch.layers()).all(|(tensor, layer)| tensor.dims() == layer.shape());
        if !fits {
            return Err(Error::usage("the weights are of another architecture; use those of this generator"));
        }
        Net::new(Isa::detect(), arch, 1).load_weights(&mut weights, |index, out| {
            let tensor = tensors[index].contiguous()?;
            with_floats([&tensor], |[values]| out.copy_from_slice(values))
        })?;
        Ok(FixedGenerator { arch: arch.clone(), weights })
    }

    /// The architecture.
    pub fn arch(&self) -> &Architecture {
        &self.arch
    }

    /// Mean and biased variance of each batch norm's input, averaged over batches of inputs `[B, latent + classes]`, from noise
    /// alone. Entries are in the order of [`Architecture::norms`].
    ///
    /// Each batch runs as in training, with its own statistics. Sums are kept in `f64` and in a fixed order, so the result does not
    /// depend on the number of threads.
    ///
    /// # Errors
    /// If there is no batch, a shape does not fit, or the computation fails.
    pub fn norm_statistics(&self, batches: &[Tensor]) -> Result<Vec<NormStatistics>> {
        if batches.is_empty() {
            return Err(Error::usage("batch norms cannot be calibrated from 0 batches; give at least one"));
        }
        let mut totals: Vec<_> = self.arch.norms().iter().map(|norm| vec![[0f64; 2]; norm.channels]).collect();
        for z in batches {
            let z = self.checked(z)?;
            let net = Net::new(Isa::detect(), &self.arch, z.dim(0)?);
            with_floats([&z], |[z]| {
                net.forward_with(&self.weights, &mut net.memory(), z, |index, sums, map| {
                    for (channel, total) in totals[index].iter_mut().enumerate() {
                        let moments = sums.moments(map, channel);
                        total.iter_mut().zip(moments).for_each(|(total, moment)| *total += moment);
                    }
                    Affine::of(sums, map, NORM_EPSILON)
                });
            })?;
        }
        let count = batches.len() as f64;
        let average = |total: Vec<[f64; 2]>| NormStatistics {
            mean: total.iter().map(|[mean, _]| (mean / count) as f32).collect(),
            variance: total.iter().map(|[_, variance]| (variance / count) as f32).collect(),
        };
        Ok(totals.into_iter().map(average).collect())
    }

    /// The images `[n, channels, S, S]` of the inputs `z [n, latent + classes]`, with batch norms folded to `scale * x + shift`, one
    /// entry a norm. One image then does not depend on the others.
    ///
    /// # Errors
    /// If a shape or the number of norms does not fit, or the computation fails.
    pub fn images(&self, z: &Tensor, norms: &[FoldedNorm]) -> Result<Tensor> {
        let (expected, z) = (self.arch.norms(), self.checked(z)?);
        let channels = |norm: &FoldedNorm| [norm.scale.len(), norm.shift.len()];
        if norms.len() != expected.len() || norms.iter().zip(&expected).any(|(n, e)| channels(n) != [e.channels; 2]) {
            return Err(Error::usage(format!(
                "the folded norms are {} and not the {} batch norms of this generator; calibrate this very architecture",
                norms.len(),
                expected.len()
            )));
        }
        let (count, side) = (z.dim(0)?, self.arch.image_size);
        let mut images = vec![0.0; count * self.arch.pixels()];
        let some = self.arch.pixels() * BATCH;
        with_floats([&z], |[z]| {
            for (out, z) in images.chunks_mut(some).zip(z.chunks(self.arch.inputs() * BATCH)) {
                self.draw(z, norms, out);
            }
        })?;
        Ok(Tensor::from_vec(images, (count, self.arch.channels, side, side), &Device::Cpu)?)
    }

    /// Draws some images to `out`.
    fn draw(&self, z: &[f32], norms: &[FoldedNorm], out: &mut [f32]) {
        let net = Net::new(Isa::detect(), &self.arch, z.len() / self.arch.inputs());
        let mut memory = net.memory();
        let folded = |index: usize, map: Map| Affine::padded(&norms[index].scale, &norms[index].shift, map.stride);
        let u = net.forward_with(&self.weights, &mut memory, z, |index, _, map| folded(index, map));
        net.output().to_planar(u, out);
        for values in out.chunks_mut(BLOCK) {
            let mut block = [0.0; BLOCK];
            block[..values.len()].copy_from_slice(values);
            values.copy_from_slice(&math::tanh(block)[..values.len()]);
        }
    }

    fn checked(&self, z: &Tensor) -> Result<Tensor> {
        let (_, inputs) = z.dims2()?;
        if inputs != self.arch.inputs() {
            return Err(Error::usage(format!(
                "inputs of {inputs} numbers do not fit; {} are needed",
                self.arch.inputs()
            )));
        }
        Ok(z.contiguous()?)
    }
}
