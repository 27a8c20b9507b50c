//! The moment loss and its gradient in one pass over the features.
//!
//! `features [G, n, D]`, targets `mean, variance [G, D]`, `scale [G]`:
//!
//! ```text
//! loss = sum over g, d of (a ((mu - mean)^2 - e) / scale + b ((var - variance)^2 - 2 var h) / scale^2) / (G D)
//! e = var / n,  h = var / (n + 1)       what chance adds to normal numbers, if the estimator is unbiased; 0 if it is plain
//!
//! dloss/df[g, i, d] = shift[g, d] + slope[g, d] * f[g, i, d]
//! slope = (4 b (var - variance - 2 h) / scale^2 - 2 a [unbiased] / (n scale)) / (G D (n - 1))
//! shift = 2 a (mu - mean) / (scale G D n) - slope * mu
//! ```
//!
//! with weights a, b of each feature's terms, 1 where none are given. Blocks of features are tasks; their sums are added in
//! order. [`exact`] takes off what chance adds to numbers that are not normal too, for which it takes 4 images; [`pooled`] is for
//! features pooled over the cells of a grid; [`cells`] for these too if all chance is taken off, and for mean squares in the place of variances.

pub mod cells;
pub mod exact;
pub mod pooled;
mod square;
mod variance;

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use crate::cpu::map::Map;
use crate::estimator::Estimator;
use crate::second_moment::SecondMoment;

/// Features that one task works on, so that their sums stay in the first cache.
const BLOCK: usize = 512;
/// Rows that are summed in single precision; longer sums are added up in double.
const ROWS: usize = 256;

/// What generated moments should be.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// `[G, D]`.
    pub mean: &'a [f32],
    /// `[G, D]`.
    pub second: &'a [f32],
    /// What `second` is.
    pub kind: SecondMoment,
    /// `[G]`.
    pub scale: &'a [f32],
    /// How much the term of each mean and of each variance counts, `[G, D]` each; 1 where there are none.
    pub weights: Option<[&'a [f32]; 2]>,
    /// How distances are estimated.
    pub estimator: Estimator,
}

impl<'a> Targets<'a> {
    /// The targets of features `range`, counted over all groups, all of which belong to `group`.
    fn part(&self, range: std::ops::Range<usize>, group: usize) -> Targets<'a> {
        Targets {
            mean: &self.mean[range.clone()],
            second: &self.second[range.clone()],
            kind: self.kind,
            scale: &self.scale[group..=group],
            weights: self.weights.map(|weights| weights.map(|w| &w[range.clone()])),
            estimator: self.estimator,
        }
    }
}

/// The gradient, as a linear function of each feature or as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradient {
    /// `[G, D]`, or `[G n, D]` if the function is another for every image.
    pub shift: Vec<f32>,
    /// As `shift`; empty where `shift` is the gradient itself.
    pub slope: Vec<f32>,
    /// Whether it is another for every image.
    pub per_image: bool,
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
    assert_eq!(targets.second.len(), targets.mean.len(), "a second moment for every mean");
    assert_eq!(features.len(), groups * images * width, "n features for every target");
    if targets.kind == SecondMoment::Square {
        let map = Map { batch: groups * images, height: 1, width: 1, channels: counted, stride: width };
        return cells::moment_loss(isa, features, (map, 1), images, targets, gradient);
    }
    if targets.estimator == Estimator::Unbiased && images >= exact::LEAST_IMAGES {
        return exact::moment_loss(isa, features, images, targets, counted, gradient);
    }
    gradient.shift.resize(groups * width, 0.0);
    gradient.slope.resize(groups * width, 0.0);
    gradient.per_image = false;
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
                let targets = targets.part(range, group);
                let count = (groups * counted) as f64;
                let rows = Rows { values: rows, first, images, image: width, height: 1, line: 0, width: 1, pixel: 0 };
                // SAFETY: `isa` is one of this machine's.
                unsafe { isa.run(Block { rows, targets, count, samples_are_images: true, shift, slope }) }
            })
            .collect();
        loss += terms.iter().sum::<f64>();
    }
    loss
}

impl Gradient {
    /// Turns a function of the features into its values, so that other gradients may be added to them.
    ///
    /// # Panics
    /// If the lengths of the slices disagree with the shapes.
    pub fn evaluate(&mut self, features: &[f32], groups: usize) {
        if self.slope.is_empty() {
            return;
        }
        let mut values = vec![0.0; features.len()];
        self.write(features, groups, 1.0, &mut values);
        (self.shift, self.per_image) = (values, true);
        self.slope.clear();
    }

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
        if self.slope.is_empty() {
            out.par_iter_mut().zip(&self.shift).for_each(|(out, &gradient)| *out = scale * gradient);
            return;
        }
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

/// Where the samples of a block of features lie: at every pixel of a rectangle of every image.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    /// Where the first sample begins.
    first: usize,
    images: usize,
    /// Floats from one image to the next.
    image: usize,
    /// Rows of the rectangle, and floats from one to the next.
    height: usize,
    line: usize,
    /// Columns of the rectangle, and floats from one to the next.
    width: usize,
    pixel: usize,
}

impl<'a> Rows<'a> {
    /// The channels from `channel` on of cell `place`, counted over the cells of all groups, of maps that are divided into `side` cells
    /// a side; `images` of each group.
    fn of_cell(values: &'a [f32], map: Map, (side, place): (usize, usize), images: usize, channel: usize) -> Self {
        let (group, cell) = (place / (side * side), place % (side * side));
        let (height, width) = (map.height / side, map.width / side);
        let corner = (cell / side * height * map.width + cell % side * width) * map.stride;
        Rows {
            values,
            first: group * images * map.image_len() + corner + channel,
            images,
            image: map.image_len(),
            height,
            line: map.width * map.stride,
            width,
            pixel: map.stride,
        }
    }

    fn count(&self) -> usize {
        self.images * self.height * self.width
    }

    /// The first `len` features of sample `i`.
    #[inline(always)]
    fn get(&self, i: usize, len: usize) -> &'a [f32] {
        let (line, column) = (i / self.width, i % self.width);
        let (image, line) = (line / self.height, line % self.height);
        &self.values[self.first + image * self.image + line * self.line + column * self.pixel..][..len]
    }
}

/// A block of features of one group.
struct Block<'a> {
    rows: Rows<'a>,
    targets: Targets<'a>,
    /// G D.
    count: f64,
    /// Whether chance moves every sample by itself; if not, what it adds to the mean's square is not taken off here.
    samples_are_images: bool,
    shift: &'a mut [f32],
    slope: &'a mut [f32],
}

impl Kernel for Block<'_> {
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

/// Sums over `samples` rows of what `add` adds to K sums for each of `len` features.
#[inline(always)]
fn sum_rows<const K: usize>(samples: usize, len: usize, add: impl Fn(usize, [&mut [f32]; K])) -> [[f64; BLOCK]; K] {
    let mut totals = [[0f64; BLOCK]; K];
    for first in (0..samples).step_by(ROWS) {
        let mut sums = [[0f32; BLOCK]; K];
        for i in first..samples.min(first + ROWS) {
            add(i, sums.each_mut().map(|sums| &mut sums[..len]));
        }
        for (total, sum) in totals.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
            *total += f64::from(*sum);
        }
    }
    totals
}
