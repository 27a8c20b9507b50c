//! The moment loss from which is taken what chance adds to normal numbers, or nothing.
//!
//! ```text
//! loss = sum over g, d of (a ((mu - mean)^2 - e) / scale + b ((var - variance)^2 - 2 var h) / scale^2) / (G D)
//! e = var / n,  h = var / (n + 1)       if the estimator is unbiased; 0 if it is biased
//!
//! dloss/df[g, i, d] = shift[g, d] + slope[g, d] * f[g, i, d]
//! slope = (4 b (var - variance - 2 h) / scale^2 - 2 a [unbiased] / (n scale)) / (G D (n - 1))
//! shift = 2 a (mu - mean) / (scale G D n) - slope * mu
//! ```
//!
//! Blocks of features are tasks; their sums are added in order.

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use super::rows::{BLOCK, Rows, sum_rows};
use super::targets::{Gradient, Targets};
use crate::cpu::source::Plain;
use crate::estimator::Estimator;

/// Returns the loss and writes its gradient; arguments are those of [`super::moment_loss`], which has checked them.
pub(super) fn moment_loss(isa: Isa, features: Plain<'_>, targets: Targets<'_>, gradient: &mut Gradient) -> f64 {
    let (groups, width, images) = targets.sizes(features.map);
    gradient.shift.resize(groups * width, 0.0);
    gradient.slope.resize(groups * width, 0.0);
    gradient.per_image = false;
    let mut loss = 0.0;
    for group in 0..groups {
        let rows = &features.values[group * images * width..][..images * width];
        let at = group * width;
        let shifts = gradient.shift[at..at + width].par_chunks_mut(BLOCK);
        let slopes = gradient.slope[at..at + width].par_chunks_mut(BLOCK);
        let terms: Vec<f64> = shifts
            .zip(slopes)
            .enumerate()
            .map(|(block, (shift, slope))| {
                let first = block * BLOCK;
                let range = at + first..at + first + shift.len();
                let targets = targets.part(range, group);
                let count = (groups * features.map.channels * features.map.pixels()) as f64;
                let rows = Rows { values: rows, first, images, image: width, height: 1, line: 0, width: 1, pixel: 0 };
                // SAFETY: `isa` is one of this machine's.
                unsafe { isa.run(NormalBlock { rows, targets, count, samples_are_images: true, shift, slope }) }
            })
            .collect();
        loss += terms.iter().sum::<f64>();
    }
    loss
}

/// A block of features of one group.
pub(super) struct NormalBlock<'a> {
    pub rows: Rows<'a>,
    pub targets: Targets<'a>,
    /// G D.
    pub count: f64,
    /// Whether chance moves every sample by itself; if not, what it adds to the mean's square is not taken off here.
    pub samples_are_images: bool,
    pub shift: &'a mut [f32],
    pub slope: &'a mut [f32],
}

impl Kernel for NormalBlock<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Shape>(self) -> f64 {
        let (len, samples) = (self.shift.len(), self.rows.count());
        let n = samples as f64;
        let mut means = [0f32; BLOCK];
        let [sums] = sum_rows(samples, len, |i, [sums]| {
            sums.iter_mut().zip(self.rows.get(i, len)).for_each(|(sum, &f)| *sum += f);
        });
        for (mean, sum) in means.iter_mut().zip(&sums) {
            *mean = (sum / n) as f32;
        }
        let [squares] = sum_rows(samples, len, |i, [squares]| {
            for ((square, &mean), &f) in squares.iter_mut().zip(&means).zip(self.rows.get(i, len)) {
                *square += (f - mean) * (f - mean);
            }
        });
        let scale = f64::from(self.targets.scale[0]);
        let debiased = f64::from(u8::from(self.targets.estimator == Estimator::Unbiased));
        let by_mean = if self.samples_are_images { debiased / n } else { 0.0 };
        let by_variance = debiased / (n + 1.0);
        let mut loss = 0.0;
        for d in 0..len {
            let [a, b] = self.targets.weights.map_or([1.0; 2], |weights| weights.map(|w| f64::from(w[d])));
            let mean = f64::from(means[d]);
            let mean_gap = mean - f64::from(self.targets.mean[d]);
            let variance = squares[d] / (n - 1.0);
            let variance_gap = variance - f64::from(self.targets.second[d]);
            let of_mean = mean_gap * mean_gap - by_mean * variance;
            let of_variance = variance_gap * variance_gap - 2.0 * by_variance * variance * variance;
            loss += (a * of_mean / scale + b * of_variance / (scale * scale)) / self.count;
            let pull = 4.0 * b * (variance_gap - 2.0 * by_variance * variance) / (scale * scale);
            let slope = (pull - 2.0 * a * by_mean / scale) / (self.count * (n - 1.0));
            let shift = 2.0 * a * mean_gap / (scale * self.count * n) - slope * mean;
            (self.shift[d], self.slope[d]) = (shift as f32, slope as f32);
        }
        loss
    }
}
