//! One convolution, from maps to a sink, by a scheme and a team.
//!
//! A layer's outputs are a rectangle, tiles by panels of channels, and each thread of a team takes a rectangle of it. Its
//! tiles it takes in groups small enough for the second-level cache. Their inputs are transformed into `[products][tiles]
//! [channels]`; then, panel by panel, every product is computed and its sums are transformed back and handed to the sink
//! while they are in the cache:
//!
//! ```text
//! v = input(d)        m = v u        y = output(m)  ->  sink
//! ```
//!
//! A scheme with several phases does so for each of them.
//!
//! A thread transforms all that it multiplies, although threads that share tiles then do so twice: that is sooner done than
//! waiting for each other and fetching from another core's cache.
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
use crate::simd::{Aligned, Isa, Kernel, Shape, Simd};

/// Bytes of a group's transformed inputs, or a little more.
const INPUTS: usize = 1_200_000;
/// Sums of a group in one panel.
const SUMS: usize = 48 * 1024;
/// Fewest tiles in a group: fewer would wait for the weights.
const LEAST_TILES: usize = 16;

/// Memory of one thread.
pub(super) struct Scratch<E: Number> {
    /// Transformed inputs of a group.
    pub(super) inputs: Aligned<E>,
    /// A widened block of weights.
    pub(super) widened: Aligned<E>,
    /// A group's sums in one panel.
    pub(super) sums: Aligned<E::Sum>,
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

/// How some tiles are cut into groups, and where a group's transformed inputs and sums lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    group: usize,
    /// Numbers from a tile to the next, and from a product to the next.
    row: usize,
    plane: usize,
}

impl Layout {
    /// For up to `tiles` at a time of a layer with `products` and inputs of `stride` channels.
    pub(super) fn new<E: Number>(products: usize, tiles: usize, stride: usize, lanes: usize) -> Self {
        // A register more keeps the rows of a tile out of each other's cache sets.
        let row = stride + lanes * E::PACK;
        let most = (INPUTS / size_of::<E>() / (products * row)).min(SUMS / (products * 2 * lanes)).max(LEAST_TILES);
        let group = tiles.min(most).max(1);
        Layout { group, row, plane: group * row + lanes * E::PACK }
    }

    /// Groups of equal size, none larger than this layout's, for `tiles`.
    fn groups(&self, tiles: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let group = tiles.len().div_ceil(tiles.len().div_ceil(self.group).max(1)).max(1);
        tiles.clone().step_by(group).map(move |first| first..tiles.end.min(first + group))
    }

    /// Numbers of a group's transformed inputs.
    pub(super) fn inputs_len(&self, products: usize) -> usize {
        products * self.plane
    }

    /// Sums of a group in the widest panel.
    pub(super) fn sums_len(&self, products: usize, lanes: usize) -> usize {
        products * sums_plane(self.group, 2 * lanes)
    }
}

/// Sums from a product to the next, for so many tiles and columns. One row is left free: without it the products' sums of a
/// tile would often fall into one cache set.
fn sums_plane(tiles: usize, columns: usize) -> usize {
    (tiles + 1) * columns
}

/// What a panel of weights costs a thread that uses it, before the first tile, in tiles: it comes from afar and is widened.
const PANEL_COST: usize = 2;
/// How often a tile could be fetched, perhaps from another core, and transformed while it is multiplied with one panel.
const FETCHES_OF_PRODUCT: usize = 2;

/// The tiles and panels of one member of a team: the whole is cut into columns and rows so that the last to finish is early.
fn part_of(member: Member<'_>, tiles: usize, panels: usize) -> (Range<usize>, Range<usize>) {
    let cost = |across: usize| {
        let (tiles, panels) = (tiles.div_ceil(member.size / across), panels.div_ceil(across));
        FETCHES_OF_PRODUCT * panels * (tiles + PANEL_COST) + tiles
    };
    // Few tiles to a thread are better than few panels at the same cost: less is transformed twice.
    let across = (1..=member.size.min(panels)).min_by_key(|across| cost(*across)).unwrap_or(1);
    let down = member.size / across;
    let cut = |n: usize, part: usize, parts: usize| n * part / parts..n * (part + 1) / parts;
    match member.rank / across {
        row if row < down => (cut(tiles, row, down), cut(panels, member.rank % across, across)),
        _ => (0..0, 0..0),
    }
}

impl<'a, C: Scheme<E>, E: Number> Convolution<'a, C, E> {
    /// Phases of the scheme on each axis.
    const PHASES: usize = C::WEIGHT.len();
    /// Products of a phase.
    pub(super) const PRODUCTS: usize = C::IN * C::IN;

    /// A layer over `input`, whose border must be the scheme's padding.
    pub(super) fn new(isa: Isa, weights: &'a Packed, input: MapView<E>, images: usize) -> Self {
        debug_assert_eq!(input.shape.border, C::PAD);
        let tiles = TileGrid { images, side: input.shape.side / C::STEP };
        Convolution { isa, weights, input, tiles, scheme: PhantomData }
    }

    /// Computes the layer. A thread returns when its own part is done; the team must meet before the outputs are read.
    ///
    /// # Safety
    /// `isa` must be one of this machine's; `scratch` must have the room that [`Layout`] asks for; all members of the team, and
    /// nobody else, must call this with the same layer; the sink must take all of the layer's outputs.
    pub(super) unsafe fn run(&self, member: Member<'_>, scratch: &mut Scratch<E>, sink: impl Sink<E>) {
        let (tiles, panels) = part_of(member, self.tiles.len(), self.weights.panels());
        let stride = self.input.shape.stride;
        let layout = Layout::new::<E>(Self::PRODUCTS, tiles.len(), stride, self.isa.lanes());
        for group in layout.groups(tiles) {
            for phase in Phase::all(Self::PHASES) {
                // SAFETY: the caller's machine and memory; each part of the outputs is written by one thread.
                unsafe {
                    let inputs = self.transform(phase, group.clone(), layout, &mut scratch.inputs);
                    for panel in panels.clone() {
                        self.multiply(panel, (phase, group.clone()), inputs, scratch, sink);
                    }
                }
            }
        }
    }

