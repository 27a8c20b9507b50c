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

#![expect(clippy::needless_range_loop, reason = "rows and columns of a patch are numbers first, indices second")]

use std::marker::PhantomData;

use rayon::prelude::*;

use super::gemm::{add_transposed_product, product};
use super::map::Map;
use super::packed::Packed;
use super::scheme::{SIDE, Scheme, both_axes};
use super::scratch;
use super::share::Disjoint;
use super::simd::{Isa, Kernel, Shape, Simd};
use super::source::{Sink, Source};

/// Tiles that a matrix product should at least have, or it would wait for the weights.
const LEAST_TILES: usize = 64;
/// Floats of scratch that a task may fill beyond that: about half a second-level cache.
const SCRATCH: usize = 1 << 18;
/// Floats of all pieces of a weight gradient.
const PIECES_LEN: usize = 1 << 23;

/// The shapes of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer<C> {
    /// Instruction set of the kernels.
    pub isa: Isa,
    /// What goes in.
    pub input: Map,
    /// What comes out.
    pub output: Map,
    scheme: PhantomData<C>,
}

impl<C: Scheme> Layer<C> {
    /// A layer from `input` to `outputs` channels.
    pub fn new(isa: Isa, input: Map, outputs: usize) -> Self {
        let side = |n: usize| n * C::OUT / C::STEP;
        let output = input.with((side(input.height), side(input.width)), outputs, isa.lanes());
        Layer { isa, input, output, scheme: PhantomData }
    }

    /// Tiles along both axes.
    fn tiles(&self) -> (usize, usize) {
        (self.output.height.div_ceil(C::OUT), self.output.width.div_ceil(C::OUT))
    }

    /// Tiles of one image.
    pub fn tiles_per_image(&self) -> usize {
        self.tiles().0 * self.tiles().1
    }

    const PRODUCTS: usize = C::IN * C::IN;

    /// Floats from one product's matrix to the next, an odd number of cache lines so that they do not share cache sets.
    fn plane(tiles: usize, stride: usize) -> usize {
        (tiles * stride).next_multiple_of(32) + 16
    }

