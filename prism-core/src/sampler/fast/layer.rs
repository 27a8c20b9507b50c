//! One convolution, from maps to a sink, by a scheme and a team.
//!
//! A layer's outputs are a rectangle, tiles by panels of channels, and each thread of a team takes a rectangle of it.
//! Its tiles it takes in groups small enough for the second-level cache. Their inputs are transformed into
//! `[inputs read][tiles] [channels]`; then, panel by panel, every product is computed and its sums are transformed back
//! and handed to the sink while they are in the cache:
//!
//! ```text
//! v = input(d)        m = v u        y = output(m)  ->  sink
//! ```
//!
//! A thread transforms all that it multiplies, although threads that share tiles then do so twice: that is sooner done
//! than waiting for each other and fetching from another core's cache.
//!
//! The result of a tile does not depend on the group or on who computes it.

mod patch;
mod tiles;

use std::marker::PhantomData;
use std::ops::Range;

pub(super) use tiles::GroupLayout;

use super::product::Product;
use super::sink::Sink;
use super::team::Member;
use super::weights::Packed;
use crate::sampler::element::Element;
use crate::sampler::maps::MapView;
use crate::sampler::scheme::Scheme;
use crate::simd::{Aligned, Isa};
use patch::{Finish, Transform, Transformed};
use tiles::{TileGrid, part_of, sums_plane};

/// Memory of one thread.
pub(super) struct Scratch<E: Element> {
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

impl<'a, C: Scheme<E>, E: Element> Convolution<'a, C, E> {
    /// Products of a tile.
    const PRODUCTS: usize = C::PRODUCTS * C::PRODUCTS;
    /// Transformed inputs of a tile.
    const INPUTS: usize = C::READ * C::READ;
    /// Transformed inputs and products of a tile.
    pub(super) const SIZES: (usize, usize) = (Self::INPUTS, Self::PRODUCTS);

    /// A layer over `input`, whose border must be the scheme's padding.
    pub(super) fn new(isa: Isa, weights: &'a Packed, input: MapView<E>, images: usize) -> Self {
        debug_assert_eq!(input.shape.border, C::PAD);
        let tiles = TileGrid { images, side: input.shape.side / C::STEP };
        Convolution { isa, weights, input, tiles, scheme: PhantomData }
    }

    /// Computes the layer. A thread returns when its own part is done; the team must meet before the outputs are read.
    ///
    /// # Safety
    /// `isa` must be one of this machine's; `scratch` must have the room that [`GroupLayout`] asks for; all members of
    /// the team, and nobody else, must call this with the same layer; the sink must take all of the layer's outputs.
    pub(super) unsafe fn run(&self, member: Member<'_>, scratch: &mut Scratch<E>, sink: impl Sink<E>) {
        let (tiles, panels) = part_of(member, self.tiles.len(), self.weights.panels());
        let stride = self.input.shape.stride;
        let layout = GroupLayout::new::<E>(Self::PRODUCTS, tiles.len(), stride, self.isa.lanes());
        for group in layout.groups(tiles) {
            // SAFETY: the caller's machine and memory; each part of the outputs is written by one thread.
            unsafe {
                let inputs = self.transform(group.clone(), layout, &mut scratch.inputs);
                for panel in panels.clone() {
                    self.multiply(panel, group.clone(), inputs, scratch, sink);
                }
            }
        }
    }

    /// A group's transformed inputs.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn transform(&self, tiles: Range<usize>, layout: GroupLayout, memory: &mut [E]) -> Transformed<*const E> {
        if C::IN == 1 {
            // SAFETY: the first tile's pixel; without a border the next ones follow it.
            let base = unsafe { self.input.bordered(self.tiles.position(tiles.start)) }.cast_const();
            return Transformed { base, row: self.input.shape.stride, plane: 0 };
        }
        assert!(memory.len() >= layout.inputs_len(Self::INPUTS), "memory for transformed inputs");
        let GroupLayout { row, plane, .. } = layout;
        let to = Transformed { base: memory.as_mut_ptr(), row, plane };
        let (input, grid) = (self.input, self.tiles);
        // SAFETY: the caller's machine; there is room.
        unsafe { self.isa.run(Transform::<C, E> { input, grid, tiles, to, scheme: PhantomData }) };
        Transformed { base: to.base.cast_const(), row, plane }
    }

    /// Multiplies a group's transformed inputs with a panel, and hands the outputs on.
    ///
    /// # Safety
    /// As for `run`, with complete inputs.
    unsafe fn multiply(
        &self,
        panel: usize,
        tiles: Range<usize>,
        inputs: Transformed<*const E>,
        scratch: &mut Scratch<E>,
        sink: impl Sink<E>,
    ) {
        let columns = self.weights.panel_columns(panel);
        let sums_plane = sums_plane(tiles.len(), columns.len());
        assert!(scratch.sums.len() >= Self::PRODUCTS * sums_plane, "memory for the sums");
        let sums = scratch.sums.as_mut_ptr();
        for product in 0..Self::PRODUCTS {
            let read = C::READS[product / C::PRODUCTS] * C::READ + C::READS[product % C::PRODUCTS];
            // SAFETY: rows and sums of this product lie in their memory.
            unsafe {
                self.isa.run(Product {
                    a: (inputs.base.add(read * inputs.plane), inputs.row),
                    rows: tiles.len(),
                    weights: self.weights.panel(panel, product),
                    depth: self.weights.depth(),
                    widened: &mut scratch.widened,
                    c: (sums.add(product * sums_plane), columns.len()),
                });
            }
        }
        let sums = (sums.cast_const(), sums_plane);
        let work = Finish::<C, E, _> { grid: self.tiles, tiles, columns, sums, sink, scheme: PhantomData };
        // SAFETY: the sums are complete, and the sink takes these outputs from this thread alone.
        unsafe { self.isa.run(work) };
    }
}

#[cfg(test)]
mod tests;
