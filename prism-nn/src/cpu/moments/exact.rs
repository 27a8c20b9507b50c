//! The moment loss of which everything that chance adds is taken off, whatever the features' distribution.
//!
//! With `m_k = mean over i of (f_i - mu)^k` and n images, at least 4:
//!
//! ```text
//! loss = sum over g, d of (a ((mu - mean)^2 - var / n) / scale + b (p m_2^2 - q m_4 - 2 variance var + variance^2) / scale^2) / (G D)
//! p = n (n^2 - 3 n + 3) / ((n - 1) (n - 2) (n - 3)),    q = n / ((n - 2) (n - 3))
//!
//! dloss/df[g, i, d] = level + slope (f - mu) + bend (f - mu)^3
//! ```
//!
//! `p m_2^2 - q m_4` is the symmetric function of n independent numbers whose mean is the square of their variance: the average
//! of `(x_1 - x_2)^2 (x_3 - x_4)^2 / 4` over all choices of four of them (a U-statistic: Hoeffding 1948).
//!
//! Why it matters: to the square of a sample's variance, chance adds `(kurtosis - (n - 3) / (n - 1)) / n` times the squared
//! variance, so a loss that keeps this, or takes off what it would be for normal numbers, is lowered by making features two-valued.
//! A generator then draws the typical images of a group and leaves out the others.

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use super::rows::{BLOCK, Rows, sum_rows};
use super::targets::{Gradient, Targets};
use crate::cpu::share::Disjoint;
use crate::cpu::source::Plain;

/// Fewer images have no such estimate.
pub const LEAST_IMAGES: usize = 4;

/// Returns the loss and writes its gradient, one number a feature of every image; arguments are those of [`super::moment_loss`].
///
/// # Panics
/// If the lengths of the slices disagree with the shapes, or there are too few images.
pub fn moment_loss(isa: Isa, features: Plain<'_>, targets: Targets<'_>, gradient: &mut Gradient) -> f64 {
    let Plain { values: features, map } = features;
    let (groups, width, images) = targets.sizes(map);
    assert!(images >= LEAST_IMAGES, "an exact estimate takes {LEAST_IMAGES} images of each group");
    assert_eq!(features.len(), groups * images * width, "n features for every target");
    gradient.shift.resize(features.len(), 0.0);
    gradient.slope.clear();
    gradient.per_image = true;
    let out = Disjoint::new(&mut gradient.shift);
    let blocks = width.div_ceil(BLOCK);
    let terms: Vec<f64> = (0..groups * blocks)
        .into_par_iter()
        .map(|task| {
            let (group, first) = (task / blocks, task % blocks * BLOCK);
            let len = BLOCK.min(width - first);
            let at = group * images * width + first;
            let rows =
                Rows { values: features, first: at, images, image: width, height: 1, line: 0, width: 1, pixel: 0 };
            let from = group * width + first;
            let targets = targets.part(from..from + len, group);
            let count = (groups * map.channels * map.pixels()) as f64;
            // SAFETY: `isa` is one of this machine's; each task has features of its own.
            unsafe { isa.run(ExactBlock { rows, targets, count, len, out, at, stride: width }) }
        })
        .collect();
    terms.iter().sum()
}

/// A block of features of one group.
struct ExactBlock<'a> {
    rows: Rows<'a>,
    targets: Targets<'a>,
    /// G D.
    count: f64,
    len: usize,
    out: Disjoint<'a, f32>,
    /// Where the first image's gradient goes, and floats from one image's to the next.
    at: usize,
    stride: usize,
}

impl Kernel for ExactBlock<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Shape>(self) -> f64 {
        let (len, images) = (self.len, self.rows.count());
        let [sums] = sum_rows(images, len, |i, [sums]| {
            sums.iter_mut().zip(self.rows.get(i, len)).for_each(|(sum, &f)| *sum += f);
        });
        let means = sums.map(|sum| (sum / images as f64) as f32);
        let powers = sum_rows(images, len, |i, [second, third, fourth]| {
            let sums = second.iter_mut().zip(third).zip(fourth);
            for ((((second, third), fourth), &f), &mean) in sums.zip(self.rows.get(i, len)).zip(&means) {
                let x = f - mean;
                let square = x * x;
                *second += square;
                *third += square * x;
                *fourth += square * square;
            }
        });
        let mut coefficients = [[0f32; BLOCK]; 3];
        let loss = self.coefficients(&means, &powers, &mut coefficients);
        let [level, slope, bend] = &coefficients;
        for i in 0..images {
            // SAFETY: no other task has these features.
            let out = unsafe { self.out.part(self.at + i * self.stride, len) };
            let numbers = self.rows.get(i, len).iter().zip(&means);
            for ((((out, (&f, &mean)), &level), &slope), &bend) in
                out.iter_mut().zip(numbers).zip(level).zip(slope).zip(bend)
            {
                let x = f - mean;
                *out = level + x * (slope + bend * (x * x));
            }
        }
        loss
    }
}

