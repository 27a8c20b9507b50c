//! From scores to a finished generator: fix the mask, measure batch norms on noise, fold them.
//!
//! ```text
//! mask:  1 where the score is positive (threshold), or drawn from sigmoid(score) (sampled)
//! norm:  mean and variance of each batch norm's input over generated batches   ->   y = scale * x + shift
//!        scale = 1 / sqrt(variance + 1e-5),  shift = -mean * scale
//! ```
//!
//! Each component of a mixture by itself. No data is needed: the statistics that count are those of the generator's own noise, with classes in equal shares.

use candle_core::{Device, Tensor};
use prism_core::artifact::{Artifact, Component, MaskRule};
use prism_core::draw;
use prism_core::mask::Mask;
use prism_core::mixture::component_seed;
use prism_core::sampler::FoldedNorm;
use prism_core::score;
use prism_core::stream::{Purpose, StreamId};
use prism_core::{Architecture, Error};
use prism_nn::Result;
use prism_nn::generator::{FixedGenerator, Generator, NormStatistics, latents};

use crate::Checkpoint;

/// Images that are generated at once to measure batch norms.
const BATCH: usize = 128;

/// How to freeze a generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How the mask follows from the scores.
    pub mask_rule: MaskRule,
    /// Generated images over which batch norms are measured; rounded up to whole batches of 128.
    pub calibration_images: usize,
}

impl Options {
    /// Calibration images of a final export: enough that the statistics' own noise is invisible.
    pub const CALIBRATION_IMAGES: usize = 1024;

    /// The options that the run of `checkpoint` asked for.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Options { mask_rule: checkpoint.description.model.mask_rule, calibration_images: Self::CALIBRATION_IMAGES }
    }
}

/// A frozen generator, in the form that is shipped and in the form that was measured.
pub struct Frozen {
    /// The artifact, not yet written.
    pub artifact: Artifact,
    /// Each component as it was measured, its mask applied.
    measured: Vec<FixedGenerator>,
}

/// Fixes mask and batch norms of the generator in `checkpoint`. Always computes on the CPU, so that the same scores give
/// the same bytes wherever they were trained.
///
/// # Errors
/// If the checkpoint's description is outside the artifact's limits, or the computation fails.
pub fn freeze(checkpoint: &Checkpoint, options: Options) -> Result<Frozen> {
    if checkpoint.description.dense {
        return Err(Error::usage(
            "this run trained dense weights (--training-mask none), and an artifact holds a mask; judge the run with \
             `prism-train eval`, or train one with masks",
        )
        .into());
    }
    let mut description = checkpoint.description.model.clone();
    description.mask_rule = options.mask_rule;
    let (mut components, mut measured) = (Vec::new(), Vec::new());
    for (component, scores) in checkpoint.components().enumerate() {
        let seed = component_seed(description.seed, component);
        let mask = fix_mask(scores, options.mask_rule, seed);
        let generator = Generator::new(&description.architecture, seed, &Device::Cpu)?;
        let fixed = generator.with_weights(&generator.fixed_weights(&mask)?)?;
        let norms = folded_norms(&generator, &fixed, options.calibration_images)?;
        components.push(Component { mask, norms });
        measured.push(fixed);
    }
    Ok(Frozen { artifact: Artifact::new(description, components)?, measured })
}

impl Frozen {
    /// The images of `inputs [n, arch.inputs()]` by the generator that was measured for component `component`, as
    /// `[n, channels, size, size]`: an independent computation, against which the sampler of a written artifact is compared.
    ///
    /// # Errors
    /// If there is no such component, the shape does not fit or the computation fails.
    pub fn images(&self, inputs: &[f32], component: usize) -> Result<Vec<f32>> {
        let Some((measured, own)) = self.measured.get(component).zip(self.artifact.components().get(component)) else {
            let count = self.measured.len();
            return Err(Error::usage(format!("component {component} does not exist; this model has {count}")).into());
        };
        images(measured, inputs, &own.norms)
    }
}