    /// Images that a task takes at a time.
    fn chunk(&self) -> usize {
        let per_tile = Self::PRODUCTS * (self.input.stride + self.output.stride);
        let tiles = (SCRATCH / per_tile).max(LEAST_TILES);
        (tiles / self.tiles_per_image().max(1)).clamp(1, self.input.batch.max(1))
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
    pub fn forward(&self, x: impl Source, weights: &Packed, y: impl Sink, done: impl Fn(usize) + Sync) {
        let batch = self.input.batch;
        let images = self.chunk().min(batch.div_ceil(rayon::current_num_threads())).max(1);
        let tiles = images * self.tiles_per_image();
        let (v_plane, m_plane) = (Self::plane(tiles, self.input.stride), Self::plane(tiles, self.output.stride));
        (0..batch.div_ceil(images)).into_par_iter().for_each(|task| {
            let first = task * images;
            let images = (first, images.min(batch - first));
            scratch::with(Self::PRODUCTS * (v_plane + m_plane), |memory| {
                let (v, m) = memory.split_at_mut(Self::PRODUCTS * v_plane);
                let weights = &weights.forward;
                let work = Forward { layer: *self, x, weights, y, images, v, m, planes: (v_plane, m_plane) };
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
        (x, dy): (impl Source, impl Source),
        weights: &Packed,
        dx: &mut [f32],
        pieces: Option<&mut [f32]>,
        done: impl Fn(usize, &[f32]) + Sync,
    ) {
        assert_eq!(dx.len(), self.input.len(), "a gradient for every input");
        let (batch, tiles) = (self.input.batch, self.chunk() * self.tiles_per_image());
        let planes = (Self::plane(tiles, self.input.stride), Self::plane(tiles, self.output.stride));
        let dx = Disjoint::new(dx);
        let task = |images: std::ops::Range<usize>, mut sums: Option<&mut [f32]>| {
            if let Some(sums) = &mut sums {
                sums.fill(0.0);
            }
            scratch::with(Self::PRODUCTS * (planes.0 + planes.1), |memory| {
                let (v, m) = memory.split_at_mut(Self::PRODUCTS * planes.0);
                for first in images.clone().step_by(self.chunk()) {
                    let images = (first, self.chunk().min(images.end - first));
                    let (v, m, sums) = (&mut *v, &mut *m, sums.as_deref_mut());
                    let work = Backward { layer: *self, x, dy, weights, dx, sums, images, v, m, planes };
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
                let images = self.chunk().min(batch.div_ceil(rayon::current_num_threads())).max(1);
                (0..batch.div_ceil(images)).into_par_iter().for_each(|task_index| {
                    task(task_index * images..batch.min((task_index + 1) * images), None);
                });
            }
        }
    }
}

/// Reads a `side x side` patch whose first pixel is `(row, column)` of the map, with zeros outside.
///
/// # Safety
/// Below `Isa::run` of `S`; the image and the channels must exist.
#[inline(always)]
unsafe fn patch<S: Simd, X: Source>(
    x: &X,
    map: Map,
    (image, row, column): (usize, isize, isize),
    channel: usize,
    side: usize,
) -> [[S::V; SIDE]; SIDE] {
    // SAFETY: only pixels inside the map are read.
    unsafe {
        let mut patch = [[S::splat(0.0); SIDE]; SIDE];
        for i in 0..side {
            let y = row + i as isize;
            if y < 0 || y >= map.height as isize {
                continue;
            }
            for j in 0..side {
                let at = column + j as isize;
                if at >= 0 && at < map.width as isize {
                    patch[i][j] = x.load::<S>(image, y as usize * map.width + at as usize, channel);
                }
            }
        }
        patch
    }
}

/// Stores a transformed patch: one vector in each product's matrix.
///
/// # Safety
/// Below `Isa::run` of `S`; `at` and the vector after it must lie inside every plane.
#[inline(always)]
unsafe fn spread<S: Simd>(patch: &[[S::V; SIDE]; SIDE], side: usize, to: *mut f32, plane: usize, at: usize) {
    for i in 0..side {
        for j in 0..side {
            // SAFETY: the caller's promise.
            unsafe { S::store(to.add((i * side + j) * plane + at), patch[i][j]) };
        }
    }
}

/// The opposite of [`spread`].
///
/// # Safety
/// As for `spread`.
#[inline(always)]
unsafe fn collect<S: Simd>(side: usize, from: *const f32, plane: usize, at: usize) -> [[S::V; SIDE]; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut patch = [[S::splat(0.0); SIDE]; SIDE];
        for i in 0..side {
            for j in 0..side {
                patch[i][j] = S::load(from.add((i * side + j) * plane + at));
            }
        }
        patch
    }
}

/// The first pixel of the input patch of tile `(row, column)`.
#[inline(always)]
fn input_corner<C: Scheme>(image: usize, row: usize, column: usize) -> (usize, isize, isize) {
    let at = |tile: usize| (tile * C::STEP) as isize - C::PAD as isize;
    (image, at(row), at(column))
}

/// Transforms the input patches of some images into `v`.
///
/// # Safety
/// Below `Isa::run` of `S`; `v` must hold the layer's products of these images' tiles.
#[inline(always)]
unsafe fn transform_inputs<S: Simd, C: Scheme, X: Source>(
    layer: &Layer<C>,
    x: &X,
    (first, count): (usize, usize),
    v: &mut [f32],
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
                        spread::<S>(&d, C::IN, v.as_mut_ptr(), plane, tile * layer.input.stride + channel);
                    }
                }
                tile += 1;
            }
        }
    }
}

struct Forward<'a, C, X, Y> {
    layer: Layer<C>,
    x: X,
    weights: &'a [f32],
    y: Y,
    /// First, and how many.
    images: (usize, usize),
    v: &'a mut [f32],
    m: &'a mut [f32],
    planes: (usize, usize),
}

impl<C: Scheme, X: Source, Y: Sink> Kernel for Forward<'_, C, X, Y> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let Layer { input, output, .. } = self.layer;
        let tiles = self.images.1 * self.layer.tiles_per_image();
        // SAFETY: below `Isa::run` of `S`; scratch planes hold these images' tiles, packed weights the layer's matrices.
        unsafe {
            transform_inputs::<S, C, X>(&self.layer, &self.x, self.images, self.v, self.planes.0);
            for p in 0..Layer::<C>::PRODUCTS {
                let u = self.weights[p * input.channels * output.stride..].as_ptr();
                product::<S>(
                    (tiles, input.channels, output.stride),
                    (self.v[p * self.planes.0..].as_ptr(), input.stride),
                    u,
                    (self.m[p * self.planes.1..].as_mut_ptr(), output.stride),
                );
            }
            self.write::<S>();
        }
    }
}

impl<C: Scheme, X: Source, Y: Sink> Forward<'_, C, X, Y> {
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
                            let m = collect::<S>(C::IN, self.m.as_ptr(), self.planes.1, at);
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

struct Backward<'a, C, X, G> {
    layer: Layer<C>,
    x: X,
    dy: G,
    weights: &'a Packed,
    dx: Disjoint<'a, f32>,
    sums: Option<&'a mut [f32]>,
    images: (usize, usize),
    v: &'a mut [f32],
    m: &'a mut [f32],
    planes: (usize, usize),
}

