//! Masked weights: a Bernoulli draw or a threshold per weight, and the straight-through gradient to its score.
//!
//! Draw i takes bytes 4i..4i+4 of the stream, so a task can begin anywhere: tasks are fixed chunks of weights.

use prism_core::draw::{block, keeps, numbers};
use prism_core::score;
use prism_core::simd::math::{self, BLOCK};
use prism_core::simd::{Isa, Kernel, Shape};
use prism_core::stream::StreamId;
use rayon::prelude::*;

use crate::step_mask::StepMask;

/// Weights of one task.
const CHUNK: usize = 1 << 13;

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
        for (at, out) in (0..).step_by(BLOCK).zip(self.out.chunks_mut(BLOCK)) {
            let kept = keeps(numbers(self.draws, at), block(self.scores, at));
            let frozen = block(self.frozen, at);
            for (lane, out) in out.iter_mut().enumerate() {
                *out = if kept & (1 << lane) != 0 { frozen[lane] } else { 0.0 };
            }
        }
    }
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
