//! A generator of dense weights: what masks are compared with. It draws images and is never shipped.

use candle_core::{Device, Tensor};
use prism_core::Error;
use prism_core::sampler::FoldedNorm;
use prism_nn::Result;
use prism_nn::generator::{FixedGenerator, Generator};

use crate::freeze::{folded_norms, images};
use crate::{Checkpoint, Options};

/// A finished generator whose weights are 32-bit numbers.
pub struct Dense {
    generator: FixedGenerator,
    norms: Vec<FoldedNorm>,
}

impl Dense {
    /// The generator of a run that trained dense weights; its batch norms are measured on `options.calibration_images` of its
    /// own images.
    ///
    /// # Errors
    /// If the run trained masks, or the computation fails.
    pub fn of(checkpoint: &Checkpoint, options: Options) -> Result<Self> {
        let model = &checkpoint.description.model;
        if !checkpoint.description.dense {
            return Err(Error::usage("this run trained masks; freeze it to an artifact").into());
        }
        if model.components != 1 {
            return Err(Error::usage(
                "a mixture of dense weights is nothing that this program trains; train one component",
            )
            .into());
        }
        let generator = Generator::new(&model.architecture, model.seed, &Device::Cpu)?;
        let layers = model.architecture.layers();
        let weight = |((layer, scores), frozen): ((&prism_core::arch::Layer, &Vec<f32>), &Tensor)| {
            Tensor::from_slice(scores, &layer.shape(), &Device::Cpu)? * frozen
        };
        let weights = layers.iter().zip(&checkpoint.scores).zip(generator.frozen()).map(weight);
        let weights = weights.collect::<candle_core::Result<Vec<_>>>()?;
        let fixed = generator.with_weights(&weights)?;
        let norms = folded_norms(&generator, &fixed, options.calibration_images)?;
        Ok(Dense { generator: fixed, norms })
    }

    /// The images of `inputs [n, arch.inputs()]`, as `[n, channels, size, size]` in [-1, 1].
    ///
    /// # Errors
    /// If the shape does not fit or the computation fails.
    pub fn images(&self, inputs: &[f32]) -> Result<Vec<f32>> {
        images(&self.generator, inputs, &self.norms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tests::sample;
    use crate::freeze;
    use prism_core::latent;

    #[test]
    fn dense_weights_of_0_and_1_draw_what_the_mask_draws() {
        let masked = sample();
        let mut dense = masked.clone();
        dense.description.dense = true;
        dense.scores.iter_mut().flatten().for_each(|score| *score = f32::from(u8::from(*score > 0.0)));
        let options = Options { calibration_images: 128, ..Options::of(&masked) };
        let arch = &masked.description.model.architecture;
        let input = latent::input(arch, &latent::latent(arch, 0, 0), Some(1)).unwrap();
        let drawn = Dense::of(&dense, options).unwrap().images(&input).unwrap();
        assert_eq!(drawn, freeze(&masked, options).unwrap().images(&input, 0).unwrap());
        assert!(freeze(&dense, options).is_err() && Dense::of(&masked, options).is_err());
    }
}