/// The batch norms of a generator with fixed weights, measured on its own images and folded.
pub(crate) fn folded_norms(generator: &Generator, fixed: &FixedGenerator, images: usize) -> Result<Vec<FoldedNorm>> {
    let batches = calibration_batches(generator.arch(), generator.seed(), images)?;
    Ok(fixed.norm_statistics(&batches)?.iter().map(NormStatistics::fold).collect())
}

/// The images of `inputs [n, arch.inputs()]` by a generator with folded norms.
pub(crate) fn images(generator: &FixedGenerator, inputs: &[f32], norms: &[FoldedNorm]) -> Result<Vec<f32>> {
    let width = generator.arch().inputs();
    if !inputs.len().is_multiple_of(width) {
        return Err(Error::usage(format!("{} numbers are no rows of {width}", inputs.len())).into());
    }
    let z = Tensor::from_slice(inputs, (inputs.len() / width, width), &Device::Cpu)?;
    Ok(generator.images(&z, norms)?.flatten_all()?.to_vec1()?)
}

fn fix_mask(scores: &[Vec<f32>], rule: MaskRule, seed: u64) -> Mask {
    let layer = |(i, scores): (usize, &Vec<f32>)| match rule {
        MaskRule::Threshold => score::threshold_bits(scores),
        MaskRule::Sampled => {
            let mut stream = StreamId::new(seed, Purpose::FinalMask).layer(i as u64).open();
            draw::mask(scores, |bytes| stream.fill(bytes))
        }
    };
    Mask::new(scores.iter().enumerate().map(layer).collect())
}

fn calibration_batches(arch: &Architecture, seed: u64, images: usize) -> Result<Vec<Tensor>> {
    let labels: Vec<usize> = (0..BATCH).map(|i| i.checked_rem(arch.classes).unwrap_or(0)).collect();
    let id = |batch: usize| StreamId::new(seed, Purpose::CalibrationLatent).index(batch as u64);
    (0..images.div_ceil(BATCH).max(1)).map(|batch| latents(arch, id(batch), &labels, &Device::Cpu)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tests::{mixture, sample};

    #[test]
    fn the_rule_decides_the_mask() {
        let scores = vec![vec![5.0, -5.0, 0.1, -0.1]];
        let mask = fix_mask(&scores, MaskRule::Threshold, 0);
        assert_eq!(mask.layers()[0], prism_core::mask::pack([true, false, true, false]));
        let half = vec![vec![0.0; 10_000]];
        let ones = fix_mask(&half, MaskRule::Sampled, 0).ones();
        assert!((4_800..5_200).contains(&ones), "{ones}");
        assert_eq!(fix_mask(&half, MaskRule::Threshold, 0).ones(), 0);
    }

    #[test]
    fn freezing_twice_gives_the_same_bytes() {
        let options = Options { mask_rule: MaskRule::Sampled, calibration_images: 1 };
        let bytes = || freeze(&sample(), options).unwrap().artifact.to_bytes().unwrap();
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn a_component_is_what_a_model_of_its_own_seed_would_be() {
        let options = Options { mask_rule: MaskRule::Sampled, calibration_images: 1 };
        let frozen = freeze(&mixture(), options).unwrap();
        let mut alone = mixture();
        alone.description.model.components = 1;
        alone.description.model.seed += 1;
        alone.scores.drain(..alone.scores.len() / 2);
        let alone = freeze(&alone, options).unwrap();
        assert_eq!(frozen.artifact.components()[1], alone.artifact.components()[0]);
        let input = vec![0.5; alone.artifact.meta().description.architecture.inputs()];
        assert_eq!(frozen.images(&input, 1).unwrap(), alone.images(&input, 0).unwrap());
        assert_ne!(frozen.images(&input, 0).unwrap(), alone.images(&input, 0).unwrap());
        assert!(frozen.images(&input, 2).is_err());
    }
}
