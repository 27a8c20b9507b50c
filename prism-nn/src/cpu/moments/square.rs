//! The moment loss whose second moments are mean squares, of features at one pixel or pooled over the cells of a grid.
//!
//! A cell has A pixels. With `m_i` and `q_i` the means over a cell of image i of f and of f^2, and `mu` and `nu` their means over the
//! n images of a group:
//!
//! ```text
//! loss = sum over g, d of (a ((mu - mean)^2 - e) / scale + b ((nu - second)^2 - h) / scale^2) / (G D)
//! e = sum over i of (m_i - mu)^2 / (n (n - 1)),    h likewise of q_i and nu      if the estimator is unbiased; 0 if it is plain
//!
//! dloss/df = shift_i + slope_i f
//! shift_i = 2 a (mu - mean - (m_i - mu) / (n - 1)) / (scale G D n A)
//! slope_i = 4 b (nu - second - (q_i - nu) / (n - 1)) / (scale^2 G D n A)
//! ```
//!
//! Images are independent and the loss takes means over them only, so `e` and `h` are all that chance adds, whatever the features'
//! distribution.

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use super::pooled::spread;
use super::{BLOCK, Gradient, Rows, Targets};
use crate::cpu::map::Map;
use crate::estimator::Estimator;

/// Returns the loss and writes what its gradient needs, two numbers a feature of every image. `images` is n, at least 2; the `map` is
/// divided into `side` cells a side.
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
struct Block<'a> {
    rows: Rows<'a>,
    targets: Targets<'a>,
    /// G D.
    count: f64,
    /// Its first channel, the channels of an image's coefficients, and how many are in the block.
    at: (usize, usize, usize),
    /// `[n, channels]` each: first the images' own means, then their coefficients in the same place.
    shifts: &'a mut [f32],
    slopes: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Shape>(mut self) -> f64 {
        let means = self.means();
        let (n, a_pixel) = (self.rows.images as f64, self.rows.count() as f64);
        let debiased = f64::from(u8::from(self.targets.estimator == Estimator::Unbiased)) / (n - 1.0);
        let scale = f64::from(self.targets.scale[0]);
        let (mut loss, len) = (0.0, self.at.2);
        // What an image's coefficients are: a level, less a rate of how far its own mean is from that of all.
        let [mut levels, mut rates, mut units] = [[[0f32; BLOCK]; 2]; 3];
        for d in 0..len {
            let [a, b] = self.targets.weights.map_or([1.0; 2], |weights| weights.map(|w| f64::from(w[d])));
            let units_of = [a / (scale * self.count), b / (scale * scale * self.count)];
            let aims = [self.targets.mean[d], self.targets.second[d]].map(f64::from);
            for (moment, factor) in [2.0, 4.0].into_iter().enumerate() {
                let gap = means[moment][d] - aims[moment];
                loss += units_of[moment] * gap * gap;
                levels[moment][d] = (factor * units_of[moment] * gap / a_pixel) as f32;
                rates[moment][d] = (factor * units_of[moment] * debiased / a_pixel) as f32;
                units[moment][d] = (units_of[moment] * debiased / n) as f32;
            }
        }
        let means = means.map(|means| means.map(|mean| mean as f32));
        loss - self.coefficients(&means, &levels, &rates, &units)
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

    /// Turns the images' own means into their coefficients, and returns what chance adds to the loss.
    #[inline(always)]
    fn coefficients(
        &mut self,
        means: &[[f32; BLOCK]; 2],
        levels: &[[f32; BLOCK]; 2],
        rates: &[[f32; BLOCK]; 2],
        units: &[[f32; BLOCK]; 2],
    ) -> f64 {
        let (channel, stride, len) = self.at;
        let mut chance = [0f64; BLOCK];
        for (moment, own) in [&mut *self.shifts, &mut *self.slopes].into_iter().enumerate() {
            for own in own.chunks_exact_mut(stride) {
                let own = own[channel..channel + len].iter_mut().zip(&means[moment]).zip(&levels[moment]);
                let rest = rates[moment].iter().zip(&units[moment]).zip(&mut chance);
                for (((own, mean), level), ((rate, unit), chance)) in own.zip(rest) {
                    let gap = *own - mean;
                    *chance += f64::from(unit * gap * gap);
                    *own = level - rate * gap;
                }
            }
        }
        chance.iter().sum()
    }
}