impl<C: Scheme, X: Source, G: Source> Kernel for Backward<'_, C, X, G> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(mut self) {
        let Layer { input, output, .. } = self.layer;
        let tiles = self.images.1 * self.layer.tiles_per_image();
        let matrix = |p: usize, rows: usize, stride: usize| p * rows * stride;
        // SAFETY: below `Isa::run` of `S`; scratch planes hold these images' tiles, packed weights the layer's matrices, and
        // sums one gradient.
        unsafe {
            self.transform_gradients::<S>();
            if let Some(sums) = self.sums.as_deref_mut() {
                transform_inputs::<S, C, X>(&self.layer, &self.x, self.images, self.v, self.planes.0);
                for p in 0..Layer::<C>::PRODUCTS {
                    add_transposed_product::<S>(
                        (input.channels, tiles, output.stride),
                        (self.v[p * self.planes.0..].as_ptr(), input.stride),
                        (self.m[p * self.planes.1..].as_ptr(), output.stride),
                        sums[matrix(p, input.channels, output.stride)..].as_mut_ptr(),
                    );
                }
            }
            for p in 0..Layer::<C>::PRODUCTS {
                product::<S>(
                    (tiles, output.channels, input.stride),
                    (self.m[p * self.planes.1..].as_ptr(), output.stride),
                    self.weights.backward[matrix(p, output.channels, input.stride)..].as_ptr(),
                    (self.v[p * self.planes.0..].as_mut_ptr(), input.stride),
                );
            }
            self.scatter::<S>();
        }
    }
}

impl<C: Scheme, X: Source, G: Source> Backward<'_, C, X, G> {
    /// Transforms the output gradients into `m`.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`; `m` must hold these images' products.
    #[inline(always)]
    unsafe fn transform_gradients<S: Simd>(&mut self) {
        let (rows, columns) = self.layer.tiles();
        let output = self.layer.output;
        let mut tile = 0;
        for image in self.images.0..self.images.0 + self.images.1 {
            for row in 0..rows {
                for column in 0..columns {
                    let corner = (image, (row * C::OUT) as isize, (column * C::OUT) as isize);
                    for channel in (0..output.stride).step_by(S::LANES) {
                        // SAFETY: the caller's promise.
                        unsafe {
                            let g = patch::<S, G>(&self.dy, output, corner, channel, C::OUT);
                            let g = both_axes::<C::OutputT, S>(g);
                            let at = tile * output.stride + channel;
                            spread::<S>(&g, C::IN, self.m.as_mut_ptr(), self.planes.1, at);
                        }
                    }
                    tile += 1;
                }
            }
        }
    }

    /// Adds up the transformed input gradients where tiles overlap.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`; `v` must hold these images' products.
    #[inline(always)]
    unsafe fn scatter<S: Simd>(&self) {
        let (rows, columns) = self.layer.tiles();
        let input = self.layer.input;
        let mut tile = 0;
        for image in self.images.0..self.images.0 + self.images.1 {
            // SAFETY: this task alone writes this image.
            let dx = unsafe { self.dx.part(image * input.image_len(), input.image_len()) };
            dx.fill(0.0);
            for row in 0..rows {
                for column in 0..columns {
                    let (_, top, left) = input_corner::<C>(image, row, column);
                    for channel in (0..input.stride).step_by(S::LANES) {
                        // SAFETY: the caller's promise; only pixels inside the map are written.
                        unsafe {
                            let at = tile * input.stride + channel;
                            let d = collect::<S>(C::IN, self.v.as_ptr(), self.planes.0, at);
                            let d = both_axes::<C::InputT, S>(d);
                            add_patch::<S>(&d, C::IN, dx, input, (top, left), channel);
                        }
                    }
                    tile += 1;
                }
            }
        }
    }
}

/// Adds a patch to an image, leaving out what lies outside.
///
/// # Safety
/// Below `Isa::run` of `S`; `image` must be one of `map`, and the channels exist.
#[inline(always)]
unsafe fn add_patch<S: Simd>(
    patch: &[[S::V; SIDE]; SIDE],
    side: usize,
    image: &mut [f32],
    map: Map,
    (top, left): (isize, isize),
    channel: usize,
) {
    for i in 0..side {
        let y = top + i as isize;
        if y < 0 || y >= map.height as isize {
            continue;
        }
        for j in 0..side {
            let x = left + j as isize;
            if x >= 0 && x < map.width as isize {
                // SAFETY: the pixel lies in the image.
                unsafe {
                    let at = (y as usize * map.width + x as usize) * map.stride + channel;
                    let p = image.as_mut_ptr().add(at);
                    S::store(p, S::add(S::load(p), patch[i][j]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
