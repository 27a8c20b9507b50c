//! Frozen encoders: VGG-shaped networks whose features say how alike two sets of images are.
//!
//! ```text
//! images [B, 1 or 3, S, S] in [-1, 1]  ->  3 channels, normalised  ->  (conv 3x3 + bias, ReLU | max-pool 2x2) ...
//!                                          every convolution's output after its ReLU:  [B, C_i, S_i, S_i]
//! ```
//!
//! An encoder is always in evaluation mode: its batch norms, where it was trained with some, are folded into the
//! convolutions. One image's features never depend on the rest of its batch, so a bound per image is a bound.
//!
//! | name | weights |
//! |---|---|
//! | `public` | trained on CIFAR-10 by this project, embedded ([`public`]) |
//! | `file:PATH` | what the encoder training command wrote ([`mod@file`]) |
//! | `random:SEED` | none were learned: Kaiming normal numbers of the seed ([`random`]) |
//! | `vgg19:PATH` | ImageNet's, from torchvision or timm ([`vgg19`]); without a path, from the Hugging Face hub (feature `hub`) |
//!
//! ```
//! # fn main() -> prism_nn::Result<()> {
//! use candle_core::{DType, Device, Tensor};
//! use prism_nn::encoder::Encoder;
//! let encoder = Encoder::open("random:7", &Device::Cpu)?;
//! let images = Tensor::zeros((2, 1, 32, 32), DType::F32, &Device::Cpu)?;
//! let features = encoder.forward(&images)?;
//! assert_eq!(features[0].dims(), [2, 32, 32, 32]);
//! # Ok(())
//! # }
//! ```

pub mod file;
#[cfg(feature = "hub")]
mod hub;
pub mod layout;
pub mod public;
pub mod random;
pub mod sketch;
pub(crate) mod tensors;
pub mod vgg19;
pub mod weights;

use std::fmt;

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::ops::{self, FrozenConv};
use sketch::Sketch;

pub use layout::{Layout, Step};
pub use sketch::Grids;
pub use weights::ConvWeights;

/// Mean and standard deviation that an encoder expects of each colour, for pixels from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Subtracted from red, green and blue.
    pub mean: [f32; 3],
    /// Then divided by.
    pub deviation: [f32; 3],
}

/// A frozen network whose features are compared.
#[derive(Clone, Debug)]
pub struct Encoder {
    name: String,
    digest: String,
    layout: Layout,
    convs: Vec<FrozenConv>,
    /// Scale and shift of each colour, `[1, 3, 1, 1]`, from pixels in [-1, 1].
    normalisation: Option<(Tensor, Tensor)>,
    sketches: Vec<Sketch>,
}

impl Encoder {
    /// Opens the encoder called `spec`: `public`, `file:PATH`, `random:SEED` or `vgg19:PATH`.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if there is no such encoder or file, [`prism_core::Error::Corrupt`] if the file does
    /// not hold its weights.
    pub fn open(spec: &str, device: &Device) -> Result<Self> {
        let (kind, argument) = spec.split_once(':').map_or((spec, None), |(kind, argument)| (kind, Some(argument)));
        match (kind, argument) {
            ("public", None) => public::open(device),
            ("file", Some(path)) => file::open(path.as_ref(), device),
            ("random", Some(seed)) => random::open(seed, device),
            ("vgg19", Some(path)) => vgg19::open(path.as_ref(), device),
            ("vgg19", None) => vgg19::fetch(device),
            _ => Err(Error::usage(format!(
                "encoder '{spec}' is unknown; choose public, vgg19:PATH, random:SEED or file:PATH"
            ))),
        }
    }

    /// An encoder from its parts; without `normalisation` it sees pixels in [-1, 1] as they are.
    ///
    /// # Errors
    /// If the weights do not fit `layout`, or the device has no room.
    pub fn from_weights(
        name: impl Into<String>,
        layout: Layout,
        weights: &[ConvWeights],
        normalisation: Option<Normalisation>,
        device: &Device,
    ) -> Result<Self> {
        let name = name.into();
        weights::check(&name, &layout, weights)?;
        let digest = weights::digest(&layout, weights, normalisation.as_ref());
        let convs = weights.iter().map(|conv| conv.freeze(device)).collect::<Result<_>>()?;
        let normalisation = normalisation.map(|n| per_colour(&n, device)).transpose()?;
        Ok(Encoder { name, digest, layout, convs, normalisation, sketches: Vec::new() })
    }

