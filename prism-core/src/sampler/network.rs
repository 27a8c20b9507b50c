//! The generator laid out for one type of element and one instruction set: packed weights, and norms folded into
//! scales.
//!
//! What a map holds is a real number times the map's scale (1 for `f32`). Every factor on the way (sigma, the scheme's
//! divisor, the scales of the map that is read and of the one that is written, the norm) ends in one multiplication and
//! one addition for each output.

use super::element::{Element, Scale, ValueRange};
use super::model::{FoldedNorm, Model};
use super::scheme::{Doubled, Pointwise, Scheme, Schemes};
use super::weights::Packed;
use crate::arch::{Architecture, Layer};
use crate::simd::Isa;

/// A generator that is ready to draw.
pub(super) struct Network<E: Element> {
    pub(super) arch: Architecture,
    pub(super) isa: Isa,
    pub(super) first: Packed,
    pub(super) first_sigma: f32,
    pub(super) blocks: Vec<ResidualBlock<E>>,
    pub(super) last: Packed,
    /// Makes real values of the last layer's sums.
    pub(super) last_factor: f32,
    /// The activation that the last layer reads.
    pub(super) last_input: Affine,
    element: std::marker::PhantomData<E>,
}

/// One residual block.
pub(super) struct ResidualBlock<E> {
    /// Side of the maps that go in; twice that comes out.
    pub(super) side: usize,
    /// Channels that go in.
    pub(super) inputs: usize,
    /// Channels that come out.
    pub(super) outputs: usize,
    /// By [`Doubled`] in the first block, [`Schemes::Twice`] in the others.
    pub(super) conv1: Packed,
    pub(super) conv2: Packed,
    pub(super) skip: Packed,
    /// The block's input itself, which the skip connection reads.
    pub(super) plain: Scale,
    /// The activation that `conv1` reads, from real values.
    pub(super) input: Affine,
    /// The activation that `conv2` reads, from the sums of `conv1`.
    pub(super) inner: Affine,
    /// Makes real values of the sums of `conv2`.
    pub(super) conv2_factor: f32,
    /// Makes real values of the sums of the skip connection.
    pub(super) skip_factor: f32,
    element: std::marker::PhantomData<E>,
}

/// `relu(x * scale + shift)` by channel, in elements of at most `limit`; channels that only pad have zeros.
pub(super) struct Affine {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) limit: f32,
}

impl Affine {
    /// Norm and ReLU of values that are real ones over `factor`, as elements of scale `to`.
    fn new(norm: &FoldedNorm, factor: f32, to: Scale, padded: usize) -> Self {
        let pad = |values: &[f32], by: f32| {
            let mut padded_values: Vec<f32> = values.iter().map(|v| v * by).collect();
            padded_values.resize(padded, 0.0);
            padded_values
        };
        Affine { scale: pad(&norm.scale, factor * to.factor), shift: pad(&norm.shift, to.factor), limit: to.limit }
    }
}

/// Channels of a map of `E`, padded to whole registers.
pub(super) fn stride<E: Element>(channels: usize, lanes: usize) -> usize {
    channels.next_multiple_of(lanes * E::PACK)
}

impl<E: Schemes> Network<E> {
    /// Lays out `model`.
    pub(super) fn new(model: &Model<'_>, isa: Isa) -> Self {
        let (arch, layers, norms) = (model.arch().clone(), model.arch().layers(), model.norms());
        let blocks = (0..arch.blocks()).map(|block| ResidualBlock::new(model, &layers, block, isa)).collect();
        let last = &layers[layers.len() - 1];
        let last_scale = E::scale(ACTIVATIONS, ValueRange { inputs: 1, weights: 1, depth: last.inputs });
        Network {
            isa,
            first: pack_first::<E>(model, &layers[0], isa.lanes()),
            first_sigma: layers[0].sigma(),
            blocks,
            last: pack_last::<E>(model, layers.len() - 1, last, isa.lanes()),
            last_factor: last.sigma() / last_scale.factor,
            last_input: Affine::new(&norms[norms.len() - 1], 1.0, last_scale, stride::<E>(last.inputs, isa.lanes())),
            arch,
            element: std::marker::PhantomData,
        }
    }
}