    /// A group's transformed inputs, and numbers from a tile to the next and from a product to the next.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn transform(
        &self,
        phase: Phase,
        tiles: Range<usize>,
        layout: Layout,
        memory: &mut [E],
    ) -> (*const E, usize, usize) {
        if C::IN == 1 {
            let (image, y, x) = self.tiles.place(tiles.start);
            // SAFETY: the first tile's pixel; without a border the next ones follow it.
            return (unsafe { self.input.bordered(image, y, x) }.cast_const(), self.input.shape.stride, 0);
        }
        assert!(memory.len() >= layout.inputs_len(Self::PRODUCTS), "memory for transformed inputs");
        let to = (memory.as_mut_ptr(), layout.row, layout.plane);
        let (input, grid) = (self.input, self.tiles);
        // SAFETY: the caller's machine; there is room.
        unsafe { self.isa.run(Transform::<C, E> { input, grid, tiles, phase, to, scheme: PhantomData }) };
        (to.0.cast_const(), layout.row, layout.plane)
    }

    /// Multiplies a group's transformed inputs with a panel, and hands a phase's outputs on.
    ///
    /// # Safety
    /// As for `run`, with complete inputs.
    unsafe fn multiply(
        &self,
        panel: usize,
        (phase, tiles): (Phase, Range<usize>),
        (v, row, plane): (*const E, usize, usize),
        scratch: &mut Scratch<E>,
        sink: impl Sink<E>,
    ) {
        let columns = self.weights.panel_columns(panel);
        let sums_plane = sums_plane(tiles.len(), columns.len());
        assert!(scratch.sums.len() >= Self::PRODUCTS * sums_plane, "memory for the sums");
        let sums = scratch.sums.as_mut_ptr();
        let first = phase.number(Self::PHASES) * Self::PRODUCTS;
        for product in 0..Self::PRODUCTS {
            // SAFETY: rows and sums of this product lie in their memory.
            unsafe {
                self.isa.run(Product {
                    a: (v.add(product * plane), row),
                    rows: tiles.len(),
                    weights: self.weights.panel(panel, first + product),
                    depth: self.weights.depth(),
                    widened: &mut scratch.widened,
                    c: (sums.add(product * sums_plane), columns.len()),
                });
            }
        }
        let sums = (sums.cast_const(), sums_plane);
        let work = Finish::<C, E, _> { grid: self.tiles, tiles, phase, columns, sums, sink, scheme: PhantomData };
        // SAFETY: the sums are complete, and the sink takes these outputs from this thread alone.
        unsafe { self.isa.run(work) };
    }
}

/// One of a scheme's phases on each axis.
#[derive(Clone, Copy)]
struct Phase {
    down: usize,
    across: usize,
}

impl Phase {
    fn all(phases: usize) -> impl Iterator<Item = Phase> {
        (0..phases * phases).map(move |number| Phase { down: number / phases, across: number % phases })
    }

    fn number(self, phases: usize) -> usize {
        self.down * phases + self.across
    }
}

/// Transforms the inputs of some tiles.
struct Transform<C, E> {
    input: MapView<E>,
    grid: TileGrid,
    tiles: Range<usize>,
    phase: Phase,
    /// Memory, and numbers from a tile to the next and from a product to the next.
    to: (*mut E, usize, usize),
    scheme: PhantomData<C>,
}

impl<C: Scheme<E>, E: Number> Kernel for Transform<C, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let (to, to_row, plane) = self.to;
        let stride = self.input.shape.stride;
        let pitch = (self.input.shape.side + 2 * self.input.shape.border) * stride;
        for (index, tile) in self.tiles.enumerate() {
            let (image, row, column) = self.grid.place(tile);
            // SAFETY: the tile's patch lies inside the bordered map, and its row inside every product's memory.
            unsafe {
                let (row, column) = (row * C::STEP + self.phase.down, column * C::STEP + self.phase.across);
                let from = self.input.bordered(image, row, column).cast_const();
                let to = to.add(index * to_row);
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
    phase: Phase,
    columns: Range<usize>,
    /// `[products][tiles][columns]`, and sums from a product to the next.
    sums: (*const E::Sum, usize),
    sink: K,
    scheme: PhantomData<C>,
}

impl<C: Scheme<E>, E: Number, K: Sink<E>> Kernel for Finish<C, E, K> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let width = self.columns.len();
        let (sums, plane) = self.sums;
        for (index, tile) in self.tiles.enumerate() {
            let (image, row, column) = self.grid.place(tile);
            let place = |i: usize, j: usize| {
                let (row, column) = (row * C::OUT + i, column * C::OUT + j);
                (image, row * C::WEIGHT.len() + self.phase.down, column * C::WEIGHT.len() + self.phase.across)
            };
            for at in (0..width).step_by(S::LANES) {
                // SAFETY: the sums of every product are there; the outputs are this layer's.
                unsafe {
                    let y = outputs::<S, C, E>(sums.add(index * width + at), plane);
                    for i in 0..C::OUT {
                        for j in 0..C::OUT {
                            self.sink.put::<S>(place(i, j), self.columns.start + at, y[i][j]);
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