    /// The same encoder, whose outputs go on with a sketch of every convolution's over each of `grids` ([`sketch`]).
    ///
    /// # Errors
    /// If the device has no room.
    pub fn with_sketches(mut self, grids: &Grids, device: &Device) -> Result<Self> {
        if grids.is_empty() {
            return Ok(self);
        }
        self.digest = sketch::digest(&self.digest, grids);
        let sketches = grids.cells().iter().map(|&cells| Sketch::new(cells, &self.layout, device));
        self.sketches = sketches.collect::<candle_core::Result<_>>()?;
        Ok(self)
    }

    /// What reports call this encoder, such as `random:7`; for weights out of a file, only the kind and not the path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hexadecimal SHA-256 of the layout, the weights, the normalisation and the sketches: equal digests compute equal features.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The order of convolutions and pools.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The convolutions, in order.
    pub(crate) fn convs(&self) -> &[FrozenConv] {
        &self.convs
    }

    /// The sketches, in order.
    pub(crate) fn sketches(&self) -> &[Sketch] {
        &self.sketches
    }

    /// Scale and shift of each colour, if the encoder normalises its images.
    pub(crate) fn normalisation(&self) -> Option<&(Tensor, Tensor)> {
        self.normalisation.as_ref()
    }

    /// Channels, height and width of each output for an image of `image_size` pixels a side: of every convolution, then of every
    /// convolution's sketch over the first grid, and so on.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if the image is too small to be halved by every pool.
    pub fn feature_shapes(&self, image_size: usize) -> Result<Vec<[usize; 3]>> {
        self.check_side(image_size)?;
        let convs = self.layout.feature_shapes(image_size);
        let of_sketch = |sketch: &Sketch| -> Vec<[usize; 3]> {
            convs.iter().map(|&[channels, side, _]| [channels, sketch.side(side), sketch.side(side)]).collect()
        };
        let sketches: Vec<_> = self.sketches.iter().flat_map(of_sketch).collect();
        Ok([convs, sketches].concat())
    }

    /// The output of every convolution after its ReLU, then the sketches of these, if there are any.
    ///
    /// # Shapes
    /// * `images`: `[B, 1 or 3, S, S]` in [-1, 1]; grey images are shown as three equal colours
    /// * result: `[B, C_i, S_i, S_i]` for output i; see [`Encoder::feature_shapes`]
    ///
    /// # Errors
    /// If the images are too small to be halved by every pool, or the computation fails.
    pub fn forward(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        let (_, channels, height, width) = images.dims4()?;
        self.check_side(height.min(width))?;
        let mut x = if channels == 1 { images.repeat((1, 3, 1, 1))? } else { images.clone() };
        if let Some((scale, shift)) = &self.normalisation {
            x = x.broadcast_mul(scale)?.broadcast_add(shift)?;
        }
        let mut features = Vec::with_capacity(self.convs.len());
        let mut convs = self.convs.iter();
        for step in self.layout.steps() {
            match step {
                Step::Pool => x = ops::max_pool2x2(&x)?,
                Step::Conv(_) => {
                    // `from_weights` has checked that there are as many convolutions as the layout has.
                    let Some(conv) = convs.next() else { break };
                    x = ops::conv2d_relu_frozen(&x, conv)?;
                    features.push(x.clone());
                }
            }
        }
        let convs = features.len();
        for sketch in &self.sketches {
            for conv in 0..convs {
                features.push(sketch.of(&features[conv], conv)?);
            }
        }
        Ok(features)
    }

