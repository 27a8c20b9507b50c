//! One training step: the loss of a batch of generated images, and its gradient with respect to every layer's scores.
//!
//! ```text
//! M ~ Bernoulli(sigmoid(s)), or s > 0;   loss = sum over encoder layers of moment_loss(encoder(generator(z; w * M)));   dloss/ds
//! ```
//!
//! On a GPU the step is a composition of [`crate::ops`], differentiated by candle; it is queued, and nothing in it waits for
//! the GPU. On the CPU it is written out: maps lie
//! channels last ([`crate::cpu::map`]), convolutions take few products ([`crate::cpu::scheme`]), everything else happens
//! while they read and write, and memory is kept from step to step. Both compute the same numbers up to rounding, and draw
//! the same masks to the bit.

mod encoder;
mod fused;
mod images;
mod rule;
mod sketch;

use candle_core::{DType, Tensor, Var};
use prism_core::Architecture;
use prism_core::simd::Isa;

use crate::encoder::layout::INPUTS;
use crate::encoder::{Encoder, EncoderLayout};
use crate::error::{Error, Result};
use crate::generator::{Generator, pass};
use crate::ops::{self, MomentTargets};
use fused::Fused;

pub use crate::cpu::work::Work;
pub use rule::StepRule;

/// A generator and an encoder, ready to train. Steps may run at the same time on several threads.
pub struct TrainingStep {
    generator: Generator,
    encoder: Encoder,
    fused: Option<Fused>,
}

/// What a step found.
#[derive(Clone, Debug)]
pub struct LossAndGradients {
    /// The loss, a scalar of type f64 on the step's device. On a GPU it may not have been computed yet: reading it waits.
    pub loss: Tensor,
    /// Its gradient with respect to each layer's scores, in the order and shape of the scores.
    pub gradients: Vec<Tensor>,
}

impl LossAndGradients {
    /// The loss as a number; waits for a GPU to compute it.
    ///
    /// # Errors
    /// If the computation failed.
    pub fn read_loss(&self) -> Result<f64> {
        Ok(self.loss.to_scalar()?)
    }
}

