//! Draws one image in little memory, by the integers of [`Precision::I16`](super::Precision::I16) and to the same bits: for
//! devices with kilobytes where others have gigabytes.
//!
//! No weight is laid out. A layer's mask is read bit by bit where it lies, its signs are drawn when the layer begins, and
//! a sum adds an input, takes it away, or leaves it out. A map is dropped once it was read for the last time:
//!
//! ```text
//! value, active = relu(bn1(value))        skip = conv(value)      inner = relu(bn2(conv1(up(active))))
//! value = conv2(inner) + up(skip)
//! ```

use super::element::{Element, Scale};
use super::image::tanh;
use super::model::Model;
use super::reference::{Shift, add_shifted};
use super::scales::{Affine, BlockScales, LastScales};
use super::scheme::{Scheme, Schemes};
use crate::arch::Layer;
use crate::frozen::sign_bytes;
use crate::mask::LayerBits;
use crate::prelude::*;

/// Channels of square maps, row-major: `[channels, side, side]`.
struct Maps<T> {
    side: usize,
    values: Vec<T>,
}

impl<T: Copy + Default> Maps<T> {
    fn new(channels: usize, side: usize) -> Self {
        Maps { side, values: vec![T::default(); channels * side * side] }
    }

    fn channel(&self, channel: usize) -> &[T] {
        let area = self.side * self.side;
        &self.values[channel * area..][..area]
    }

    fn channel_mut(&mut self, channel: usize) -> &mut [T] {
        let area = self.side * self.side;
        &mut self.values[channel * area..][..area]
    }
}

/// The weights of a layer in units of its sigma: two bits for each.
struct Weights<'a> {
    layer: &'a Layer,
    kept: &'a LayerBits,
    signs: Vec<u8>,
}

impl<'a> Weights<'a> {
    fn new(model: &Model<'a>, layers: &'a [Layer], index: usize) -> Self {
        let layer = &layers[index];
        Weights { layer, kept: model.mask_of(index), signs: sign_bytes(model.seed(), index, layer.weights()) }
    }

    /// -1, 0 or 1.
    fn get(&self, index: usize) -> i32 {
        match (self.kept[index], self.signs[index / 8] >> (index % 8) & 1) {
            (false, _) => 0,
            (true, 0) => -1,
            (true, _) => 1,
        }
    }

    /// Adds one tap of the filter from `input` to an output, where the input's map is `from`.
    fn add_tap(&self, (output, input, tap): (usize, usize, usize), side: usize, from: &[i16], to: &mut [i32]) {
        let k = self.layer.kernel;
        match self.get((output * self.layer.inputs + input) * k * k + tap) {
            0 => {}
            w => add_shifted(to, from, side, Shift::of(tap, k), |y, x| *y += w * i32::from(x)),
        }
    }

    /// Hands on the sums of each output over all of `x`, which is doubled first where `double` says so.
    fn convolve(&self, x: &Maps<i16>, double: bool, mut put: impl FnMut(usize, &[i32])) {
        let side = if double { 2 * x.side } else { x.side };
        let (mut sums, mut doubled) = (vec![0; side * side], vec![0; if double { side * side } else { 0 }]);
        for output in 0..self.layer.outputs {
            sums.fill(0);
            for input in 0..self.layer.inputs {
                let mut from = x.channel(input);
                if double {
                    double_map(from, x.side, &mut doubled);
                    from = &doubled;
                }
                for tap in 0..self.layer.kernel * self.layer.kernel {
                    self.add_tap((output, input, tap), side, from, &mut sums);
                }
            }
            put(output, &sums);
        }
    }
}

/// The image of one input, `[channels, size, size]` in [-1, 1]: that of a [`Sampler`](super::Sampler) in `I16`.
///
/// # Panics
/// If `input` has another length than `arch.inputs()`.
pub fn image(model: &Model<'_>, input: &[f32]) -> Vec<f32> {
    let (arch, layers) = (model.arch(), model.arch().layers());
    assert_eq!(input.len(), arch.inputs(), "the input is the latent and the label");
    let last = LastScales::new::<i16>(model, &layers[layers.len() - 1], 1);
    let mut scales = BlockScales::new::<i16>(model, &layers, 0, 1);
    let (mut value, mut active) = first(&Weights::new(model, &layers, 0), input, &scales);
    for block in 0..arch.blocks() {
        let weights = |layer| Weights::new(model, &layers, 1 + 3 * block + layer);
        let skip = skip(&weights(2), value, scales.skip_factor);
        let inner = inner(&weights(0), active, &scales.inner);
        let next = (block + 1 < arch.blocks()).then(|| BlockScales::new::<i16>(model, &layers, block + 1, 1));
        let outputs = Outputs {
            factor: scales.conv2_factor,
            plain: next.as_ref().map(|next| next.plain),
            activation: next.as_ref().map_or(&last.input, |next| &next.input),
        };
        (value, active) = outputs.of(&weights(1), &inner, &skip);
        if let Some(next) = next {
            scales = next;
        }
    }
    drop(value);
    pixels(&Weights::new(model, &layers, layers.len() - 1), &active, last.factor)
}

