//! The two ends of a convolution: inputs are read from maps and transformed, sums are transformed back and handed to a
//! sink.

#![expect(clippy::needless_range_loop, reason = "rows and columns of a patch are numbers first, indices second")]

use std::marker::PhantomData;
use std::ops::Range;

use super::tiles::TileGrid;
use crate::sampler::element::Element;
use crate::sampler::fast::sink::Sink;
use crate::sampler::maps::{MapView, Position};
use crate::sampler::scheme::{SIDE, Scheme};
use crate::simd::{Kernel, Shape, Simd};

/// Transformed inputs, one after another and in each of them one tile after another.
#[derive(Clone, Copy)]
pub(super) struct Transformed<P> {
    pub(super) base: P,
    /// Elements from a tile to the next.
    pub(super) row: usize,
    /// Elements from one transformed input to the next.
    pub(super) plane: usize,
}

/// Transforms the inputs of some tiles.
pub(super) struct Transform<C, E> {
    pub(super) input: MapView<E>,
    pub(super) grid: TileGrid,
    pub(super) tiles: Range<usize>,
    pub(super) to: Transformed<*mut E>,
    pub(super) scheme: PhantomData<C>,
}

impl<C: Scheme<E>, E: Element> Kernel for Transform<C, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let Transformed { base, row: to_row, plane } = self.to;
        let stride = self.input.shape.stride;
        let pitch = (self.input.shape.side + 2 * self.input.shape.border) * stride;
        for (index, tile) in self.tiles.enumerate() {
            let Position { image, row, column } = self.grid.position(tile);
            // SAFETY: the tile's patch lies inside the bordered map, and its row inside the memory of every transformed input.
            unsafe {
                let corner = Position { image, row: row * C::STEP, column: column * C::STEP };
                let from = self.input.bordered(corner).cast_const();
                let to = base.add(index * to_row);
                for channel in (0..stride).step_by(S::LANES * E::PACK) {
                    let patch = transformed::<S, C, E>(from.add(channel), pitch, stride);
                    for i in 0..C::READ {
                        for j in 0..C::READ {
                            E::store::<S>(to.add((i * C::READ + j) * plane + channel), patch[i][j]);
                        }
                    }
                }
            }
        }
    }
}

/// A patch of `IN` by `IN` pixels, transformed; `pitch` elements lie between its rows, `stride` between its columns.
///
/// # Safety
/// Below `Isa::run` of `S`; the pixels must be readable at `from`.
#[inline(always)]
unsafe fn transformed<S: Simd, C: Scheme<E>, E: Element>(
    from: *const E,
    pitch: usize,
    stride: usize,
) -> [[E::Reg<S>; SIDE]; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut patch = [[E::load::<S>(from); SIDE]; SIDE];
        for i in 0..C::IN {
            for j in 0..C::IN {
                patch[i][j] = E::load::<S>(from.add(i * pitch + j * stride));
            }
            patch[i] = C::input::<S>(patch[i]);
        }
        for j in 0..C::READ {
            let mut line = [patch[0][j]; SIDE];
            for i in 0..C::IN {
                line[i] = patch[i][j];
            }
            let line = C::input::<S>(line);
            for i in 0..C::READ {
                patch[i][j] = line[i];
            }
        }
        patch
    }
}

/// Transforms the sums of some tiles back and hands them to the sink.
pub(super) struct Finish<C, E: Element, K> {
    pub(super) grid: TileGrid,
    pub(super) tiles: Range<usize>,
    pub(super) columns: Range<usize>,
    /// `[products][tiles][columns]`, and sums from a product to the next.
    pub(super) sums: (*const E::Sum, usize),
    pub(super) sink: K,
    pub(super) scheme: PhantomData<C>,
}

impl<C: Scheme<E>, E: Element, K: Sink<E>> Kernel for Finish<C, E, K> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let width = self.columns.len();
        let (sums, plane) = self.sums;
        for (index, tile) in self.tiles.enumerate() {
            let Position { image, row, column } = self.grid.position(tile);
            let output = |i: usize, j: usize| Position { image, row: row * C::OUT + i, column: column * C::OUT + j };
            for at in (0..width).step_by(S::LANES) {
                // SAFETY: the sums of every product are there; the outputs are this layer's.
                unsafe {
                    let y = outputs::<S, C, E>(sums.add(index * width + at), plane);
                    for i in 0..C::OUT {
                        for j in 0..C::OUT {
                            self.sink.put::<S>(output(i, j), self.columns.start + at, y[i][j]);
                        }
                    }
                }
            }
        }
    }
}

/// A tile's sums, one `plane` after another, transformed.
///
/// # Safety
/// Below `Isa::run` of `S`; the sums must be readable at `from`.
#[inline(always)]
unsafe fn outputs<S: Simd, C: Scheme<E>, E: Element>(from: *const E::Sum, plane: usize) -> [[E::Acc<S>; SIDE]; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut m = [[E::load_sum::<S>(from); SIDE]; SIDE];
        for i in 0..C::PRODUCTS {
            for j in 0..C::PRODUCTS {
                m[i][j] = E::load_sum::<S>(from.add((i * C::PRODUCTS + j) * plane));
            }
            m[i] = C::output::<S>(m[i]);
        }
        for j in 0..C::OUT {
            let mut line = [m[0][j]; SIDE];
            for i in 0..C::PRODUCTS {
                line[i] = m[i][j];
            }
            let line = C::output::<S>(line);
            for i in 0..C::OUT {
                m[i][j] = line[i];
            }
        }
        m
    }
}
