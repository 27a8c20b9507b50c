//! Batch norm without parameters, then ReLU: `y = max(0, (x - mean) / sqrt(variance + epsilon))`, per channel of
//! `x [B, C, H, W]`, with the batch's own mean and biased variance.
//!
//! With `g' = g [y > 0]`, `n = B H W`, `h = (x - mean) * rstd` and `rstd = 1 / sqrt(variance + epsilon)`:
//!
//! ```text
//! dx = rstd * (g' - sum(g') / n - h * sum(g' h) / n)
//! ```
//!
//! where `sum(g' h) = sum(g y)`, since y is h where it is positive and 0 elsewhere. Each channel is one task.

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use super::planes::Planes;
use crate::cpu::share::Disjoint;

/// Mean and reciprocal standard deviation of one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Mean.
    pub mean: f32,
    /// `1 / sqrt(variance + epsilon)`.
    pub rstd: f32,
}

/// Writes `y` and returns each channel's statistics, which the gradient needs.
///
/// # Panics
/// If the lengths of the slices disagree with the shape.
pub fn norm_relu(isa: Isa, x: &[f32], planes: Planes, epsilon: f64, y: &mut [f32]) -> Vec<Statistics> {
    assert_eq!(x.len(), y.len(), "as much comes out as went in");
    let shape = Channels::new(x.len(), planes);
    let out = Disjoint::new(y);
    let forward = |channel| Forward { x, shape, channel, epsilon, out };
    // SAFETY: `isa` is one of this machine's; every channel writes its own planes only.
    (0..planes.channels).into_par_iter().map(|channel| unsafe { isa.run(forward(channel)) }).collect()
}

/// Writes the gradient with respect to `x`, given that with respect to `y`.
///
/// # Panics
/// If the lengths of the slices disagree with the shape.
pub fn norm_relu_gradient(
    isa: Isa,
    [x, y, gradient]: [&[f32]; 3],
    planes: Planes,
    statistics: &[Statistics],
    dx: &mut [f32],
) {
    assert!([y.len(), gradient.len(), dx.len()] == [x.len(); 3], "every argument has the same shape");
    assert_eq!(statistics.len(), planes.channels, "statistics of every channel");
    let shape = Channels::new(x.len(), planes);
    let out = Disjoint::new(dx);
    (0..planes.channels).into_par_iter().for_each(|channel| {
        let backward = Backward { x, y, gradient, shape, channel, statistics: statistics[channel], out };
        // SAFETY: `isa` is one of this machine's; every channel writes its own planes only.
        unsafe { isa.run(backward) }
    });
}

/// Where the planes of a channel lie.
#[derive(Clone, Copy)]
struct Channels {
    planes: Planes,
    batch: usize,
}

impl Channels {
    fn new(len: usize, planes: Planes) -> Self {
        let batch = if planes.is_empty() { 0 } else { len / planes.len() };
        assert_eq!(batch * planes.len(), len, "whole images");
        Channels { planes, batch }
    }

    /// First elements of the planes of `channel`.
    #[inline(always)]
    fn starts(self, channel: usize) -> impl Iterator<Item = usize> {
        (0..self.batch).map(move |image| image * self.planes.len() + channel * self.planes.pixels())
    }

    fn count(self) -> f64 {
        (self.batch * self.planes.pixels()) as f64
    }
}

/// Sums kept in lanes, so that the compiler can use registers; `f64`, so that order hardly matters.
#[derive(Clone, Copy)]
struct Lanes([f64; LANES]);

const LANES: usize = 16;

impl Lanes {
    const ZERO: Lanes = Lanes([0.0; LANES]);

    fn total(self) -> f64 {
        self.0.iter().sum()
    }
}

/// Adds `each(a, b)` over pairs of elements to a pair of sums.
#[inline(always)]
fn add_pairs(sums: &mut [Lanes; 2], a: &[f32], b: &[f32], each: impl Fn(f32, f32) -> (f32, f32)) {
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_blocks.remainder().iter().zip(b_blocks.remainder());
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            let (first, second) = each(a[lane], b[lane]);
            sums[0].0[lane] += f64::from(first);
            sums[1].0[lane] += f64::from(second);
        }
    }
    for (lane, (&a, &b)) in rest.enumerate() {
        let (first, second) = each(a, b);
        sums[0].0[lane] += f64::from(first);
        sums[1].0[lane] += f64::from(second);
    }
}

struct Forward<'a> {
    x: &'a [f32],
    shape: Channels,
    channel: usize,
    epsilon: f64,
    out: Disjoint<'a, f32>,
}

impl Kernel for Forward<'_> {
    type Output = Statistics;

    #[inline(always)]
    unsafe fn run<S: Shape>(self) -> Statistics {
        let pixels = self.shape.planes.pixels();
        let statistics = self.statistics();
        let Statistics { mean, rstd } = statistics;
        for start in self.shape.starts(self.channel) {
            // SAFETY: no other task writes this channel's planes.
            let out = unsafe { self.out.part(start, pixels) };
            for (y, &x) in out.iter_mut().zip(&self.x[start..start + pixels]) {
                *y = ((x - mean) * rstd).max(0.0);
            }
        }
        statistics
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn statistics(&self) -> Statistics {
        let pixels = self.shape.planes.pixels();
        // Differences from the first value keep the variance accurate where the mean is large.
        let origin = self.shape.starts(self.channel).next().map_or(0.0, |start| self.x[start]);
        let mut sums = [Lanes::ZERO; 2];
        for start in self.shape.starts(self.channel) {
            let plane = &self.x[start..start + pixels];
            add_pairs(&mut sums, plane, plane, |x, _| (x - origin, (x - origin) * (x - origin)));
        }
        let [offset, square] = sums.map(|sum| sum.total() / self.shape.count());
        let variance = (square - offset * offset).max(0.0);
        Statistics { mean: (f64::from(origin) + offset) as f32, rstd: (1.0 / (variance + self.epsilon).sqrt()) as f32 }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    y: &'a [f32],
    gradient: &'a [f32],
    shape: Channels,
    channel: usize,
    statistics: Statistics,
    out: Disjoint<'a, f32>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let pixels = self.shape.planes.pixels();
        let mut sums = [Lanes::ZERO; 2];
        for start in self.shape.starts(self.channel) {
            let (gradient, y) = (&self.gradient[start..start + pixels], &self.y[start..start + pixels]);
            add_pairs(&mut sums, gradient, y, |g, y| (if y > 0.0 { g } else { 0.0 }, g * y));
        }
        let [mean, slope] = sums.map(|sum| (sum.total() / self.shape.count()) as f32);
        let Statistics { mean: centre, rstd } = self.statistics;
        for start in self.shape.starts(self.channel) {
            // SAFETY: no other task writes this channel's planes.
            let out = unsafe { self.out.part(start, pixels) };
            let (x, y) = (&self.x[start..start + pixels], &self.y[start..start + pixels]);
            let gradient = &self.gradient[start..start + pixels];
            for (((dx, &x), &y), &g) in out.iter_mut().zip(x).zip(y).zip(gradient) {
                let open = if y > 0.0 { g } else { 0.0 };
                *dx = rstd * (open - mean - (x - centre) * rstd * slope);
            }
        }
    }
}
