//! The two steps of a sketch ([`crate::encoder::sketch`]) on channels-last maps, each with its way back: means over the cells of
//! a grid, and signed sums of channels.

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use super::map::Map;
use super::scratch;
use super::tile::multiply;

/// Pixels that one task mixes, and that are mixed at once.
const TASK: usize = 64;
const ROWS: usize = 8;
/// Floats in the widest register.
const MOST_LANES: usize = 16;

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

/// The signs of one sketch of one convolution, laid out for both ways.
#[derive(Clone, Debug)]
pub struct Mix {
    channels: usize,
    stride: usize,
    /// `[C, stride]`: row c holds what channel c gives to each output.
    forward: Vec<f32>,
    /// `[C, stride]`: row k holds what output k takes from each channel.
    backward: Vec<f32>,
}

impl Mix {
    /// From a matrix `[C, C]` with an output's signs in a row; pixels of C channels are stored as `stride` floats.
    pub fn new(matrix: &[f32], channels: usize, stride: usize) -> Self {
        let zeros = vec![0.0; channels * stride];
        let mut mix = Mix { channels, stride, forward: zeros.clone(), backward: zeros };
        for (i, &sign) in matrix.iter().enumerate() {
            let (output, channel) = (i / channels, i % channels);
            mix.forward[channel * stride + output] = sign;
            mix.backward[output * stride + channel] = sign;
        }
        mix
    }

    /// Writes the signed sums of the channels of `pixels [.., stride]`.
    ///
    /// # Panics
    /// If the stride is not that of whole pixels in whole registers of `isa`.
    pub fn forward(&self, isa: Isa, pixels: &[f32], out: &mut Vec<f32>) {
        self.product(isa, pixels, &self.forward, out);
    }

    /// Writes the gradient of the pixels, given that of their sums.
    ///
    /// # Panics
    /// As for [`Mix::forward`].
    pub fn backward(&self, isa: Isa, of_sums: &[f32], out: &mut Vec<f32>) {
        self.product(isa, of_sums, &self.backward, out);
    }

    fn product(&self, isa: Isa, pixels: &[f32], matrix: &[f32], out: &mut Vec<f32>) {
        let (channels, stride) = (self.channels, self.stride);
        assert!(
            stride.is_multiple_of(isa.lanes()) && pixels.len().is_multiple_of(stride),
            "whole pixels in whole registers"
        );
        let offsets: Vec<usize> = (0..channels).map(|channel| channel * stride).collect();
        out.resize(pixels.len(), 0.0);
        let tasks = out.par_chunks_mut(TASK * stride).zip(pixels.par_chunks(TASK * stride));
        tasks.for_each(|(out, pixels)| {
            // SAFETY: `isa` is one of this machine's.
            unsafe { isa.run(MixPixels { pixels, matrix, offsets: &offsets, stride, out }) }
        });
    }
}

/// `out [.., stride] = pixels [.., stride] x matrix [channels, stride]`.
struct MixPixels<'a> {
    pixels: &'a [f32],
    matrix: &'a [f32],
    /// Where each channel's row of the matrix begins.
    offsets: &'a [usize],
    stride: usize,
    out: &'a mut [f32],
}

impl Kernel for MixPixels<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let MixPixels { pixels, matrix, offsets, stride, out } = self;
        scratch::with(offsets.len() * ROWS, |rows| {
            for (out, pixels) in out.chunks_mut(ROWS * stride).zip(pixels.chunks(ROWS * stride)) {
                for (m, pixel) in pixels.chunks_exact(stride).enumerate() {
                    for (row, &x) in rows.chunks_exact_mut(ROWS).zip(pixel) {
                        row[m] = x;
                    }
                }
                for column in (0..stride).step_by(S::LANES) {
                    let mut tile = [[0f32; MOST_LANES]; ROWS];
                    // SAFETY: we are below `Isa::run` of `S`; `rows` holds ROWS numbers for every channel, the matrix a vector for every
                    // channel and column, a line of the tile at least a vector.
                    unsafe {
                        let b = matrix.as_ptr().add(column);
                        let zeros = [[S::splat(0.0); 1]; ROWS];
                        let sums = multiply::<S, ROWS, 1>(zeros, rows.as_ptr(), ROWS, [b], offsets);
                        for (line, sum) in tile.iter_mut().zip(&sums) {
                            S::store(line.as_mut_ptr(), sum[0]);
                        }
                    }
                    for (out, line) in out.chunks_exact_mut(stride).zip(&tile) {
                        out[column..column + S::LANES].copy_from_slice(&line[..S::LANES]);
                    }
                }
            }
        });
    }
}
