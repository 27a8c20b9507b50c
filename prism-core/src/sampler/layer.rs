//! One convolution, from maps to a sink, by a scheme and a team.
//!
//! Tiles are taken in groups small enough for the second-level cache. Their inputs are transformed into `[products][tiles]
//! [channels]`; then, panel by panel of output channels, every product is computed and its sums are transformed back and
//! handed to the sink while they are in the cache:
//!
//! ```text
//! v = input(d)        m = v u        y = output(m)  ->  sink
//! ```
//!
//! The result of a tile does not depend on the group or on who computes it.

#![expect(clippy::needless_range_loop, reason = "rows and columns of a patch are numbers first, indices second")]

use std::marker::PhantomData;
use std::ops::Range;

use super::maps::MapView;
use super::number::Number;
use super::product::Product;
use super::scheme::{SIDE, Scheme};
use super::sink::Sink;
use super::team::Member;
use super::weights::Packed;
use crate::simd::{Isa, Kernel, Shape, Simd};

/// Bytes of a group's transformed inputs, or a little more.
const INPUTS: usize = 1_200_000;
/// Sums of a group in one panel.
const SUMS: usize = 48 * 1024;
/// Fewest tiles in a group: fewer would wait for the weights.
const LEAST_TILES: usize = 16;

/// Memory of a team: the transformed inputs.
pub(super) struct Shared<E>(pub(super) *mut E);

// SAFETY: a pointer to numbers; who dereferences it answers for what other threads do.
unsafe impl<E: Number> Sync for Shared<E> {}

/// Memory of one thread.
pub(super) struct Scratch<E: Number> {
    pub(super) widened: Vec<E>,
    pub(super) sums: Vec<E::Sum>,
}

/// A layer and what it reads.
#[derive(Clone, Copy)]
pub(super) struct Convolution<'a, C, E> {
    isa: Isa,
    weights: &'a Packed,
    input: MapView<E>,
    tiles: TileGrid,
    scheme: PhantomData<fn() -> C>,
}

/// Tiles of some images, numbered row by row and image by image.
#[derive(Clone, Copy)]
pub(super) struct TileGrid {
    images: usize,
    /// Tiles along each axis.
    side: usize,
}

impl TileGrid {
    fn len(&self) -> usize {
        self.images * self.side * self.side
    }

    /// Image, row and column of a tile.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        (tile / (self.side * self.side), tile / self.side % self.side, tile % self.side)
    }
}

/// How a layer is cut into groups, and where a group's transformed inputs lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    group: usize,
    /// Numbers from a tile to the next, and from a product to the next.
    row: usize,
    plane: usize,
}

impl Layout {
    /// For `tiles` of a layer with `products` and inputs of `stride` channels.
    pub(super) fn new<E: Number>(products: usize, tiles: usize, stride: usize, lanes: usize) -> Self {
        // A register more keeps the rows of a tile out of each other's cache sets.
        let row = stride + lanes * E::PACK;
        let most = (INPUTS / size_of::<E>() / (products * row)).min(SUMS / (products * 2 * lanes)).max(LEAST_TILES);
        let group = tiles.div_ceil(tiles.div_ceil(most).max(1)).max(1);
        Layout { group, row, plane: group * row + lanes * E::PACK }
    }

    /// Numbers of a group's transformed inputs.
    pub(super) fn inputs_len(&self, products: usize) -> usize {
        products * self.plane
    }

    /// Sums of a group in the widest panel.
    pub(super) fn sums_len(&self, products: usize, lanes: usize) -> usize {
        products * self.group * 2 * lanes
    }
}

impl<'a, C: Scheme<E>, E: Number> Convolution<'a, C, E> {
    /// Products of the scheme.
    pub(super) const PRODUCTS: usize = C::IN * C::IN;

