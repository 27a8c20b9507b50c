//! One convolution of a training step, forward and backward, by any [`Scheme`] on channels-last [`Map`]s.
//!
//! Tiles of a few images at a time are transformed into scratch memory `[products][tiles][channels]`, multiplied product by
//! product ([`super::gemm`]), and transformed back. With `d`, `w`, `y` the inputs, weights and outputs of a tile,
//!
//! ```text
//! forward    v = In(d),  m = v u,        y = Out(m)                        u = Weight(w), packed
//! backward   h = Out'(dy),  dv = h u',  dd = In'(dv),  du = v' h           summed over tiles; dw = Weight'(du)
//! ```
//!
//! Outputs and input gradients of an image are computed by one task, whatever the division into tasks. The sum `du` is cut
//! into pieces whose number and order depend on shapes alone.

mod backward;
mod forward;
mod patch;

use std::marker::PhantomData;

use rayon::prelude::*;

use super::factor::Factor;
use super::map::Map;
use super::packed::Packed;
use super::scheme::{Linear, Scheme};
use super::scratch;
use super::share::Disjoint;
use super::source::{Sink, Source};
use backward::Backward;
use forward::Forward;
use prism_core::simd::Isa;

/// Tiles that a matrix product should at least have, or it would wait for the weights.
const LEAST_TILES: usize = 64;
/// Floats of scratch that a task may fill beyond that: about half a second-level cache.
const SCRATCH: usize = 1 << 18;
/// Floats of all pieces of a weight gradient.
const PIECES_LEN: usize = 1 << 23;

/// The shapes of one layer.
#[derive(Clone, Copy, Debug)]
pub struct ConvLayer<C> {
    /// Instruction set of the kernels.
    pub isa: Isa,
    /// What goes in.
    pub input: Map,
    /// What comes out.
    pub output: Map,
    scheme: PhantomData<C>,
}

/// Transformed tiles of some images: matrices `[tiles, channels]`. Smaller numbers than floats take the first part of the
/// memory.
struct Tiles<'a> {
    /// Of inputs, one for each that products read.
    v: &'a mut [f32],
    /// Numbers from one matrix to the next.
    v_plane: usize,
    /// Of outputs, one for each product.
    m: &'a mut [f32],
    m_plane: usize,
}

impl Tiles<'_> {
    fn reborrow(&mut self) -> Tiles<'_> {
        Tiles { v: self.v, v_plane: self.v_plane, m: self.m, m_plane: self.m_plane }
    }
}

impl<C: Scheme> ConvLayer<C> {
    /// A layer from `input` to `outputs` channels.
    pub fn new(isa: Isa, input: Map, outputs: usize) -> Self {
        let side = |n: usize| n * C::OUT / C::STEP;
        let output = input.with((side(input.height), side(input.width)), outputs, isa.lanes());
        ConvLayer { isa, input, output, scheme: PhantomData }
    }

    /// Tiles along both axes.
    fn tiles(&self) -> (usize, usize) {
        (self.output.height.div_ceil(C::OUT), self.output.width.div_ceil(C::OUT))
    }

    /// Tiles of one image.
    pub fn tiles_per_image(&self) -> usize {
        self.tiles().0 * self.tiles().1
    }

    const PRODUCTS: usize = C::PRODUCTS * C::PRODUCTS;
    /// Transformed inputs of a tile.
    const READ: usize = C::Input::TO * C::Input::TO;

    /// The number of the transformed input that product `p` reads, and whether an earlier product reads it, too.
    fn reads(p: usize) -> (usize, bool) {
        let axis = |i: usize| (C::READS[i], C::READS[..i].contains(&C::READS[i]));
        let ((row, again), (column, too)) = (axis(p / C::PRODUCTS), axis(p % C::PRODUCTS));
        (row * C::Input::TO + column, again || too)
    }