impl TrainingStep {
    /// Makes the frozen parts ready; both must be on one device.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(generator: Generator, encoder: Encoder) -> Result<Self> {
        let fused = if generator.device().is_cpu() { Some(Fused::new(&encoder)?) } else { None };
        Ok(TrainingStep { generator, encoder, fused })
    }

    /// The generator.
    pub fn generator(&self) -> &Generator {
        &self.generator
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The arithmetic of a step of `batch` images.
    pub fn work(&self, batch: usize) -> Work {
        work(self.generator.arch(), self.encoder.layout(), batch)
    }

    /// Chooses masks, of layer i by `rule.mask.layer(i)`, generates images of the inputs `z`, and compares their features'
    /// moments with `targets`.
    ///
    /// # Shapes
    /// * `scores`: one variable a layer, in [`prism_core::arch::Layer::shape`]
    /// * `z`: `[G * n, latent + classes]`, n images of group 0, then n of group 1, and so on
    /// * `targets`: one entry an encoder convolution, each of G groups
    ///
    /// # Errors
    /// If a shape does not fit, or the computation fails.
    pub fn run(
        &self,
        scores: &[Var],
        z: &Tensor,
        rule: impl Into<StepRule>,
        targets: &[MomentTargets],
    ) -> Result<LossAndGradients> {
        self.check(scores, z, targets)?;
        match &self.fused {
            Some(fused) => fused.run(&self.generator, scores, z, rule.into(), targets),
            None => self.composed(scores, z, rule, targets),
        }
    }

    /// The step as a composition of [`crate::ops`], on any device: what runs on a GPU, and the fused step's reference.
    ///
    /// # Errors
    /// As for [`TrainingStep::run`].
    pub fn composed(
        &self,
        scores: &[Var],
        z: &Tensor,
        rule: impl Into<StepRule>,
        targets: &[MomentTargets],
    ) -> Result<LossAndGradients> {
        self.composed_with(scores, z, rule, targets, |features| {
            let losses = features.iter().zip(targets).map(|(features, targets)| ops::moment_loss(features, targets));
            let losses = losses.collect::<candle_core::Result<Vec<_>>>()?;
            let loss = Tensor::stack(&losses, 0)?.sum_all()?;
            Ok([loss.clone(), loss])
        })
    }

    /// The composed step with another loss: `objective` takes the features, one tensor an encoder convolution, and gives the
    /// scalar to differentiate and the scalar to report.
    ///
    /// # Errors
    /// As for [`TrainingStep::run`], and those of `objective`.
    pub fn composed_with(
        &self,
        scores: &[Var],
        z: &Tensor,
        rule: impl Into<StepRule>,
        targets: &[MomentTargets],
        objective: impl FnOnce(&[Tensor]) -> candle_core::Result<[Tensor; 2]>,
    ) -> Result<LossAndGradients> {
        self.check(scores, z, targets)?;
        let StepRule { mask, tanh_grad_bias } = rule.into();
        let weights = self.generator.masked_weights(scores, mask)?;
        let features = self.encoder.composed(&self.generator.forward_with_grad_bias(z, &weights, tanh_grad_bias)?)?;
        let [minimised, loss] = objective(&features)?;
        let store = minimised.backward()?;
        let gradient = |score: &Var| match store.get(score) {
            Some(gradient) => Ok(gradient.detach()),
            None => score.zeros_like(),
        };
        let gradients = scores.iter().map(gradient).collect::<candle_core::Result<_>>()?;
        Ok(LossAndGradients { loss: loss.detach().to_dtype(DType::F64)?, gradients })
    }

    fn check(&self, scores: &[Var], z: &Tensor, targets: &[MomentTargets]) -> Result<()> {
        let arch = self.generator.arch();
        let layers = arch.layers();
        let fits = scores.len() == layers.len() && scores.iter().zip(&layers).all(|(s, l)| s.dims() == l.shape());
        if !fits {
            return Err(Error::usage("the scores are of another architecture; use those of this generator"));
        }
        let (batch, inputs) = z.dims2()?;
        let groups = targets.first().map_or(0, |t| t.scale.elem_count());
        if inputs != arch.inputs() || groups == 0 || batch < 2 * groups || batch % groups != 0 {
            return Err(Error::usage(format!(
                "a batch of {batch} inputs of length {inputs} does not fit; give the same number of images, at least 2, for \
                 each of {groups} groups, and {} numbers for each image",
                arch.inputs()
            )));
        }
        let shapes = self.encoder.feature_shapes(arch.image_size)?;
        let fits = targets.len() == shapes.len()
            && targets.iter().zip(&shapes).all(|(t, &[channels, height, width])| {
                let side = t.grid.map(|grid| grid.min(height));
                let divides = side.is_none_or(|s| s > 0 && height.is_multiple_of(s) && width.is_multiple_of(s));
                let features = [groups, channels * side.map_or(height * width, |side| side * side)];
                let of_weights = t.weights.iter().flatten();
                divides
                    && [&t.mean, &t.second].into_iter().chain(of_weights).all(|moment| moment.dims() == features)
                    && t.scale.elem_count() == groups
            });
        match fits {
            true => Ok(()),
            false => Err(Error::usage(format!(
                "the moments to match are not those of encoder {} at {} pixels a side; measure them with this encoder",
                self.encoder, arch.image_size
            ))),
        }
    }
}

/// The arithmetic of a step of `batch` images.
fn work(arch: &Architecture, layout: &EncoderLayout, batch: usize) -> Work {
    let isa = Isa::detect();
    let generator = pass::Net::new(isa, arch, batch);
    let output = generator.output();
    let images = output.with((output.height, output.width), INPUTS, isa.lanes());
    generator.work() + encoder::work(isa, layout.layers(), images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_of_a_step_is_that_of_its_convolutions() {
        let arch = Architecture { image_size: 8, channels: 3, ngf: 16, latent: 10, classes: 0, label_scale: 1.0 };
        let work = work(&arch, &"16,M,32".parse().unwrap(), 2);
        // Per image: first layer; conv1 at 8x8, conv2, skip at 4x4, last; then the encoder at 8x8 and 4x4.
        let generator = 2 * 10 * 32 * 16 + 3 * (64 * 9 * (32 * 16 + 16 * 16 + 16 * 3) + 16 * 32 * 16);
        let encoder = 2 * (64 * 9 * 3 * 16 + 16 * 9 * 16 * 32);
        assert_eq!(work.direct, 2 * 2 * (generator + encoder));
        assert!(work.products > 0);
    }
}
