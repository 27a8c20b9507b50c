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

use super::image_means::ImageMeans;
use super::rows::{BLOCK, Rows, spread};
use super::targets::{Gradient, Targets};
use super::{square, variance};
use crate::cpu::source::Plain;
use crate::second_moment::SecondMoment;

/// Returns the loss and writes what its gradient needs, two numbers a feature of every image. Maps are divided into `side` cells a
/// side. A group has at least 2 images for mean squares and at least [`LEAST_IMAGES`](super::exact::LEAST_IMAGES) for variances,
/// whose loss is always the unbiased one.
///
/// Targets of channels that are only stored must be 0.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes, or the cells do not divide the map.
pub fn moment_loss(isa: Isa, features: Plain<'_>, side: usize, targets: Targets<'_>, gradient: &mut Gradient) -> f64 {
    let Plain { values: features, map } = features;
    let groups = targets.scale.len();
    let images = map.batch / groups.max(1);
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
                loss += unsafe { isa.run(CellBlock(ImageMeans { rows, targets, count, at, shifts, slopes })) };
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

struct CellBlock<'a>(ImageMeans<'a>);

impl Kernel for CellBlock<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Shape>(self) -> f64 {
        let CellBlock(mut block) = self;
        let means = block.means();
        match block.targets.kind {
            SecondMoment::Square => square::coefficients(&mut block, &means),
            SecondMoment::Variance => variance::coefficients(&mut block, &means),
        }
    }
}
