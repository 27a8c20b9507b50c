//! The generator's architecture: from six numbers to an explicit, ordered list of layers.
//!
//! ```text
//! latent z (+ label)  ->  convT 4x4  ->  block ... block  ->  BN, ReLU, conv 3x3  ->  tanh  ->  image
//! block(x) = conv2(ReLU(BN(conv1(up(ReLU(BN(x))))))) + up(skip(x))         up = nearest x2
//! ```
//!
//! Widths halve with each block and end at `ngf`; a block doubles the side, so a 32x32 image takes three blocks from
//! 4x4. The order of [`Architecture::layers`] and of [`Architecture::norms`] is part of the artifact format.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::prelude::*;

/// The numbers that determine a generator's shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Side of the square image in pixels, a power of two from 8 to 256.
    pub image_size: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Width of the last block; each earlier block is twice as wide as the one after it.
    pub ngf: usize,
    /// Length of the normal latent vector, without the label.
    pub latent: usize,
    /// Number of classes; 0 for an unconditional generator.
    pub classes: usize,
    /// The value of the one-hot entry that is appended to the latent.
    pub label_scale: f32,
}

/// One masked layer: a convolution without bias whose weights are `±sigma` or absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// `first`, `blocks.I.conv1`, `blocks.I.conv2`, `blocks.I.skip` or `last`.
    pub name: String,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the square kernel: 4 for `first`, 1 for a skip, otherwise 3.
    pub kernel: usize,
}

/// One batch norm without affine parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Norm {
    /// `blocks.I.bn1`, `blocks.I.bn2` or `bn`.
    pub name: String,
    /// Number of channels.
    pub channels: usize,
}

impl Layer {
    fn new(name: impl Into<String>, inputs: usize, outputs: usize, kernel: usize) -> Self {
        Layer { name: name.into(), inputs, outputs, kernel }
    }

    /// Number of weights, and so of mask bits.
    pub fn weights(&self) -> usize {
        self.inputs * self.outputs * self.kernel * self.kernel
    }

    /// Whether this is the transposed convolution that turns the 1x1 latent into a 4x4 map.
    pub fn is_first(&self) -> bool {
        self.name == "first"
    }

    /// The weight tensor's shape, row-major: `[inputs, outputs, 4, 4]` for `first` (a transposed convolution),
    /// `[outputs, inputs, kernel, kernel]` otherwise. Mask and sign bits run in this order.
    pub fn shape(&self) -> [usize; 4] {
        let k = self.kernel;
        if self.is_first() { [self.inputs, self.outputs, k, k] } else { [self.outputs, self.inputs, k, k] }
    }

    /// Magnitude of every frozen weight: the Kaiming constant `sqrt(2 / (inputs * kernel^2))`, computed in `f64` and
    /// rounded once (PRISM, section 3; signed-constant weights after Ramanujan et al. 2020).
    pub fn sigma(&self) -> f32 {
        libm::sqrt(2.0 / (self.inputs * self.kernel * self.kernel) as f64) as f32
    }
}

impl Architecture {
    /// Weights that a generator may have at most, so that a hostile header cannot ask for all memory.
    pub const MAX_WEIGHTS: usize = 1 << 28;

