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
//! | `public:PATH` | the same, declared to be trained on public images, as privacy needs it |
//! | `random:SEED` | none were learned: Kaiming normal numbers of the seed ([`random`]) |
//! | `vgg16:PATH`, `vgg19:PATH` | ImageNet's ([`mod@vgg`]); without a path, from the Hugging Face hub (feature `hub`) |
//! | `pixels+` and one of these | the same, behind features of pixels themselves ([`pixels`]) |
//! | `bf16+` and one of these | the same, by products of half as wide numbers ([`precision`]) |
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

pub(crate) mod conv;
pub mod file;
#[cfg(feature = "hub")]
mod hub;
pub mod layout;
mod name;
pub(crate) mod packed;
mod pass;
pub mod pixels;
pub mod precision;
pub mod public;
pub mod random;
pub mod sketch;
mod sums;
pub(crate) mod tensors;
pub mod vgg;
pub mod weights;

use std::fmt;
use std::sync::{Arc, OnceLock};

use candle_core::{Device, Tensor};
use prism_core::simd::Isa;

use crate::cpu::map::Map;
use crate::error::{Error, Result};
use crate::ops::storage::{on_cpu, with_floats};
use crate::ops::{self, FrozenConv};
use packed::PackedEncoder;
use precision::Precision;
use sketch::Sketch;

pub use layout::{EncoderLayer, EncoderLayout};
pub use name::without_prefixes;
pub use pass::Features;
pub use sketch::Grids;
pub use sums::FeatureSums;
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
    /// What it was trained on; nothing where its weights are random.
    training_set: Option<String>,
    layout: EncoderLayout,
    convs: Vec<FrozenConv>,
    /// Scale and shift of each colour, `[1, 3, 1, 1]`, from pixels in [-1, 1].
    normalisation: Option<(Tensor, Tensor)>,
    sketches: Vec<Sketch>,
    precision: Precision,
    /// What forward passes on the CPU read, made ready by the first of them.
    packed: Arc<OnceLock<Arc<PackedEncoder>>>,
    spare: Arc<pass::Spare>,
}

impl Encoder {
    /// An encoder from its parts; without `normalisation` it sees pixels in [-1, 1] as they are.
    ///
    /// # Errors
    /// If the weights do not fit `layout`, or the device has no room.
    pub fn from_weights(
        name: impl Into<String>,
        layout: EncoderLayout,
        weights: &[ConvWeights],
        normalisation: Option<Normalisation>,
        device: &Device,
    ) -> Result<Self> {
        let name = name.into();
        weights::check(&name, &layout, weights)?;
        let digest = weights::digest(&layout, weights, normalisation.as_ref());
        let convs = weights.iter().map(|conv| conv.freeze(device)).collect::<Result<_>>()?;
        let normalisation = normalisation.map(|n| per_colour(&n, device)).transpose()?;
        let (precision, packed, spare) = Default::default();
        Ok(Encoder {
            name,
            digest,
            training_set: None,
            layout,
            convs,
            normalisation,
            sketches: Vec::new(),
            precision,
            packed,
            spare,
        })
    }

    /// The same encoder, which was trained on the images called `name`.
    pub fn trained_on(mut self, name: impl Into<String>) -> Self {
        self.training_set = Some(name.into());
        self
    }

    /// Name of the images that it was trained on; none where its weights are random.
    pub fn training_set(&self) -> Option<&str> {
        self.training_set.as_deref()
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
        (self.packed, self.spare) = Default::default();
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
    pub fn layout(&self) -> &EncoderLayout {
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

    /// What the convolutions multiply on a CPU.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Scale and shift of each colour, if the encoder normalises its images.
    pub(crate) fn normalisation(&self) -> Option<&(Tensor, Tensor)> {
        self.normalisation.as_ref()
    }

    /// The encoder as forward passes on the CPU read it.
    ///
    /// # Errors
    /// If it is not in main memory.
    pub(crate) fn packed(&self) -> candle_core::Result<Arc<PackedEncoder>> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed.clone());
        }
        let packed = Arc::new(PackedEncoder::new(Isa::detect(), self)?);
        Ok(self.packed.get_or_init(|| packed).clone())
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

    /// The output of every convolution after its ReLU, then the sketches of these, if there are any. They have no gradient
    /// ([`Encoder::composed`] does).
    ///
    /// # Shapes
    /// * `images`: `[B, 1 or 3, S, S]` in [-1, 1]; grey images are shown as three equal colours
    /// * result: `[B, C_i, S_i, S_i]` for output i; see [`Encoder::feature_shapes`]
    ///
    /// # Errors
    /// If the images are too small to be halved by every pool, or the computation fails.
    pub fn forward(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        self.forward_some(images, |_| true)
    }