    fn check_side(&self, side: usize) -> Result<()> {
        let smallest = self.layout.smallest_side();
        if side >= smallest {
            return Ok(());
        }
        Err(Error::usage(format!(
            "images of {side} pixels a side are too small for encoder {}, which halves them {} times; choose at least \
             {smallest}, or another encoder",
            self.name,
            smallest.ilog2()
        )))
    }
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// `((x + 1) / 2 - mean) / deviation` as one scale and one shift a colour.
fn per_colour(normalisation: &Normalisation, device: &Device) -> Result<(Tensor, Tensor)> {
    let Normalisation { mean, deviation } = normalisation;
    let scale: Vec<f32> = deviation.iter().map(|d| 0.5 / d).collect();
    let shift: Vec<f32> = mean.iter().zip(deviation).map(|(m, d)| (0.5 - m) / d).collect();
    let tensor = |values| Tensor::from_vec(values, (1, 3, 1, 1), device);
    Ok((tensor(scale)?, tensor(shift)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    fn images(channels: usize, size: usize) -> Tensor {
        let values = (0..2 * channels * size * size).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
        Tensor::from_vec(values, (2, channels, size, size), &Device::Cpu).unwrap()
    }

    #[test]
    fn features_are_every_convolution_after_its_relu() {
        let encoder = Encoder::open("random:7", &Device::Cpu).unwrap();
        let features = encoder.forward(&images(3, 16)).unwrap();
        let shapes = encoder.feature_shapes(16).unwrap();
        assert_eq!(features.len(), 7);
        for (feature, [channels, height, width]) in features.iter().zip(shapes) {
            assert_eq!(feature.dims(), [2, channels, height, width]);
            assert!(feature.min_all().unwrap().to_scalar::<f32>().unwrap() >= 0.0);
        }
        assert_eq!(features[6].dims(), [2, 256, 2, 2]);
    }

    #[test]
    fn an_image_is_encoded_alike_in_any_batch() {
        let encoder = Encoder::open("random:7", &Device::Cpu).unwrap();
        let both = images(3, 16);
        let whole = encoder.forward(&both).unwrap();
        let alone = encoder.forward(&both.narrow(0, 1, 1).unwrap()).unwrap();
        for (whole, alone) in whole.iter().zip(&alone) {
            let row = |t: &Tensor, i: usize| t.get(i).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(row(whole, 1), row(alone, 0));
        }
    }

    #[test]
    fn grey_images_are_three_equal_colours() {
        let encoder = Encoder::open("random:7", &Device::Cpu).unwrap();
        let grey = images(1, 8);
        let colour = Tensor::cat(&[&grey, &grey, &grey], 1).unwrap();
        let (a, b) = (encoder.forward(&grey).unwrap(), encoder.forward(&colour).unwrap());
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(a.iter().zip(&b).all(|(a, b)| flat(a) == flat(b)));
    }

    #[test]
    fn only_images_get_a_gradient() {
        let encoder = Encoder::open("random:7", &Device::Cpu).unwrap();
        let x = Var::from_tensor(&images(1, 8)).unwrap();
        let last = encoder.forward(&x).unwrap().pop().unwrap();
        let gradients = last.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&x).unwrap();
        assert_eq!(gradient.dims(), x.dims());
        assert!(gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0);
    }

    #[test]
    fn images_too_small_for_the_pools_are_refused() {
        let encoder = Encoder::open("random:7", &Device::Cpu).unwrap();
        assert!(encoder.forward(&images(3, 8)).is_ok());
        let message = encoder.forward(&images(3, 4)).unwrap_err().to_string();
        assert!(message.contains("at least 8"), "{message}");
        assert!(encoder.feature_shapes(4).is_err());
    }

    #[test]
    fn the_normalisation_is_that_of_pixels_from_0_to_1() {
        let layout: Layout = "3".parse().unwrap();
        let centre = |i: usize| if i.is_multiple_of(9) { 0.0 } else { f32::from(u8::from(i % 9 == 4)) };
        let weight = (0..81).map(|i| if i / 27 == i % 27 / 9 { centre(i) } else { 0.0 }).collect();
        let conv = ConvWeights { inputs: 3, outputs: 3, weight, bias: vec![0.0; 3] };
        let normalisation = Normalisation { mean: [0.25, 0.5, 0.75], deviation: [0.5, 0.25, 0.125] };
        let encoder = Encoder::from_weights("unit", layout, &[conv], Some(normalisation), &Device::Cpu).unwrap();
        let white = Tensor::ones((1, 3, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let features = encoder.forward(&white).unwrap();
        let values = features[0].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values, [1.5, 1.5, 1.5, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        for spec in ["resnet", "random", "file", "", "vgg19x:a", "public:1"] {
            let error = Encoder::open(spec, &Device::Cpu).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("random:SEED"), "{error}");
        }
    }
}