    /// A layer over `input`, whose border must be the scheme's padding.
    pub(super) fn new(isa: Isa, weights: &'a Packed, input: MapView<E>, images: usize) -> Self {
        debug_assert_eq!(input.shape.border, C::PAD);
        let tiles = TileGrid { images, side: input.shape.side / C::STEP };
        Convolution { isa, weights, input, tiles, scheme: PhantomData }
    }

    /// Computes the layer. A thread returns when its own part is done; the team must meet before the outputs are read.
    ///
    /// `inputs` is memory of the team for two groups where it has several threads, one otherwise.
    ///
    /// # Safety
    /// `isa` must be one of this machine's; `inputs` must have the room that [`Layout`] asks for; all members of the team, and
    /// nobody else, must call this with the same layer; the sink must take all of the layer's outputs.
    pub(super) unsafe fn run(
        &self,
        member: Member<'_>,
        inputs: &Shared<E>,
        scratch: &mut Scratch<E>,
        sink: impl Sink<E>,
    ) {
        let tiles = self.tiles.len();
        let layout = Layout::new::<E>(Self::PRODUCTS, tiles, self.input.shape.stride, self.isa.lanes());
        for (number, first) in (0..tiles).step_by(layout.group).enumerate() {
            let group = first..tiles.min(first + layout.group);
            let (v, row, plane) = if C::IN == 1 {
                let (image, y, x) = self.tiles.place(first);
                // SAFETY: the first tile's pixel; without a border the next ones follow it.
                (unsafe { self.input.bordered(image, y, x) }, self.input.shape.stride, 0)
            } else {
                let half = if member.size > 1 { number % 2 * layout.inputs_len(Self::PRODUCTS) } else { 0 };
                // SAFETY: the caller's room.
                let v = unsafe { inputs.0.add(half) };
                let part = member.part(group.len());
                let part = first + part.start..first + part.end;
                let to = (v, layout.row, layout.plane, first);
                let work =
                    Transform::<C, E> { input: self.input, grid: self.tiles, tiles: part, to, scheme: PhantomData };
                // SAFETY: the caller's machine and room; each tile is written by one thread.
                unsafe { self.isa.run(work) };
                member.meet();
                (v, layout.row, layout.plane)
            };
            // SAFETY: the group's inputs are complete; each part of the outputs is written by one thread.
            unsafe { self.multiply(member, group, (v, row, plane), scratch, sink) };
        }
    }

    /// Multiplies a group's transformed inputs with all panels, and hands the outputs on.
    ///
    /// # Safety
    /// As for `run`, with complete inputs.
    unsafe fn multiply(
        &self,
        member: Member<'_>,
        group: Range<usize>,
        (v, row, plane): (*const E, usize, usize),
        scratch: &mut Scratch<E>,
        sink: impl Sink<E>,
    ) {
        let panels = self.weights.panels();
        // Where a team has more threads than panels, each panel's tiles are shared, too.
        let shares = member.size.div_ceil(panels).min(group.len());
        for item in member.turns(panels * shares) {
            let (panel, share) = (item / shares, item % shares);
            let part = group.len() * share / shares..group.len() * (share + 1) / shares;
            let columns = self.weights.panel_columns(panel);
            let sums = (scratch.sums.as_mut_ptr(), columns.len(), part.len() * columns.len());
            assert!(scratch.sums.len() >= Self::PRODUCTS * sums.2, "memory for the sums");
            for product in 0..Self::PRODUCTS {
                // SAFETY: rows and sums of this product lie in their memory.
                unsafe {
                    self.isa.run(Product {
                        a: (v.add(product * plane + part.start * row), row),
                        rows: part.len(),
                        weights: self.weights.panel(panel, product),
                        next: self.weights.after(panel, product),
                        depth: self.weights.depth(),
                        widened: &mut scratch.widened,
                        c: (sums.0.add(product * sums.2), sums.1),
                    });
                }
            }
            let tiles = group.start + part.start..group.start + part.end;
            let work = Finish::<C, E, _> { grid: self.tiles, tiles, columns, sums: sums.0, sink, scheme: PhantomData };
            // SAFETY: the sums are complete, and the sink takes these outputs from this thread alone.
            unsafe { self.isa.run(work) };
        }
    }
}

