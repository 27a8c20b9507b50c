//! Gradients of a few images: of the inputs, and of the weights where they are trained.

use prism_core::simd::{Kernel, Shape, Simd};

use super::forward::{input_corner, transform_inputs};
use super::patch::{add_patch, collect, patch, spread};
use super::{ConvLayer, Tiles};
use crate::cpu::factor::Factor;
use crate::cpu::gemm::{Product, transposed_product};
use crate::cpu::scheme::{Linear, Scheme, both_axes};
use crate::cpu::share::Disjoint;
use crate::cpu::source::Source;

pub struct Backward<'a, C, X, G, T> {
    pub layer: ConvLayer<C>,
    pub x: X,
    pub dy: G,
    pub weights: &'a [T],
    pub dx: Disjoint<'a, f32>,
    /// One piece of the weight gradient, and whether to add to what it holds; only where `T` is `f32`.
    pub sums: Option<(&'a mut [f32], bool)>,
    pub images: (usize, usize),
    pub tiles: Tiles<'a>,
}

impl<C: Scheme, X: Source, G: Source, T: Factor> Kernel for Backward<'_, C, X, G, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(mut self) {
        let ConvLayer { input, output, .. } = self.layer;
        let tiles = self.images.1 * self.layer.tiles_per_image();
        let shared = output.channels.next_multiple_of(T::PACK);
        let m = self.tiles.m.as_mut_ptr();
        // SAFETY: below `Isa::run` of `S`; scratch planes hold these images' tiles, packed weights the layer's matrices, and
        // sums one gradient.
        unsafe {
            self.transform_gradients::<S>(m.cast::<T>());
            if let Some((sums, accumulate)) = self.sums.take() {
                let v = self.tiles.v.as_mut_ptr();
                transform_inputs::<S, C, X, f32>(&self.layer, &self.x, self.images, v, self.tiles.v_plane);
                for p in 0..ConvLayer::<C>::PRODUCTS {
                    let read = ConvLayer::<C>::reads(p).0;
                    transposed_product::<S>(
                        (input.channels, tiles, output.stride),
                        (v.add(read * self.tiles.v_plane).cast_const(), input.stride),
                        (m.add(p * self.tiles.m_plane).cast_const(), output.stride),
                        (sums[p * input.channels * output.stride..].as_mut_ptr(), accumulate),
                    );
                }
            }
            for p in 0..ConvLayer::<C>::PRODUCTS {
                let (read, accumulate) = ConvLayer::<C>::reads(p);
                self.layer.isa.run(Product {
                    rows: tiles,
                    shared,
                    columns: input.stride,
                    a: m.cast::<T>().add(p * self.tiles.m_plane),
                    a_row: output.stride,
                    b: self.weights[p * shared * input.stride..].as_ptr(),
                    c: self.tiles.v[read * self.tiles.v_plane..].as_mut_ptr(),
                    c_row: input.stride,
                    accumulate,
                });
            }
            self.scatter::<S>();
        }
    }
}

impl<C: Scheme, X: Source, G: Source, T: Factor> Backward<'_, C, X, G, T> {
    /// Transforms the output gradients into `m`.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`; `m` must hold these images' products.
    #[inline(always)]
    unsafe fn transform_gradients<S: Simd>(&mut self, m: *mut T) {
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
                            spread::<S, T>(&g, C::PRODUCTS, m, self.tiles.m_plane, at);
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
                            let d = collect::<S>(C::Input::TO, self.tiles.v.as_ptr(), self.tiles.v_plane, at);
                            let d = both_axes::<C::InputT, S>(d);
                            add_patch::<S>(&d, C::IN, (dx, input), (top, left), channel);
                        }
                    }
                    tile += 1;
                }
            }
        }
    }
}
