//! What a map's elements stand for, and how a layer's sums become the next layer's elements.
//!
//! What a map holds is a real number times the map's scale (1 for `f32`). Every factor on the way (sigma, the scheme's
//! divisor, the scales of the map that is read and of the one that is written, the norm) ends in one multiplication and
//! one addition for each output.

use super::element::{Scale, ValueRange};
use super::maps::stride;
use super::model::{FoldedNorm, Model};
use super::scheme::{Doubled, Scheme, Schemes};
use crate::arch::Layer;
use crate::prelude::*;

/// Largest activation that elements can hold. Norms make every channel's variance 1 over the noise that they were
/// measured on, so this is that many standard deviations.
const ACTIVATIONS: f32 = 16.0;

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

/// Of one residual block.
pub(super) struct BlockScales {
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
}

impl BlockScales {
    /// Of block number `block` of `model`, whose layers are `layers`.
    pub(super) fn new<E: Schemes>(model: &Model<'_>, layers: &[Layer], block: usize, lanes: usize) -> Self {
        let index = 1 + 3 * block;
        let (conv1, conv2, skip) = (&layers[index], &layers[index + 1], &layers[index + 2]);
        let (norm1, norm2) = (&model.norms()[2 * block], &model.norms()[2 * block + 1]);
        let input = E::scale(ACTIVATIONS, ValueRange { inputs: 2, weights: 9, depth: conv1.inputs });
        let inner = E::scale(ACTIVATIONS, ValueRange { inputs: 4, weights: 9, depth: conv2.inputs });
        let plain = E::scale(range_before(norm1), ValueRange { inputs: 1, weights: 1, depth: skip.inputs });
        let conv1_divisor = match block {
            0 => <Doubled as Scheme<E>>::DIVISOR,
            _ => <E::Twice as Scheme<E>>::DIVISOR,
        };
        let conv1_factor = conv1.sigma() / (conv1_divisor * input.factor);
        BlockScales {
            plain,
            input: Affine::new(norm1, 1.0, input, stride::<E>(conv1.inputs, lanes)),
            inner: Affine::new(norm2, conv1_factor, inner, stride::<E>(conv1.outputs, lanes)),
            conv2_factor: conv2.sigma() / (<E::Same as Scheme<E>>::DIVISOR * inner.factor),
            skip_factor: skip.sigma() / plain.factor,
        }
    }
}

/// Of the last layer.
pub(super) struct LastScales {
    /// Makes real values of its sums.
    pub(super) factor: f32,
    /// The activation that it reads.
    pub(super) input: Affine,
}

impl LastScales {
    /// Of `last`, the last layer of `model`.
    pub(super) fn new<E: Schemes>(model: &Model<'_>, last: &Layer, lanes: usize) -> Self {
        let scale = E::scale(ACTIVATIONS, ValueRange { inputs: 1, weights: 1, depth: last.inputs });
        let norm = &model.norms()[model.norms().len() - 1];
        LastScales {
            factor: last.sigma() / scale.factor,
            input: Affine::new(norm, 1.0, scale, stride::<E>(last.inputs, lanes)),
        }
    }
}

/// The largest value that `norm` takes to an activation of at most [`ACTIVATIONS`] either way.
fn range_before(norm: &FoldedNorm) -> f32 {
    let ranges = norm.scale.iter().zip(&norm.shift).map(|(scale, shift)| (ACTIVATIONS + shift.abs()) / scale.abs());
    let largest = ranges.filter(|range| range.is_finite()).fold(0.0, f32::max);
    if largest > 0.0 { largest } else { 1.0 }
}