/// Largest activation that elements can hold. Norms make every channel's variance 1 over the noise that they were
/// measured on, so this is that many standard deviations.
const ACTIVATIONS: f32 = 16.0;

impl<E: Schemes> ResidualBlock<E> {
    fn new(model: &Model<'_>, layers: &[Layer], block: usize, isa: Isa) -> Self {
        let (lanes, index) = (isa.lanes(), 1 + 3 * block);
        let (conv1, conv2, skip) = (&layers[index], &layers[index + 1], &layers[index + 2]);
        let (norm1, norm2) = (&model.norms()[2 * block], &model.norms()[2 * block + 1]);
        let inner = E::scale(ACTIVATIONS, ValueRange { inputs: 4, weights: 9, depth: conv2.inputs });
        let plain = E::scale(range_before(norm1), ValueRange { inputs: 1, weights: 1, depth: skip.inputs });
        let (conv1_packed, conv1_divisor) = match block {
            0 => (pack::<E, Doubled>(model, index, conv1, lanes), <Doubled as Scheme<E>>::DIVISOR),
            _ => (pack::<E, E::Twice>(model, index, conv1, lanes), <E::Twice as Scheme<E>>::DIVISOR),
        };
        let input = E::scale(ACTIVATIONS, ValueRange { inputs: 2, weights: 9, depth: conv1.inputs });
        let conv1_factor = conv1.sigma() / (conv1_divisor * input.factor);
        ResidualBlock {
            side: 4 << block,
            inputs: conv1.inputs,
            outputs: conv1.outputs,
            conv1: conv1_packed,
            conv2: pack::<E, E::Same>(model, index + 1, conv2, lanes),
            skip: pack::<E, Pointwise>(model, index + 2, skip, lanes),
            plain,
            input: Affine::new(norm1, 1.0, input, stride::<E>(conv1.inputs, lanes)),
            inner: Affine::new(norm2, conv1_factor, inner, stride::<E>(conv1.outputs, lanes)),
            conv2_factor: conv2.sigma() / (<E::Same as Scheme<E>>::DIVISOR * inner.factor),
            skip_factor: skip.sigma() / plain.factor,
            element: std::marker::PhantomData,
        }
    }
}

/// The largest value that `norm` takes to an activation of at most [`ACTIVATIONS`] either way.
fn range_before(norm: &FoldedNorm) -> f32 {
    let ranges = norm.scale.iter().zip(&norm.shift).map(|(scale, shift)| (ACTIVATIONS + shift.abs()) / scale.abs());
    let largest = ranges.filter(|range| range.is_finite()).fold(0.0, f32::max);
    if largest > 0.0 { largest } else { 1.0 }
}

fn pack<E: Element, C: Scheme<E>>(model: &Model<'_>, index: usize, layer: &Layer, lanes: usize) -> Packed {
    let (weights, taps) = (model.weights(index, layer), layer.kernel * layer.kernel);
    Packed::new::<E, C>(layer.inputs, stride::<E>(layer.outputs, lanes), lanes, |column, input| {
        (column < layer.outputs).then(|| &weights[(column * layer.inputs + input) * taps..][..taps])
    })
}

/// The first layer as a product: a column for each pixel's each channel, in the order of the map.
fn pack_first<E: Element>(model: &Model<'_>, layer: &Layer, lanes: usize) -> Packed {
    let (weights, stride) = (model.weights(0, layer), stride::<E>(layer.outputs, lanes));
    Packed::new::<E, Pointwise>(layer.inputs, 16 * stride, lanes, |column, input| {
        let (pixel, channel) = (column / stride, column % stride);
        (channel < layer.outputs).then(|| &weights[(input * layer.outputs + channel) * 16 + pixel..][..1])
    })
}

/// The last layer as a product: a column for each tap of each output.
fn pack_last<E: Element>(model: &Model<'_>, index: usize, layer: &Layer, lanes: usize) -> Packed {
    let weights = model.weights(index, layer);
    Packed::new::<E, Pointwise>(layer.inputs, 9 * layer.outputs, lanes, |column, input| {
        let (tap, output) = (column / layer.outputs, column % layer.outputs);
        (tap < 9).then(|| &weights[(output * layer.inputs + input) * 9 + tap..][..1])
    })
}