    /// The last convolution's output after its ReLU, `[B, C, S, S]`; shapes, errors and gradients are as for
    /// [`Encoder::forward`].
    ///
    /// # Errors
    /// See above.
    pub fn last(&self, images: &Tensor) -> Result<Tensor> {
        let last = self.convs.len() - 1;
        let mut found = self.forward_some(images, |output| output == last)?;
        // A layout has at least one convolution.
        Ok(found.remove(0))
    }

    /// The outputs that are `wanted`, by their numbers.
    fn forward_some(&self, images: &Tensor, wanted: impl Fn(usize) -> bool) -> Result<Vec<Tensor>> {
        if !on_cpu(images) {
            let all = self.composed(images)?.into_iter().enumerate();
            return Ok(all.filter(|(output, _)| wanted(*output)).map(|(_, features)| features.detach()).collect());
        }
        let (batch, _, height, width) = images.dims4()?;
        self.check_side(height.min(width))?;
        let packed = self.packed()?;
        let maps = packed.outputs(packed.input(batch, (height, width)));
        let mut outputs: Vec<(Map, Vec<f32>)> = maps.into_iter().map(|map| (map, Vec::new())).collect();
        for (output, (map, values)) in outputs.iter_mut().enumerate() {
            let len = if wanted(output) { batch * map.channels * map.pixels() } else { 0 };
            values.resize(len, 0.0);
        }
        self.visit(images, |features| {
            if wanted(features.output) {
                let (map, out) = &mut outputs[features.output];
                let first = features.first * map.channels * map.pixels();
                features.map.to_planar(features.values, &mut out[first..]);
            }
            Ok(())
        })?;
        let outputs = outputs.into_iter().enumerate().filter(|(output, _)| wanted(*output));
        let tensors = outputs.map(|(_, (map, values))| {
            Tensor::from_vec(values, (batch, map.channels, map.height, map.width), images.device())
        });
        Ok(tensors.collect::<candle_core::Result<_>>()?)
    }

    /// Calls `each` with the features of all of `images`, some images of one output at a time, in memory that does not grow
    /// with the number of images. The features of an image do not depend on the others to the bit, nor on the number of
    /// threads. Shapes are those of [`Encoder::forward`].
    ///
    /// # Errors
    /// As for [`Encoder::forward`], and those of `each`.
    pub fn visit(&self, images: &Tensor, mut each: impl FnMut(Features<'_>) -> Result<()>) -> Result<()> {
        let (batch, channels, height, width) = images.dims4()?;
        self.check_side(height.min(width))?;
        if !on_cpu(images) {
            for (output, features) in self.composed(images)?.iter().enumerate() {
                let values = features.flatten_all()?.to_vec1::<f32>()?;
                let len = values.len() / batch.max(1);
                let map = Map { batch, height: 1, width: 1, channels: len, stride: len };
                each(Features { output, first: 0, map, values: &values })?;
            }
            return Ok(());
        }
        if channels != 1 && channels != 3 {
            return Err(Error::usage(format!(
                "images of {channels} channels cannot be encoded; give grey or coloured ones"
            )));
        }
        let (packed, images) = (self.packed()?, images.contiguous()?);
        with_floats([&images], |[pixels]| {
            let images = pass::Images { pixels, batch, channels, side: (height, width) };
            pass::visit(&packed, &self.spare, images, &mut each)
        })?
    }

    /// The features of [`Encoder::forward`] as a composition of [`crate::ops`]: differentiable, on any device, and the reference
    /// of the other. It rounds differently.
    ///
    /// # Errors
    /// As for [`Encoder::forward`].
    pub fn composed(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        let (_, channels, height, width) = images.dims4()?;
        self.check_side(height.min(width))?;
        let mut x = if channels == 1 { images.repeat((1, 3, 1, 1))? } else { images.clone() };
        if let Some((scale, shift)) = &self.normalisation {
            x = x.broadcast_mul(scale)?.broadcast_add(shift)?;
        }
        let mut features = Vec::with_capacity(self.convs.len());
        let mut convs = self.convs.iter();
        for layer in self.layout.layers() {
            match layer {
                EncoderLayer::Pool => x = ops::max_pool2x2(&x)?,
                EncoderLayer::Conv(_) => {
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
mod tests;