/// Transforms the inputs of some tiles.
struct Transform<C, E> {
    input: MapView<E>,
    grid: TileGrid,
    tiles: Range<usize>,
    /// Memory, numbers from a tile to the next and from a product to the next, and the first tile in it.
    to: (*mut E, usize, usize, usize),
    scheme: PhantomData<C>,
}

impl<C: Scheme<E>, E: Number> Kernel for Transform<C, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let (to, to_row, plane, first) = self.to;
        let stride = self.input.shape.stride;
        let pitch = (self.input.shape.side + 2 * self.input.shape.border) * stride;
        for tile in self.tiles {
            let (image, row, column) = self.grid.place(tile);
            // SAFETY: the tile's patch lies inside the bordered map, and its row inside every product's memory.
            unsafe {
                let from = self.input.bordered(image, row * C::STEP, column * C::STEP).cast_const();
                let to = to.add((tile - first) * to_row);
                for channel in (0..stride).step_by(S::LANES * E::PACK) {
                    let patch = read::<S, C, E>(from.add(channel), (pitch, stride));
                    for i in 0..C::IN {
                        for j in 0..C::IN {
                            E::store::<S>(to.add((i * C::IN + j) * plane + channel), patch[i][j]);
                        }
                    }
                }
            }
        }
    }
}

/// A patch of `IN` by `IN` pixels, transformed.
///
/// # Safety
/// Below `Isa::run` of `S`; the pixels must be readable at `from`.
#[inline(always)]
unsafe fn read<S: Simd, C: Scheme<E>, E: Number>(
    from: *const E,
    (pitch, stride): (usize, usize),
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
        for j in 0..C::IN {
            let mut line = [patch[0][j]; SIDE];
            for i in 0..C::IN {
                line[i] = patch[i][j];
            }
            let line = C::input::<S>(line);
            for i in 0..C::IN {
                patch[i][j] = line[i];
            }
        }
        patch
    }
}

/// Transforms the sums of some tiles back and hands them to the sink.
struct Finish<C, E: Number, K> {
    grid: TileGrid,
    tiles: Range<usize>,
    columns: Range<usize>,
    /// `[products][tiles][columns]`.
    sums: *const E::Sum,
    sink: K,
    scheme: PhantomData<C>,
}

impl<C: Scheme<E>, E: Number, K: Sink<E>> Kernel for Finish<C, E, K> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let width = self.columns.len();
        let plane = self.tiles.len() * width;
        for (index, tile) in self.tiles.enumerate() {
            let (image, row, column) = self.grid.place(tile);
            for at in (0..width).step_by(S::LANES) {
                // SAFETY: the sums of every product are there; the outputs are this layer's.
                unsafe {
                    let y = outputs::<S, C, E>(self.sums.add(index * width + at), plane);
                    for i in 0..C::OUT {
                        for j in 0..C::OUT {
                            let place = (image, row * C::OUT + i, column * C::OUT + j);
                            self.sink.put::<S>(place, self.columns.start + at, y[i][j]);
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
unsafe fn outputs<S: Simd, C: Scheme<E>, E: Number>(from: *const E::Sum, plane: usize) -> [[E::Acc<S>; SIDE]; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut m = [[E::load_sum::<S>(from); SIDE]; SIDE];
        for i in 0..C::IN {
            for j in 0..C::IN {
                m[i][j] = E::load_sum::<S>(from.add((i * C::IN + j) * plane));
            }
            m[i] = C::output::<S>(m[i]);
        }
        for j in 0..C::OUT {
            let mut line = [m[0][j]; SIDE];
            for i in 0..C::IN {
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

#[cfg(test)]
mod tests;
