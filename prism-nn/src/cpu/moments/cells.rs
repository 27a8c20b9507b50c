//! The moment loss as a function of each image's own means: of features at one pixel or pooled over the cells of a grid.
//!
//! A cell has A pixels. With `m_i` and `q_i` the means over a cell of image i of f and of f^2, every loss here and its gradient are
//!
//! ```text
//! loss = a function of m_1, q_1, ..., m_n, q_n for every group and feature
//! dloss/df = shift_i + slope_i f,        f at any pixel of the cell in image i
//! ```
//!
//! `square.rs` compares mean squares, `variance.rs` variances, with everything taken off that chance adds.

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use super::pooled::spread;
use super::{BLOCK, Gradient, Rows, Targets, square, variance};
use crate::cpu::map::Map;
use crate::second_moment::SecondMoment;

/// Returns the loss and writes what its gradient needs, two numbers a feature of every image. `images` is n, at least 2 for mean squares
/// and at least [`LEAST_IMAGES`](super::exact::LEAST_IMAGES) for variances, whose loss is always the unbiased one; the `map` is divided into `side` cells a side.
///
/// Targets of channels that are only stored must be 0.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes, or the cells do not divide the map.
pub fn moment_loss(
    isa: Isa,
    features: &[f32],
    (map, side): (Map, usize),
    images: usize,
    targets: Targets<'_>,
    gradient: &mut Gradient,
) -> f64 {
    let groups = targets.scale.len();
    assert_eq!((map.height % side, map.width % side), (0, 0), "cells of one size");
    assert_eq!(targets.mean.len(), groups * side * side * map.stride, "a target for every cell and channel");
    assert_eq!(features.len(), groups * images * map.image_len(), "n images for every group");
    let count = (groups * side * side * map.channels) as f64;
    let mut shifts = vec![0f32; targets.mean.len() * images];
    let mut slopes = shifts.clone();
    let mut terms = Vec::new();
    shifts
        .par_chunks_mut(map.stride * images)
        .zip(slopes.par_chunks_mut(map.stride * images))
        .enumerate()
        .map(|(place, (shifts, slopes))| {
            let mut loss = 0.0;
            for channel in (0..map.stride).step_by(BLOCK) {
                let len = BLOCK.min(map.stride - channel);
                let rows = Rows::of_cell(features, map, (side, place), images, channel);
                let from = place * map.stride + channel;
                let targets = targets.part(from..from + len, place / (side * side));
                let at = (channel, map.stride, len);
                // SAFETY: `isa` is one of this machine's.
                loss += unsafe { isa.run(Block { rows, targets, count, at, shifts, slopes }) };
            }
            loss
        })
        .collect_into_vec(&mut terms);
    if map.pixels() == 1 {
        (gradient.shift, gradient.slope, gradient.per_image) = (shifts, slopes, true);
    } else {
        spread((&shifts, &slopes), (map, side, images), gradient);
    }
    terms.iter().sum()
}

/// A block of channels of one cell and group.
pub(super) struct Block<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) targets: Targets<'a>,
    /// G D.
    pub(super) count: f64,
    /// Its first channel, the channels of an image's coefficients, and how many are in the block.
    pub(super) at: (usize, usize, usize),
    /// `[n, channels]` each: first the images' own means, then their coefficients in the same place.
    pub(super) shifts: &'a mut [f32],
    pub(super) slopes: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Shape>(mut self) -> f64 {
        let means = self.means();
        match self.targets.kind {
            SecondMoment::Square => square::coefficients(&mut self, &means),
            SecondMoment::Variance => variance::coefficients(&mut self, &means),
        }
    }
}

impl Block<'_> {
    /// The mean over images of each image's mean and mean square, which are left in the place of the coefficients.
    #[inline(always)]
    fn means(&mut self) -> [[f64; BLOCK]; 2] {
        let (channel, stride, len) = self.at;
        let (pixels, images) = (self.rows.height * self.rows.width, self.rows.images);
        let mut means = [[0f64; BLOCK]; 2];
        for image in 0..images {
            let first = &mut self.shifts[image * stride + channel..][..len];
            let second = &mut self.slopes[image * stride + channel..][..len];
            for i in image * pixels..(image + 1) * pixels {
                for ((first, second), &f) in first.iter_mut().zip(second.iter_mut()).zip(self.rows.get(i, len)) {
                    *first += f;
                    *second += f * f;
                }
            }
            for (own, means) in [first, second].into_iter().zip(&mut means) {
                for (own, mean) in own.iter_mut().zip(means) {
                    *own /= pixels as f32;
                    *mean += f64::from(*own) / images as f64;
                }
            }
        }
        means
    }
}