    /// Memory for the transformed tiles of so many images.
    fn with_tiles<R>(&self, images: usize, work: impl FnOnce(Tiles<'_>) -> R) -> R {
        let tiles = images * self.tiles_per_image();
        let (v_plane, m_plane) = (Self::plane(tiles, self.input.stride), Self::plane(tiles, self.output.stride));
        scratch::with(Self::READ * v_plane + Self::PRODUCTS * m_plane, |memory| {
            let (v, m) = memory.split_at_mut(Self::READ * v_plane);
            work(Tiles { v, v_plane, m, m_plane })
        })
    }

    /// Floats from one product's matrix to the next, an odd number of cache lines so that they do not share cache sets.
    fn plane(tiles: usize, stride: usize) -> usize {
        (tiles * stride).next_multiple_of(32) + 16
    }

    /// Images that a task takes at a time.
    fn chunk(&self) -> usize {
        let per_tile = Self::READ * self.input.stride + Self::PRODUCTS * self.output.stride;
        let tiles = (SCRATCH / per_tile).max(LEAST_TILES);
        (tiles / self.tiles_per_image().max(1)).clamp(1, self.input.batch.max(1))
    }

    /// Images of a task where results do not depend on it: at most [`ConvLayer::chunk`], and as many tasks for every thread.
    fn images_per_task(&self) -> usize {
        let least = self.input.batch.div_ceil(self.chunk()).max(1);
        self.input.batch.div_ceil(least.next_multiple_of(rayon::current_num_threads())).max(1)
    }

    /// Images of each piece of the weight gradient.
    fn images_per_piece(&self) -> usize {
        let batch = self.input.batch;
        let pieces = (PIECES_LEN / self.gradient_len().max(1)).clamp(4, 16);
        let enough = LEAST_TILES / self.tiles_per_image().max(1);
        batch.div_ceil(pieces).max(enough.min(batch.div_ceil(4))).max(1)
    }

    /// Floats of one piece of the weight gradient: `[products, I, O padded]`.
    pub fn gradient_len(&self) -> usize {
        Self::PRODUCTS * self.input.channels * self.output.stride
    }

    /// Floats of all pieces of the weight gradient.
    pub fn pieces_len(&self) -> usize {
        self.input.batch.div_ceil(self.images_per_piece()) * self.gradient_len()
    }

    /// Convolves `x` into `y`; `done` is called for each image when its outputs are complete.
    pub fn forward<T: Factor>(&self, x: impl Source, weights: &Packed<T>, y: impl Sink, done: impl Fn(usize) + Sync) {
        let batch = self.input.batch;
        let images = self.images_per_task();
        (0..batch.div_ceil(images)).into_par_iter().for_each(|task| {
            let first = task * images;
            let images = (first, images.min(batch - first));
            self.with_tiles(images.1, |tiles| {
                let work = Forward { layer: *self, x, weights: &weights.forward, y, images, tiles };
                // SAFETY: `isa` is one of this machine's; every image is written by one task.
                unsafe { self.isa.run(work) };
            });
            (first..first + images.1).for_each(&done);
        });
    }

    /// Given the gradient `dy` of the outputs, writes that of the inputs to `dx` (every float of it), and that of the weights
    /// to `pieces`, where wanted. `done` is called with each image's number and input gradient, when that is complete.
    ///
    /// # Panics
    /// If `dx` or `pieces` has the wrong length.
    pub fn backward(
        &self,
        sources: (impl Source, impl Source),
        weights: &Packed,
        dx: &mut [f32],
        pieces: Option<&mut [f32]>,
        done: impl Fn(usize, &[f32]) + Sync,
    ) {
        self.gradients(sources, &weights.backward, dx, pieces, done);
    }

    /// Given the gradient `dy` of the outputs, writes that of the inputs to `dx` (every float of it), by products of `T`.
    ///
    /// # Panics
    /// If `dx` has the wrong length.
    pub fn input_gradient<T: Factor>(&self, dy: impl Source, weights: &Packed<T>, dx: &mut [f32]) {
        self.gradients((dy, dy), &weights.backward, dx, None, |_, _| ());
    }

    /// [`ConvLayer::backward`] by products of `T`; `pieces` only where that is `f32`.
    fn gradients<T: Factor>(
        &self,
        (x, dy): (impl Source, impl Source),
        weights: &[T],
        dx: &mut [f32],
        pieces: Option<&mut [f32]>,
        done: impl Fn(usize, &[f32]) + Sync,
    ) {
        assert_eq!(dx.len(), self.input.len(), "a gradient for every input");
        let batch = self.input.batch;
        let dx = Disjoint::new(dx);
        let task = |images: std::ops::Range<usize>, mut sums: Option<&mut [f32]>| {
            self.with_tiles(self.chunk().min(images.len()), |mut tiles| {
                let mut accumulate = false;
                for first in images.clone().step_by(self.chunk()) {
                    let images = (first, self.chunk().min(images.end - first));
                    let sums = sums.as_deref_mut().map(|sums| (sums, accumulate));
                    accumulate = true;
                    let work = Backward { layer: *self, x, dy, weights, dx, sums, images, tiles: tiles.reborrow() };
                    // SAFETY: `isa` is one of this machine's; every image is written by one task.
                    unsafe { self.isa.run(work) };
                    for image in first..first + images.1 {
                        // SAFETY: as above, and the task has finished this image.
                        done(image, unsafe { dx.part(image * self.input.image_len(), self.input.image_len()) });
                    }
                }
            });
        };
        match pieces {
            Some(pieces) => {
                assert_eq!(pieces.len(), self.pieces_len(), "room for every piece");
                let images = self.images_per_piece();
                pieces.par_chunks_exact_mut(self.gradient_len()).enumerate().for_each(|(piece, sums)| {
                    task(piece * images..batch.min((piece + 1) * images), Some(sums));
                });
            }
            None => {
                let images = self.images_per_task();
                (0..batch.div_ceil(images)).into_par_iter().for_each(|task_index| {
                    task(task_index * images..batch.min((task_index + 1) * images), None);
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