/// The first layer's values and activations.
fn first(weights: &Weights<'_>, input: &[f32], scales: &BlockScales) -> (Maps<i16>, Maps<i16>) {
    let scale = i16::scale_of_row(input, input.len());
    let input: Vec<i16> = input.iter().map(|x| i16::from_real(*x, scale)).collect();
    let factor = weights.layer.sigma() / scale.factor;
    let channels = weights.layer.outputs;
    let (mut value, mut active) = (Maps::new(channels, 4), Maps::new(channels, 4));
    for (at, (value, active)) in value.values.iter_mut().zip(&mut active.values).enumerate() {
        let sum: i32 = input.iter().enumerate().map(|(i, x)| weights.get(i * channels * 16 + at) * i32::from(*x)).sum();
        let x = sum as f32 * factor;
        *value = element(x * scales.plain.factor, scales.plain.limit);
        *active = activation(x, &scales.input, at / 16);
    }
    (value, active)
}

/// The skip connection, before it is doubled; the last that reads `value`.
fn skip(weights: &Weights<'_>, value: Maps<i16>, factor: f32) -> Maps<f32> {
    let mut skip = Maps::new(weights.layer.outputs, value.side);
    weights.convolve(&value, false, |channel, sums| {
        skip.channel_mut(channel).iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum as f32 * factor);
    });
    skip
}

/// What lies between a block's convolutions; the last that reads `active`.
fn inner(weights: &Weights<'_>, active: Maps<i16>, affine: &Affine) -> Maps<i16> {
    let mut inner = Maps::new(weights.layer.outputs, 2 * active.side);
    weights.convolve(&active, true, |channel, sums| {
        let to = inner.channel_mut(channel).iter_mut();
        to.zip(sums).for_each(|(y, sum)| *y = activation(*sum as f32, affine, channel));
    });
    inner
}

/// What a block's sums become.
struct Outputs<'a> {
    factor: f32,
    /// For the next block's skip connection, where there is one.
    plain: Option<Scale>,
    activation: &'a Affine,
}

impl Outputs<'_> {
    fn of(&self, weights: &Weights<'_>, inner: &Maps<i16>, skip: &Maps<f32>) -> (Maps<i16>, Maps<i16>) {
        // The sampler's sums are larger by this power of two.
        let divisor = <<i16 as Schemes>::Same as Scheme<i16>>::DIVISOR;
        let (side, channels) = (inner.side, weights.layer.outputs);
        let mut value = Maps::new(if self.plain.is_some() { channels } else { 0 }, side);
        let mut active = Maps::new(channels, side);
        weights.convolve(inner, false, |channel, sums| {
            let skip = skip.channel(channel);
            let x = |at: usize| {
                let doubled = skip[at / side / 2 * (side / 2) + at % side / 2];
                sums[at] as f32 * divisor * self.factor + doubled
            };
            if let Some(plain) = self.plain {
                let to = value.channel_mut(channel).iter_mut().enumerate();
                to.for_each(|(at, y)| *y = element(x(at) * plain.factor, plain.limit));
            }
            let to = active.channel_mut(channel).iter_mut().enumerate();
            to.for_each(|(at, y)| *y = activation(x(at), self.activation, channel));
        });
        (value, active)
    }
}

/// The last convolution, whose taps are scaled before they are added, and tanh.
fn pixels(weights: &Weights<'_>, active: &Maps<i16>, factor: f32) -> Vec<f32> {
    let (side, layer) = (active.side, weights.layer);
    let mut image: Maps<f32> = Maps::new(layer.outputs, side);
    let mut sums = vec![0i32; side * side];
    for output in 0..layer.outputs {
        for tap in 0..9 {
            sums.fill(0);
            for input in 0..layer.inputs {
                let w = weights.get((output * layer.inputs + input) * 9 + tap);
                sums.iter_mut().zip(active.channel(input)).for_each(|(sum, x)| *sum += w * i32::from(*x));
            }
            let to = image.channel_mut(output);
            add_shifted(to, &sums, side, Shift::of(tap, 3), |y, sum| *y += sum as f32 * factor);
        }
    }
    tanh(&mut image.values);
    image.values
}

/// `relu(x * scale + shift)` as an element.
fn activation(x: f32, affine: &Affine, channel: usize) -> i16 {
    element((x * affine.scale[channel] + affine.shift[channel]).max(0.0), affine.limit)
}

/// The nearest element within `limit` either way.
fn element(x: f32, limit: f32) -> i16 {
    libm::rintf(x.max(-limit).min(limit)) as i16
}

fn double_map(from: &[i16], side: usize, to: &mut [i16]) {
    for (row, to) in to.chunks_exact_mut(2 * side).enumerate() {
        let from = &from[row / 2 * side..][..side];
        to.chunks_exact_mut(2).zip(from).for_each(|(pair, x)| pair.fill(*x));
    }
}