impl ExactBlock<'_> {
    /// The loss, and the level, slope and bend of each feature's gradient, from its mean and its sums of powers.
    #[inline(always)]
    fn coefficients(&self, means: &[f32; BLOCK], powers: &[[f64; BLOCK]; 3], out: &mut [[f32; BLOCK]; 3]) -> f64 {
        let n = self.rows.count() as f64;
        let p = n * (n * n - 3.0 * n + 3.0) / ((n - 1.0) * (n - 2.0) * (n - 3.0));
        let q = n / ((n - 2.0) * (n - 3.0));
        let scale = f64::from(self.targets.scale[0]);
        let mut loss = 0.0;
        for d in 0..self.len {
            let [a, b] = self.targets.weights.map_or([1.0; 2], |weights| weights.map(|w| f64::from(w[d])));
            let (a, b) = (a / (scale * self.count), b / (scale * scale * self.count));
            let gap = f64::from(means[d]) - f64::from(self.targets.mean[d]);
            let aim = f64::from(self.targets.second[d]);
            let [second, third, fourth] = [powers[0][d] / n, powers[1][d] / n, powers[2][d] / n];
            let variance = second * n / (n - 1.0);
            loss += a * (gap * gap - variance / n);
            loss += b * (p * second * second - q * fourth - 2.0 * aim * variance + aim * aim);
            let bend = -4.0 * b * q / n;
            let slope = 4.0 * b * (p * second / n - aim / (n - 1.0)) - 2.0 * a / (n * (n - 1.0));
            out[0][d] = (2.0 * a * gap / n - bend * third) as f32;
            out[1][d] = slope as f32;
            out[2][d] = bend as f32;
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecondMoment;
    use crate::cpu::map::Map;
    use crate::estimator::Estimator;
    use prism_core::StreamId;
    use prism_core::stream::Purpose;

    /// The average over many draws of the loss of `images` numbers of a skewed distribution (mean 1, variance 1, kurtosis 9).
    fn average(images: usize, mean: f32, variance: f32) -> (f64, f64) {
        let draws = 60_000;
        let mut uniforms = vec![0f32; images * draws];
        let mut stream = StreamId::new(4, Purpose::Test).open();
        uniforms.iter_mut().for_each(|u| *u = stream.uniform() as f32);
        let features: Vec<f32> = uniforms.iter().map(|u| -(1.0 - u).ln()).collect();
        let targets = Targets {
            mean: &[mean],
            second: &[variance],
            kind: SecondMoment::Variance,
            scale: &[1.0],
            weights: None,
            estimator: Estimator::Unbiased,
        };
        let map = Map { batch: images, height: 1, width: 1, channels: 1, stride: 1 };
        let losses: Vec<f64> = features
            .chunks_exact(images)
            .map(|values| moment_loss(Isa::Portable, Plain { values, map }, targets, &mut Gradient::default()))
            .collect();
        let mean = losses.iter().sum::<f64>() / draws as f64;
        let variance = losses.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (draws - 1) as f64;
        (mean, (variance / draws as f64).sqrt())
    }

    #[test]
    fn on_average_it_is_the_distance_of_the_true_moments_whatever_the_distribution() {
        for (images, mean, variance) in [(4, 1.0, 1.0), (4, 0.5, 2.0), (7, 1.5, 0.0), (16, 1.0, 1.0)] {
            let (found, error) = average(images, mean, variance);
            let expected = f64::from((1.0 - mean) * (1.0 - mean) + (1.0 - variance) * (1.0 - variance));
            assert!((found - expected).abs() < 5.0 * error, "{images}: {found} +- {error}, not {expected}");
        }
    }
}
