//! The generator laid out for one type of element and one instruction set: packed weights, and the scales of its maps.

use super::weights::Packed;
use crate::arch::{Architecture, Layer};
use crate::sampler::element::Element;
use crate::sampler::maps::stride;
use crate::sampler::model::Model;
use crate::sampler::scales::{BlockScales, LastScales};
use crate::sampler::scheme::{Doubled, Pointwise, Scheme, Schemes};
use crate::simd::Isa;

/// A generator that is ready to draw.
pub(super) struct Network<E: Element> {
    pub(super) arch: Architecture,
    pub(super) isa: Isa,
    pub(super) first: Packed,
    pub(super) first_sigma: f32,
    pub(super) blocks: Vec<ResidualBlock<E>>,
    pub(super) last: Packed,
    pub(super) last_scales: LastScales,
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
    pub(super) scales: BlockScales,
    element: std::marker::PhantomData<E>,
}

impl<E: Schemes> Network<E> {
    /// Lays out `model`.
    pub(super) fn new(model: &Model<'_>, isa: Isa) -> Self {
        let (arch, layers) = (model.arch().clone(), model.arch().layers());
        let blocks = (0..arch.blocks()).map(|block| ResidualBlock::new(model, &layers, block, isa)).collect();
        let last = &layers[layers.len() - 1];
        Network {
            isa,
            first: pack_first::<E>(model, &layers[0], isa.lanes()),
            first_sigma: layers[0].sigma(),
            blocks,
            last: pack_last::<E>(model, layers.len() - 1, last, isa.lanes()),
            last_scales: LastScales::new::<E>(model, last, isa.lanes()),
            arch,
            element: std::marker::PhantomData,
        }
    }
}

impl<E: Schemes> ResidualBlock<E> {
    fn new(model: &Model<'_>, layers: &[Layer], block: usize, isa: Isa) -> Self {
        let (lanes, index) = (isa.lanes(), 1 + 3 * block);
        let (conv1, conv2, skip) = (&layers[index], &layers[index + 1], &layers[index + 2]);
        let conv1_packed = match block {
            0 => pack::<E, Doubled>(model, index, conv1, lanes),
            _ => pack::<E, E::Twice>(model, index, conv1, lanes),
        };
        ResidualBlock {
            side: 4 << block,
            inputs: conv1.inputs,
            outputs: conv1.outputs,
            conv1: conv1_packed,
            conv2: pack::<E, E::Same>(model, index + 1, conv2, lanes),
            skip: pack::<E, Pointwise>(model, index + 2, skip, lanes),
            scales: BlockScales::new::<E>(model, layers, block, lanes),
            element: std::marker::PhantomData,
        }
    }
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
