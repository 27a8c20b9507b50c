//! Masked weights: a Bernoulli draw or a threshold per weight, and the straight-through gradient to its score.
//!
//! Draw i takes bytes 4i..4i+4 of the stream, so a task can begin anywhere: tasks are fixed chunks of weights.
//!
//! A weight is kept where its 32-bit draw is below `floor(theta * 2^32)`, theta being [`score::sigmoid`]'s to the last bit.
//! A quick sigmoid is enough to decide nearly every draw; the few that fall within its error are decided by the exact one.

use prism_core::score;
use prism_core::simd::{Isa, Kernel, Shape};
use prism_core::stream::StreamId;
use rayon::prelude::*;

use super::math::{self, BLOCK};
use crate::step_mask::StepMask;

/// Weights of one task.
const CHUNK: usize = 1 << 13;
/// Far above the relative error of the quick sigmoid, including that of the exact one.
const MARGIN: f32 = 2e-6;
/// Scores beyond this are left to the exact sigmoid.
const QUICK_RANGE: f32 = 60.0;

/// `out = frozen * M`, with M chosen by `rule`.
///
/// # Panics
/// If the slices differ in length.
pub fn masked(isa: Isa, scores: &[f32], frozen: &[f32], rule: StepMask, out: &mut [f32]) {
    match rule {
        StepMask::Drawn(stream) => drawn(isa, scores, frozen, stream, out),
        StepMask::Threshold => each(scores, frozen, out, |score, weight| if score > 0.0 { weight } else { 0.0 }),
        StepMask::Dense => each(scores, frozen, out, |score, weight| score * weight),
    }
}

/// `out = f(scores, frozen)`, weight by weight.
fn each(scores: &[f32], frozen: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    assert!(scores.len() == out.len() && frozen.len() == out.len(), "one score for every weight");
    let chunks = out.par_chunks_mut(CHUNK).zip(scores.par_chunks(CHUNK)).zip(frozen.par_chunks(CHUNK));
    chunks.for_each(|((out, scores), frozen)| {
        for ((out, &score), &weight) in out.iter_mut().zip(scores).zip(frozen) {
            *out = f(score, weight);
        }
    });
}

/// `out = frozen * M`, with M drawn from `Bernoulli(sigmoid(scores))` as [`score::draw`] draws it.
///
/// # Panics
/// If the slices differ in length.
pub fn drawn(isa: Isa, scores: &[f32], frozen: &[f32], stream: StreamId, out: &mut [f32]) {
    assert!(scores.len() == out.len() && frozen.len() == out.len(), "one score for every weight");
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
        let range = chunk * CHUNK..chunk * CHUNK + out.len();
        let mut stream = stream.open();
        stream.seek((range.start * score::BYTES_PER_DRAW) as u64);
        let mut draws = [0u8; CHUNK * score::BYTES_PER_DRAW];
        let draws = &mut draws[..out.len() * score::BYTES_PER_DRAW];
        stream.fill(draws);
        let work = Draw { draws, scores: &scores[range.clone()], frozen: &frozen[range], out };
        // SAFETY: `isa` is one of this machine's.
        unsafe { isa.run(work) };
    });
}

/// The gradient of the scores, given that of the weights: straight through a mask, `gradient * frozen * theta * (1 - theta)`
/// with theta = `sigmoid(scores)`; without a mask, `gradient * frozen`.
///
/// # Panics
/// If the slices differ in length.
pub fn masked_gradient(isa: Isa, [scores, frozen, gradient]: [&[f32]; 3], rule: StepMask, out: &mut [f32]) {
    if let StepMask::Dense = rule {
        return each(frozen, gradient, out, |weight, gradient| weight * gradient);
    }
    assert!([scores.len(), frozen.len(), gradient.len()] == [out.len(); 3], "one score for every weight");
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
        let range = chunk * CHUNK..chunk * CHUNK + out.len();
        let (frozen, gradient) = (&frozen[range.clone()], &gradient[range.clone()]);
        // SAFETY: `isa` is one of this machine's.
        unsafe { isa.run(Slope { scores: &scores[range], frozen, gradient, out }) };
    });
}

/// The numbers of `values` from `at` on, and zeros where there are no more.
#[inline(always)]
fn block(values: &[f32], at: usize) -> [f32; BLOCK] {
    let mut block = [0.0; BLOCK];
    let count = BLOCK.min(values.len() - at);
    block[..count].copy_from_slice(&values[at..at + count]);
    block
}

struct Draw<'a> {
    draws: &'a [u8],
    scores: &'a [f32],
    frozen: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Draw<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        for at in (0..self.out.len()).step_by(BLOCK) {
            let scores = block(self.scores, at);
            let theta = math::sigmoid(scores);
            let count = BLOCK.min(self.out.len() - at);
            let draws = &self.draws[at * score::BYTES_PER_DRAW..][..count * score::BYTES_PER_DRAW];
            let out = self.out[at..at + count].iter_mut().zip(&self.frozen[at..at + count]);
            for (lane, (bytes, (out, &w))) in draws.chunks_exact(score::BYTES_PER_DRAW).zip(out).enumerate() {
                let draw = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                let kept = keeps(draw, scores[lane], theta[lane]);
                *out = if kept { w } else { 0.0 };
            }
        }
    }
}

/// Whether `draw` keeps a weight of this score; `theta` is nearly the score's sigmoid.
#[inline(always)]
fn keeps(draw: u32, score: f32, theta: f32) -> bool {
    // In units of 2^-32; the rounding of `draw` to f32, 2^-24 of it, is part of the margin.
    let (draw_near, limit) = (draw as f32, theta * 4_294_967_296.0);
    let doubt = (draw_near + limit) * MARGIN + 2.0;
    if (draw_near - limit).abs() > doubt && score.abs() < QUICK_RANGE {
        return draw_near < limit;
    }
    u64::from(draw) < score::keep_threshold(score::sigmoid(score))
}

struct Slope<'a> {
    scores: &'a [f32],
    frozen: &'a [f32],
    gradient: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Slope<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        for at in (0..self.out.len()).step_by(BLOCK) {
            let theta = math::sigmoid(block(self.scores, at));
            let (w, g) = (block(self.frozen, at), block(self.gradient, at));
            let count = BLOCK.min(self.out.len() - at);
            let mut slope = [0.0; BLOCK];
            for lane in 0..BLOCK {
                slope[lane] = g[lane] * w[lane] * (theta[lane] * (1.0 - theta[lane]));
            }
            self.out[at..at + count].copy_from_slice(&slope[..count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_core::stream::Purpose;

    #[test]
    fn every_draw_is_decided_as_by_the_exact_sigmoid() {
        let mut stream = StreamId::new(1, Purpose::Test).open();
        for i in 0..200_000 {
            let score = match i % 4 {
                0 => stream.normal() as f32,
                1 => 10.0 * stream.normal() as f32,
                2 => 40.0 * stream.normal() as f32,
                _ => [0.0, f32::MAX, f32::MIN, 88.0, -88.0, f32::NAN][i / 4 % 6],
            };
            let limit = score::keep_threshold(score::sigmoid(score));
            // Draws around the limit, where the quick answer would be wrong, and anywhere.
            let near = (limit + stream.next_u64() % 5).saturating_sub(2).min(u64::from(u32::MAX)) as u32;
            for draw in [near, stream.next_u32(), 0, u32::MAX] {
                let quick = math::sigmoid([score; BLOCK])[0];
                assert_eq!(keeps(draw, score, quick), u64::from(draw) < limit, "score {score}, draw {draw}");
            }
        }
    }
}
