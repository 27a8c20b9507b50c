//! Masked weights: a Bernoulli draw per weight, and the straight-through gradient to its score.
//!
//! Draw i takes bytes 4i..4i+4 of the stream, so a task can begin anywhere: tasks are fixed chunks of weights.

use prism_core::score;
use prism_core::stream::StreamId;
use rayon::prelude::*;

/// Weights of one task.
const CHUNK: usize = 1 << 13;

/// `out = frozen * M`, with M drawn from `Bernoulli(sigmoid(scores))` as [`score::draw`] draws it.
///
/// # Panics
/// If the slices differ in length.
pub fn masked(scores: &[f32], frozen: &[f32], stream: StreamId, out: &mut [f32]) {
    assert!(scores.len() == out.len() && frozen.len() == out.len(), "one score for every weight");
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
        let first = chunk * CHUNK;
        let frozen = &frozen[first..first + out.len()];
        let theta = scores[first..first + out.len()].iter().map(|&s| score::sigmoid(s));
        let mut stream = stream.open();
        stream.seek((first * score::BYTES_PER_DRAW) as u64);
        score::draw(theta, &mut stream, |i, kept| out[i] = if kept { frozen[i] } else { 0.0 });
    });
}

/// The straight-through gradient `gradient * frozen * theta * (1 - theta)`, theta being `sigmoid(scores)`.
///
/// # Panics
/// If the slices differ in length.
pub fn masked_gradient([scores, frozen, gradient]: [&[f32]; 3], out: &mut [f32]) {
    assert!([scores.len(), frozen.len(), gradient.len()] == [out.len(); 3], "one score for every weight");
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
        let range = chunk * CHUNK..chunk * CHUNK + out.len();
        let weights = scores[range.clone()].iter().zip(&frozen[range.clone()]).zip(&gradient[range]);
        for (ds, ((&s, &w), &g)) in out.iter_mut().zip(weights) {
            let theta = score::sigmoid(s);
            *ds = g * w * (theta * (1.0 - theta));
        }
    });
}
