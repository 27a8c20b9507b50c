//! The two steps of a sketch ([`crate::encoder::sketch`]) on channels-last maps, each with its way back: means over the cells of
//! a grid, and signed sums of channels.

use prism_core::simd::Isa;
use rayon::prelude::*;

use super::gemm::Product;
use super::map::Map;
use super::packed::{Packed, WeightShape};
use super::scheme::Pointwise;

/// Pixels that one task mixes.
const TASK: usize = 64;

/// Writes the means over `side` x `side` cells of the maps `x` of shape `map`.
///
/// # Panics
/// If a length disagrees with the shape.
pub fn average(x: &[f32], map: Map, side: usize, out: &mut Vec<f32>) {
    assert_eq!(x.len(), map.len(), "maps of this shape");
    let (height, width, stride) = (map.height / side, map.width / side, map.stride);
    let share = 1.0 / (height * width) as f32;
    out.resize(map.batch * side * side * stride, 0.0);
    let images = x.par_chunks_exact(map.image_len());
    out.par_chunks_exact_mut(side * side * stride).zip(images).for_each(|(cells, image)| {
        cells.fill(0.0);
        for (place, pixels) in image.chunks_exact(width * stride).enumerate() {
            let (row, column) = (place / side / height, place % side);
            let cell = &mut cells[(row * side + column) * stride..][..stride];
            for pixel in pixels.chunks_exact(stride) {
                cell.iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += x);
            }
        }
        cells.iter_mut().for_each(|x| *x *= share);
    });
}

/// Adds to `gradient`, of maps of shape `map`, what `of_cells`, that of their means, says of each pixel.
///
/// # Panics
/// As for [`average`].
pub fn spread(of_cells: &[f32], map: Map, side: usize, gradient: &mut [f32]) {
    let (height, width, stride) = (map.height / side, map.width / side, map.stride);
    assert_eq!(gradient.len(), map.len(), "a gradient of maps of this shape");
    assert_eq!(of_cells.len(), map.batch * side * side * stride, "a gradient of every cell");
    let share = 1.0 / (height * width) as f32;
    let images = gradient.par_chunks_exact_mut(map.image_len());
    images.zip(of_cells.par_chunks_exact(side * side * stride)).for_each(|(image, cells)| {
        for (place, pixels) in image.chunks_exact_mut(width * stride).enumerate() {
            let (row, column) = (place / side / height, place % side);
            let cell = &cells[(row * side + column) * stride..][..stride];
            for pixel in pixels.chunks_exact_mut(stride) {
                pixel.iter_mut().zip(cell).for_each(|(sum, &x)| *sum += share * x);
            }
        }
    });
}

/// The signs of one sketch of one convolution, packed for both ways: a convolution of one tap.
#[derive(Clone, Debug)]
pub struct Mix {
    isa: Isa,
    channels: usize,
    /// Pixels of C channels are stored as so many floats.
    stride: usize,
    signs: Packed,
}

impl Mix {
    /// From a matrix `[C, C]` with an output's signs in a row.
    pub fn new(isa: Isa, matrix: &[f32], channels: usize) -> Self {
        let mut signs = Packed::default();
        signs.pack::<Pointwise>(isa, matrix, WeightShape { outputs: channels, inputs: channels, taps: 1 });
        Mix { isa, channels, stride: channels.next_multiple_of(isa.lanes()), signs }
    }

    /// Writes the signed sums of the channels of `pixels [.., stride]`.
    ///
    /// # Panics
    /// If these are not whole pixels.
    pub fn forward(&self, pixels: &[f32], out: &mut Vec<f32>) {
        self.product(pixels, &self.signs.forward, out);
    }

    /// Writes the gradient of the pixels, given that of their sums.
    ///
    /// # Panics
    /// As for [`Mix::forward`].
    pub fn backward(&self, of_sums: &[f32], out: &mut Vec<f32>) {
        self.product(of_sums, &self.signs.backward, out);
    }

    fn product(&self, pixels: &[f32], matrix: &[f32], out: &mut Vec<f32>) {
        let &Mix { isa, channels, stride, .. } = self;
        assert!(pixels.len().is_multiple_of(stride), "whole pixels");
        out.resize(pixels.len(), 0.0);
        let tasks = out.par_chunks_mut(TASK * stride).zip(pixels.par_chunks(TASK * stride));
        tasks.for_each(|(out, pixels)| {
            let product = Product {
                rows: pixels.len() / stride,
                shared: channels,
                columns: stride,
                a: pixels.as_ptr(),
                a_row: stride,
                b: matrix.as_ptr(),
                c: out.as_mut_ptr(),
                c_row: stride,
                accumulate: false,
            };
            // SAFETY: `isa` is one of this machine's; both slices hold whole pixels, the matrix a row for every channel.
            unsafe { isa.run(product) }
        });
    }
}
