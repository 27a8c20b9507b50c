//! How many weights share a candidate: small blocks where a client has moved far, large ones where it has hardly moved.

use std::ops::Range;

use crate::codec::Prior;
use prism_core::score::sigmoid;

/// Weights of a chunk; the last one may have fewer.
pub const CHUNK: usize = 4096;

/// Into how many equal blocks a chunk can be cut.
pub const SPLITS: [usize; 21] =
    [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096];

/// The Rényi divergence of order 2 that a block may have, in nats: `ln(256) - 2`, so that the step from prior to client
/// shrinks by about exp(-2) in the fullest block, and by a few hundredths in most.
pub const BUDGET: f64 = 3.545;

/// A chunk cut into blocks.
#[derive(Clone, Copy, Debug)]
pub struct ChunkSplit {
    start: usize,
    weights: usize,
    count: usize,
}

impl ChunkSplit {
    /// Chunk `number` of `total` weights, cut in way `split` of [`SPLITS`].
    pub fn of(number: usize, total: usize, split: usize) -> Self {
        let start = number * CHUNK;
        ChunkSplit { start, weights: (total - start).min(CHUNK), count: SPLITS[split] }
    }

    /// Number of blocks.
    pub fn count(self) -> usize {
        self.count
    }

    /// Number of weights.
    pub fn weights(self) -> usize {
        self.weights
    }

    /// The blocks, as ranges of all weights: block i of n begins at `floor(i * weights / n)` of the chunk.
    pub fn blocks(self) -> impl Iterator<Item = Range<usize>> {
        let at = move |i: usize| self.start + i * self.weights / self.count;
        (0..self.count).map(move |i| at(i)..at(i + 1))
    }
}

/// The coarsest split of chunk `number` whose blocks all stay within [`BUDGET`], or else single weights.
pub fn choose(number: usize, prior: &Prior, scores: &[f32]) -> usize {
    let start = number * CHUNK;
    let end = (start + CHUNK).min(scores.len());
    let mut sums = Vec::with_capacity(end - start + 1);
    let mut sum = 0.0;
    sums.push(sum);
    for (&score, i) in scores[start..end].iter().zip(start..) {
        sum += renyi(score, prior.probability(i));
        sums.push(sum);
    }
    let fits = |split: &usize| {
        let cut = ChunkSplit::of(number, scores.len(), *split);
        cut.count >= cut.weights || cut.blocks().all(|b| sums[b.end - start] - sums[b.start - start] <= BUDGET)
    };
    let last = SPLITS.iter().rposition(|&n| n <= end - start).unwrap_or(0);
    (0..=last).find(fits).unwrap_or(last)
}

/// `ln( q^2 / p + (1 - q)^2 / (1 - p) )` for q = sigmoid(score).
fn renyi(score: f32, p: f64) -> f64 {
    let q = f64::from(sigmoid(score));
    libm::log1p((q - p) * (q - p) / (p * (1.0 - p)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renyi_divergence_matches_its_definition() {
        for (q, p) in [(0.5f64, 0.5f64), (0.9, 0.2), (0.01, 0.99)] {
            let got = renyi((q / (1.0 - q)).ln() as f32, p);
            assert!((got - (q * q / p + (1.0 - q) * (1.0 - q) / (1.0 - p)).ln()).abs() < 1e-4);
        }
    }

    #[test]
    fn blocks_cover_their_chunk_and_follow_the_divergence() {
        for total in [1usize, 4095, 4096, 4100, 10_000] {
            for number in 0..total.div_ceil(CHUNK) {
                let cut = ChunkSplit::of(number, total, 0);
                assert_eq!(cut.blocks().map(|b| b.len()).sum::<usize>(), cut.weights());
            }
        }
        let prior = Prior::new(&[0.0; 4096]);
        let splits = [0.0, 0.05, 0.2, 1.0, 8.0].map(|moved| SPLITS[choose(0, &prior, &[moved; 4096])]);
        assert!(splits.is_sorted() && splits[0] == 1 && splits[4] >= 1024, "{splits:?}");
    }
}
