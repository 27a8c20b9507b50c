//! The moment loss and its gradient in one pass over the features.
//!
//! `features [G, n, D]`, targets `mean, variance [G, D]`, `scale [G]`:
//!
//! ```text
//! loss = sum over g, d of ((mu - mean)^2 / scale + (var - variance)^2 / scale^2) / (G D)
//! dloss/df[g, i, d] = shift[g, d] + slope[g, d] * f[g, i, d]
//! slope = 4 (var - variance) / (scale^2 G D (n - 1)),  shift = 2 (mu - mean) / (scale G D n) - slope * mu
//! ```
//!
//! Blocks of features are tasks; their sums are added in order.

use rayon::prelude::*;

use super::simd::{Isa, Kernel, Shape};

/// Features that one task works on, so that their sums stay in the first cache.
const BLOCK: usize = 512;

/// What generated moments should be.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// `[G, D]`.
    pub mean: &'a [f32],
    /// `[G, D]`.
    pub variance: &'a [f32],
    /// `[G]`.
    pub scale: &'a [f32],
}

/// The gradient, as a linear function of each feature.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradient {
    /// `[G, D]`.
    pub shift: Vec<f32>,
    /// `[G, D]`.
    pub slope: Vec<f32>,
}

/// Returns the loss and writes what its gradient needs. `images` is n.
///
/// Where some of the D features are only there to fill registers, `counted` is the number of those that are not; the others
/// must be 0, and so must their targets. Otherwise it is D.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes.
pub fn moment_loss(
    isa: Isa,
    features: &[f32],
    images: usize,
    targets: Targets<'_>,
    counted: usize,
    gradient: &mut Gradient,
) -> f64 {
    let groups = targets.scale.len();
    let width = targets.mean.len() / groups.max(1);
    assert_eq!(targets.variance.len(), targets.mean.len(), "a variance for every mean");
    assert_eq!(features.len(), groups * images * width, "n features for every target");
    gradient.shift.resize(groups * width, 0.0);
    gradient.slope.resize(groups * width, 0.0);
    let mut loss = 0.0;
    for group in 0..groups {
        let rows = &features[group * images * width..][..images * width];
        let at = group * width;
        let shifts = gradient.shift[at..at + width].par_chunks_mut(BLOCK);
        let slopes = gradient.slope[at..at + width].par_chunks_mut(BLOCK);
        let terms: Vec<f64> = shifts
            .zip(slopes)
            .enumerate()
            .map(|(block, (shift, slope))| {
                let first = block * BLOCK;
                let range = at + first..at + first + shift.len();
                let targets = Targets {
                    mean: &targets.mean[range.clone()],
                    variance: &targets.variance[range],
                    scale: &targets.scale[group..=group],
                };
                let count = (groups * counted) as f64;
                // SAFETY: `isa` is one of this machine's.
                unsafe { isa.run(Block { rows, first, width, images, targets, count, shift, slope }) }
            })
            .collect();
        loss += terms.iter().sum::<f64>();
    }
    loss
}

impl Gradient {
    /// Writes `scale` times the gradient with respect to `features` to `out`.
    ///
    /// # Panics
    /// If the lengths of the slices disagree with the shapes.
    pub fn write(&self, features: &[f32], groups: usize, scale: f32, out: &mut [f32]) {
        assert_eq!(features.len(), out.len(), "a gradient for every feature");
        if features.is_empty() {
            return;
        }
        let width = self.shift.len() / groups;
        let images = features.len() / self.shift.len();
        out.par_chunks_exact_mut(width).zip(features.par_chunks_exact(width)).enumerate().for_each(
            |(row, (out, features))| {
                let at = row / images * width;
                let (shift, slope) = (&self.shift[at..at + width], &self.slope[at..at + width]);
                for (((out, &f), &shift), &slope) in out.iter_mut().zip(features).zip(shift).zip(slope) {
                    *out = scale * (shift + slope * f);
                }
            },
        );
    }
}

/// Features `first..first + shift.len()` of one group.
struct Block<'a> {
    rows: &'a [f32],
    first: usize,
    width: usize,
    images: usize,
    targets: Targets<'a>,
    /// G D.
    count: f64,
    shift: &'a mut [f32],
    slope: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Shape>(self) -> f64 {
        let (len, n) = (self.shift.len(), self.images as f64);
        let row = |i: usize| &self.rows[i * self.width + self.first..][..len];
        let (mut sums, mut squares) = ([0f32; BLOCK], [0f32; BLOCK]);
        for i in 0..self.images {
            for (sum, &f) in sums.iter_mut().zip(row(i)) {
                *sum += f;
            }
        }
        let mut means = [0f32; BLOCK];
        for (mean, sum) in means.iter_mut().zip(&sums) {
            *mean = (f64::from(*sum) / n) as f32;
        }
        for i in 0..self.images {
            for ((square, &mean), &f) in squares.iter_mut().zip(&means).zip(row(i)) {
                *square += (f - mean) * (f - mean);
            }
        }
        let scale = f64::from(self.targets.scale[0]);
        let mut loss = 0.0;
        for d in 0..len {
            let mean = f64::from(means[d]);
            let mean_gap = mean - f64::from(self.targets.mean[d]);
            let variance_gap = f64::from(squares[d]) / (n - 1.0) - f64::from(self.targets.variance[d]);
            loss += (mean_gap * mean_gap / scale + variance_gap * variance_gap / (scale * scale)) / self.count;
            let slope = 4.0 * variance_gap / (scale * scale * self.count * (n - 1.0));
            let shift = 2.0 * mean_gap / (scale * self.count * n) - slope * mean;
            (self.shift[d], self.slope[d]) = (shift as f32, slope as f32);
        }
        loss
    }
}
