//! Outputs of a few images: transform the inputs, multiply, transform back.

#![expect(clippy::needless_range_loop, reason = "rows and columns of a patch are numbers first, indices second")]

use prism_core::simd::{Kernel, Shape, Simd};

use super::patch::{collect, patch, spread};
use super::{ConvLayer, Tiles};
use crate::cpu::factor::Factor;
use crate::cpu::gemm::Product;
use crate::cpu::scheme::{Linear, Scheme, both_axes};
use crate::cpu::source::{Sink, Source};

/// The first pixel of the input patch of tile `(row, column)`.
#[inline(always)]
pub fn input_corner<C: Scheme>(image: usize, row: usize, column: usize) -> (usize, isize, isize) {
    let at = |tile: usize| (tile * C::STEP) as isize - C::PAD as isize;
    (image, at(row), at(column))
}

/// Transforms the input patches of some images into `v`.
///
/// # Safety
/// Below `Isa::run` of `S`; `v` must have room for these images' transformed tiles.
#[inline(always)]
pub unsafe fn transform_inputs<S: Simd, C: Scheme, X: Source, T: Factor>(
    layer: &ConvLayer<C>,
    x: &X,
    (first, count): (usize, usize),
    v: *mut T,
    plane: usize,
) {
    let (rows, columns) = layer.tiles();
    let mut tile = 0;
    for image in first..first + count {
        for row in 0..rows {
            for column in 0..columns {
                for channel in (0..layer.input.stride).step_by(S::LANES) {
                    let corner = input_corner::<C>(image, row, column);
                    // SAFETY: the caller's promise.
                    unsafe {
                        let d = patch::<S, X>(x, layer.input, corner, channel, C::IN);
                        let d = both_axes::<C::Input, S>(d);
                        spread::<S, T>(&d, C::Input::TO, v, plane, tile * layer.input.stride + channel);
                    }
                }
                tile += 1;
            }
        }
    }
}

pub struct Forward<'a, C, X, Y, T> {
    pub layer: ConvLayer<C>,
    pub x: X,
    pub weights: &'a [T],
    pub y: Y,
    /// First, and how many.
    pub images: (usize, usize),
    pub tiles: Tiles<'a>,
}

impl<C: Scheme, X: Source, Y: Sink, T: Factor> Kernel for Forward<'_, C, X, Y, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let ConvLayer { input, output, .. } = self.layer;
        let (tiles, shared) = (self.images.1 * self.layer.tiles_per_image(), input.channels.next_multiple_of(T::PACK));
        let v = self.tiles.v.as_mut_ptr().cast::<T>();
        // SAFETY: below `Isa::run` of `S`; scratch planes hold these images' tiles, packed weights the layer's matrices.
        unsafe {
            transform_inputs::<S, C, X, T>(&self.layer, &self.x, self.images, v, self.tiles.v_plane);
            for p in 0..ConvLayer::<C>::PRODUCTS {
                self.layer.isa.run(Product {
                    rows: tiles,
                    shared,
                    columns: output.stride,
                    a: v.add(ConvLayer::<C>::reads(p).0 * self.tiles.v_plane),
                    a_row: input.stride,
                    b: self.weights[p * shared * output.stride..].as_ptr(),
                    c: self.tiles.m[p * self.tiles.m_plane..].as_mut_ptr(),
                    c_row: output.stride,
                    accumulate: false,
                });
            }
            self.write::<S>();
        }
    }
}

impl<C: Scheme, X: Source, Y: Sink, T> Forward<'_, C, X, Y, T> {
    /// # Safety
    /// Below `Isa::run` of `S`; `m` must hold these images' products.
    #[inline(always)]
    unsafe fn write<S: Simd>(&self) {
        let (rows, columns) = self.layer.tiles();
        let output = self.layer.output;
        let mut tile = 0;
        for image in self.images.0..self.images.0 + self.images.1 {
            for row in 0..rows {
                for column in 0..columns {
                    let (top, left) = (row * C::OUT, column * C::OUT);
                    for channel in (0..output.stride).step_by(S::LANES) {
                        // SAFETY: the caller's promise; only pixels inside the map are written.
                        unsafe {
                            let at = tile * output.stride + channel;
                            let m = collect::<S>(C::PRODUCTS, self.tiles.m.as_ptr(), self.tiles.m_plane, at);
                            let y = both_axes::<C::Output, S>(m);
                            for i in 0..C::OUT {
                                for j in 0..C::OUT {
                                    if top + i < output.height && left + j < output.width {
                                        self.y.store::<S>((image, top + i, left + j), channel, y[i][j]);
                                    }
                                }
                            }
                        }
                    }
                    tile += 1;
                }
            }
        }
    }
}