    /// Refuses numbers outside their limits.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the value, the limit and what to choose.
    pub fn validate(&self) -> Result<()> {
        let within = |what: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::usage(format!("{what} is {value}; choose a value from {low} to {high}")))
        };
        if !self.image_size.is_power_of_two() || !(8..=256).contains(&self.image_size) {
            return Err(Error::usage(format!(
                "image size is {}; choose a power of two from 8 to 256, such as 32",
                self.image_size
            )));
        }
        if self.channels != 1 && self.channels != 3 {
            return Err(Error::usage(format!("channels is {}; choose 1 (grey) or 3 (colour)", self.channels)));
        }
        within("ngf", self.ngf, 1, 512)?;
        within("latent size", self.latent, 1, 4096)?;
        within("number of classes", self.classes, 0, 1000)?;
        if !(self.label_scale.is_finite() && self.label_scale > 0.0 && self.label_scale <= 100.0) {
            return Err(Error::usage(format!(
                "label scale is {}; choose a number above 0 and at most 100, such as 3",
                self.label_scale
            )));
        }
        let weights = self.count_weights();
        if weights > Self::MAX_WEIGHTS as u64 {
            return Err(Error::usage(format!(
                "this generator would have {weights} weights; the limit is {}: choose a smaller ngf or image size",
                Self::MAX_WEIGHTS
            )));
        }
        Ok(())
    }

    /// Length of the generator's input: the latent, then the one-hot label.
    pub fn inputs(&self) -> usize {
        self.latent + self.classes
    }

    /// Number of residual blocks, `log2(image_size) - 2`.
    pub fn blocks(&self) -> usize {
        self.image_size.ilog2() as usize - 2
    }

    /// Channel widths: the output of `first`, then of each block; the last is `ngf`.
    pub fn widths(&self) -> Vec<usize> {
        (0..=self.blocks()).rev().map(|halvings| self.ngf << halvings).collect()
    }

    /// Every masked layer, in the order of the format: `first`; for each block `conv1`, `conv2`, `skip`; `last`.
    pub fn layers(&self) -> Vec<Layer> {
        let widths = self.widths();
        let mut layers = vec![Layer::new("first", self.inputs(), widths[0], 4)];
        for (block, pair) in widths.windows(2).enumerate() {
            let (inputs, outputs) = (pair[0], pair[1]);
            layers.push(Layer::new(format!("blocks.{block}.conv1"), inputs, outputs, 3));
            layers.push(Layer::new(format!("blocks.{block}.conv2"), outputs, outputs, 3));
            layers.push(Layer::new(format!("blocks.{block}.skip"), inputs, outputs, 1));
        }
        layers.push(Layer::new("last", self.ngf, self.channels, 3));
        layers
    }

    /// Every batch norm, in the order of the format: for each block `bn1`, `bn2`; then `bn`.
    pub fn norms(&self) -> Vec<Norm> {
        let mut norms = Vec::new();
        for (block, pair) in self.widths().windows(2).enumerate() {
            norms.push(Norm { name: format!("blocks.{block}.bn1"), channels: pair[0] });
            norms.push(Norm { name: format!("blocks.{block}.bn2"), channels: pair[1] });
        }
        norms.push(Norm { name: "bn".into(), channels: self.ngf });
        norms
    }

    /// Number of weights in all layers.
    pub fn weights(&self) -> usize {
        self.layers().iter().map(Layer::weights).sum()
    }

    /// Number of weights, for sizes that are not known to be within [`Architecture::MAX_WEIGHTS`]: where `usize` has 32
    /// bits it could not hold them.
    fn count_weights(&self) -> u64 {
        let weights = |layer: &Layer| [layer.inputs, layer.outputs, layer.kernel, layer.kernel].map(|n| n as u64);
        self.layers().iter().map(|layer| weights(layer).iter().product::<u64>()).sum()
    }

    /// Values in one image: `channels * image_size^2`.
    pub fn pixels(&self) -> usize {
        self.channels * self.image_size * self.image_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paper() -> Architecture {
        Architecture { image_size: 32, channels: 3, ngf: 64, latent: 128, classes: 0, label_scale: 3.0 }
    }

    #[test]
    fn the_paper_generator_has_the_published_number_of_weights() {
        assert_eq!(paper().widths(), [512, 256, 128, 64]);
        assert_eq!(paper().weights(), 3_544_768);
    }

    #[test]
    fn layers_and_norms_come_in_the_order_of_the_format() {
        let arch = Architecture { image_size: 8, ..paper() };
        let names: Vec<_> = arch.layers().into_iter().map(|l| l.name).collect();
        assert_eq!(names, ["first", "blocks.0.conv1", "blocks.0.conv2", "blocks.0.skip", "last"]);
        let norms: Vec<_> = arch.norms().into_iter().map(|n| n.name).collect();
        assert_eq!(norms, ["blocks.0.bn1", "blocks.0.bn2", "bn"]);
    }

    #[test]
    fn weights_are_counted_beyond_32_bits_before_they_are_refused() {
        assert_eq!(paper().count_weights(), 3_544_768);
        let huge =
            Architecture { image_size: 256, channels: 1, ngf: 271, latent: 4096, classes: 1000, label_scale: 3.0 };
        // What is left of it in 32 bits would pass for a small generator.
        let weights = huge.count_weights();
        assert_eq!(weights, 4_321_324_808);
        assert!((weights as u32) < Architecture::MAX_WEIGHTS as u32);
        assert!(huge.validate().unwrap_err().to_string().contains(&weights.to_string()));
    }

    #[test]
    fn sizes_outside_the_limits_are_refused() {
        for broken in [
            Architecture { image_size: 24, ..paper() },
            Architecture { image_size: 4, ..paper() },
            Architecture { channels: 2, ..paper() },
            Architecture { ngf: 0, ..paper() },
            Architecture { label_scale: f32::NAN, ..paper() },
            Architecture { image_size: 256, ngf: 512, ..paper() },
        ] {
            assert!(broken.validate().is_err(), "{broken:?}");
        }
    }
}
