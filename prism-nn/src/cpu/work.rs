//! How much arithmetic a step is, counted from shapes.
//!
//! A multiply-add counts as two operations. Each layer has up to three passes: outputs, gradient of the inputs, gradient of
//! the weights. Only products count: sketches, transforms, norms, activations, draws and the optimiser do not.

use super::conv::ConvLayer;
use super::scheme::Scheme;

/// Floating-point operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// As convolutions are defined, at the size of their outputs.
    pub direct: u64,
    /// As [`super::scheme`] computes them on this machine, with the zeros that fill registers and tiles.
    pub products: u64,
}

impl std::ops::Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Work { direct: self.direct + other.direct, products: self.products + other.products }
    }
}

impl Work {
    /// Of one layer; `weights` says whether they are trained.
    pub fn of_layer<C: Scheme>(layer: &ConvLayer<C>, weights: bool) -> Self {
        let (x, y) = (layer.input, layer.output);
        let taps = C::TAPS * C::TAPS;
        let direct = 2 * y.batch * y.pixels() * taps * x.channels * y.channels;
        let tiles = 2 * y.batch * layer.tiles_per_image() * C::PRODUCTS * C::PRODUCTS;
        let (forward, backward) = (tiles * x.channels * y.stride, tiles * y.channels * x.stride);
        let trained = usize::from(weights);
        Work { direct: (direct * (2 + trained)) as u64, products: (forward * (1 + trained) + backward) as u64 }
    }

    /// Of a matrix product `[rows, shared] x [shared, columns]` whose columns are stored `stride` apart, and of the gradient
    /// of its right-hand side.
    pub fn of_product(rows: usize, shared: usize, columns: usize, stride: usize) -> Self {
        let (direct, products) = (4 * rows * shared * columns, 4 * rows * shared * stride);
        Work { direct: direct as u64, products: products as u64 }
    }
}
