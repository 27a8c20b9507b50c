//! Convolution with weights of -1, 0 and 1: only additions, and only for the weights that are kept.
//!
//! ```text
//! y[o] = sigma * ( sum over taps of +1: x shifted  -  sum over taps of -1: x shifted )
//! ```
//!
//! A tap is where a kept weight reads its input, as an offset into zero-bordered maps. A block of 64 outputs stays in
//! registers while all taps pass by. Outputs are independent of each other and the taps' order is fixed, so every vector
//! width gives the same bits; there is no multiplication that a machine could fuse.

use super::maps::{BORDER, Maps};
use crate::arch::Layer;

/// A layer's kept weights, as lists of offsets.
pub(super) struct TapLayer {
    outputs: usize,
    side: usize,
    sigma: f32,
    /// Offsets of all taps: for each output channel those of +1, then those of -1.
    taps: Vec<u32>,
    /// Where each list ends in `taps`: two entries per output channel.
    ends: Vec<usize>,
}

impl TapLayer {
    /// The taps of `layer` with `weights` of -1, 0 or 1 over maps of `side` pixels.
    pub(super) fn new(layer: &Layer, weights: &[i8], side: usize) -> Self {
        let (k, pitch) = (layer.kernel, side + 2 * BORDER);
        // A kernel of 3 starts at the border, a kernel of 1 inside it.
        let start = BORDER - k / 2;
        let offset = |tap: usize| {
            let (channel, row, column) = (tap / (k * k), tap / k % k, tap % k);
            ((channel * pitch + row + start) * pitch + column + start) as u32
        };
        let (mut taps, mut ends) = (Vec::new(), Vec::new());
        for filters in weights.chunks_exact(layer.inputs * k * k) {
            for sign in [1, -1] {
                taps.extend(filters.iter().enumerate().filter(|(_, w)| **w == sign).map(|(tap, _)| offset(tap)));
                ends.push(taps.len());
            }
        }
        TapLayer { outputs: layer.outputs, side, sigma: layer.sigma(), taps, ends }
    }

    /// Overwrites `output` with the convolution of `input`.
    pub(super) fn run(&self, input: &Maps, output: &mut Maps) {
        debug_assert_eq!(input.side(), self.side);
        output.reset(self.outputs, self.side);
        let mut from = 0;
        for (channel, ends) in self.ends.chunks_exact(2).enumerate() {
            let signed = [&self.taps[from..ends[0]], &self.taps[ends[0]..ends[1]]];
            from = ends[1];
            channel_sums(signed, input.values(), output.channel_mut(channel), self.side, self.sigma);
        }
    }
}

/// One output channel on the widest vectors that this machine has.
fn channel_sums(taps: [&[u32]; 2], input: &[f32], output: &mut [f32], side: usize, sigma: f32) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the line above found AVX2, the one thing that this function asks of the machine.
        return unsafe { channel_sums_avx2(taps, input, output, side, sigma) };
    }
    channel_sums_portable(taps, input, output, side, sigma);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn channel_sums_avx2(taps: [&[u32]; 2], input: &[f32], output: &mut [f32], side: usize, sigma: f32) {
    channel_sums_portable(taps, input, output, side, sigma);
}

/// Blocks of 64 outputs: as many rows as that takes. `PITCH` is constant where a block has several rows.
#[inline(always)]
fn channel_sums_portable(taps: [&[u32]; 2], input: &[f32], output: &mut [f32], side: usize, sigma: f32) {
    match side {
        4 => blocks::<4, 4, 6>(taps, input, output, side, sigma),
        8 => blocks::<8, 8, 10>(taps, input, output, side, sigma),
        16 => blocks::<4, 16, 18>(taps, input, output, side, sigma),
        32 => blocks::<2, 32, 34>(taps, input, output, side, sigma),
        _ => blocks::<1, 64, 0>(taps, input, output, side, sigma),
    }
}

#[inline(always)]
fn blocks<const ROWS: usize, const COLUMNS: usize, const PITCH: usize>(
    taps: [&[u32]; 2],
    input: &[f32],
    output: &mut [f32],
    side: usize,
    sigma: f32,
) {
    let pitch = side + 2 * BORDER;
    for row in (0..side).step_by(ROWS) {
        for column in (0..side).step_by(COLUMNS) {
            let corner = row * pitch + column;
            let mut sums = [[0.0f32; COLUMNS]; ROWS];
            for tap in taps[0] {
                add::<ROWS, COLUMNS, PITCH>(&mut sums, &input[corner + *tap as usize..], |sum, x| sum + x);
            }
            for tap in taps[1] {
                add::<ROWS, COLUMNS, PITCH>(&mut sums, &input[corner + *tap as usize..], |sum, x| sum - x);
            }
            for (r, sums) in sums.iter().enumerate() {
                let inside = corner + (r + BORDER) * pitch + BORDER;
                output[inside..inside + COLUMNS].iter_mut().zip(sums).for_each(|(y, sum)| *y = sigma * sum);
            }
        }
    }
}

#[inline(always)]
fn add<const ROWS: usize, const COLUMNS: usize, const PITCH: usize>(
    sums: &mut [[f32; COLUMNS]; ROWS],
    input: &[f32],
    step: impl Fn(f32, f32) -> f32,
) {
    let input = &input[..(ROWS - 1) * PITCH + COLUMNS];
    for (r, sums) in sums.iter_mut().enumerate() {
        let row = &input[r * PITCH..r * PITCH + COLUMNS];
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum = step(*sum, *x);
        }
    }
}
