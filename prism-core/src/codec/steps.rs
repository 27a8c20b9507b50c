//! Scores on a public grid, going down: how far each index moved since the state that the client holds, or all of them.
//!
//! ```text
//! steps      a signed number a weight, in one of three contexts: the weight before it moved by 0, by 1, by more
//! snapshot   the index as a number of B bits: its 6 highest bits down an adaptive binary tree, the others at p = 1/2
//! ```

use super::ScoreGrid;
use super::adaptive::{BitModel, SignedModel};
use crate::rangecoder::{Decoder, Encoder};

/// Bits of an index that the tree models; the density of scores is nearly constant within a leaf, a quarter wide.
const TREE: u8 = 6;

fn context(step: i32) -> usize {
    step.unsigned_abs().min(2) as usize
}

fn step_models(grid: ScoreGrid) -> [SignedModel; 3] {
    std::array::from_fn(|_| SignedModel::new(grid.bits().into()))
}

/// Codes the way from the indices `before` to the indices `after`, both on `grid`.
///
/// # Panics
/// If the lengths differ.
pub fn encode(before: &[i32], after: &[i32], grid: ScoreGrid) -> Vec<u8> {
    assert_eq!(before.len(), after.len(), "two states of the same weights");
    let (mut encoder, mut models, mut last) = (Encoder::default(), step_models(grid), 0);
    for (&from, &to) in before.iter().zip(after) {
        models[context(last)].put(&mut encoder, to - from);
        last = to - from;
    }
    encoder.finish()
}

/// Moves `indices` along a code of [`encode`].
///
/// # Errors
/// A clause that says what is wrong with `code`; `indices` may then have moved in part.
pub fn apply(code: &[u8], indices: &mut [i32], grid: ScoreGrid) -> Result<(), String> {
    let (mut decoder, mut models, mut last) = (Decoder::new(code)?, step_models(grid), 0);
    for (i, index) in indices.iter_mut().enumerate() {
        last = models[context(last)].take(&mut decoder).ok_or_else(|| format!("its steps end at weight {i}"))?;
        *index += last;
        if !grid.contains(*index) {
            return Err(format!("its step of {last} takes weight {i} off the grid of {} bits", grid.bits()));
        }
    }
    decoder.finish()
}

/// The entropy of the numbers' own distribution, in bits for all of them: what a code needs that knows it beforehand. Memory is
/// taken for every number between the least and the greatest.
pub fn entropy_bits(numbers: &[i32]) -> f64 {
    let (Some(&least), Some(&most)) = (numbers.iter().min(), numbers.iter().max()) else { return 0.0 };
    let mut counts = vec![0u64; most.abs_diff(least) as usize + 1];
    numbers.iter().for_each(|n| counts[n.abs_diff(least) as usize] += 1);
    entropy_of_counts(&counts)
}

/// The same of numbers of which there are so many of each kind.
pub(super) fn entropy_of_counts(counts: &[u64]) -> f64 {
    let total = counts.iter().sum::<u64>() as f64;
    counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 * (libm::log2(total) - libm::log2(c as f64))).sum()
}

/// Codes whole states: every index of `indices`, all on `grid`.
pub fn encode_snapshot(indices: &[i32], grid: ScoreGrid) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let mut tree = [BitModel::default(); 1 << TREE];
    for &index in indices {
        let number = (index + grid.largest() + 1) as u32;
        let mut node = 1;
        for (place, shift) in (0..grid.bits()).rev().enumerate() {
            let bit = number >> shift & 1 == 1;
            if place < TREE.into() {
                tree[node].put(&mut encoder, bit);
                node = node << 1 | usize::from(bit);
            } else {
                encoder.put(bit, 32_768);
            }
        }
    }
    encoder.finish()
}

/// Bytes that every code of [`encode_snapshot`] of so many weights has at least: those of the bits that no tree models.
pub fn least_snapshot_bytes(weights: usize, grid: ScoreGrid) -> usize {
    weights * usize::from(grid.bits().saturating_sub(TREE)) / 8
}

/// Reads the indices of `weights` weights from a code of [`encode_snapshot`].
///
/// # Errors
/// A clause that says what is wrong with `code`.
pub fn decode_snapshot(code: &[u8], weights: usize, grid: ScoreGrid) -> Result<Vec<i32>, String> {
    let mut decoder = Decoder::new(code)?;
    let mut tree = [BitModel::default(); 1 << TREE];
    let mut take = || {
        let (mut number, mut node) = (0, 1);
        for place in 0..grid.bits() {
            let bit = if place < TREE {
                let bit = tree[node].take(&mut decoder)?;
                node = node << 1 | usize::from(bit);
                bit
            } else {
                decoder.take(32_768)?
            };
            number = number << 1 | i32::from(bit);
        }
        Some(number - grid.largest() - 1)
    };
    let indices = (0..weights).map(|i| take().ok_or_else(|| format!("its snapshot ends at weight {i} of {weights}")));
    let indices = indices.collect::<Result<Vec<_>, _>>()?;
    decoder.finish()?;
    Ok(indices)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::{Purpose, StreamId};

    /// Indices of normal scores of the given spread.
    fn normal(len: usize, spread: f64, grid: ScoreGrid, seed: u64) -> Vec<i32> {
        let mut stream = StreamId::new(seed, Purpose::Test).open();
        (0..len).map(|_| grid.index((spread * stream.normal()) as f32)).collect()
    }

    #[test]
    fn codes_are_close_to_the_entropy() {
        for bits in [4, 8, 12] {
            let grid = ScoreGrid::new(bits).unwrap();
            let before = normal(100_000, 1.5, grid, 1);
            let moved = normal(100_000, 0.3, grid, 2);
            let after: Vec<i32> =
                before.iter().zip(&moved).map(|(a, b)| (a + b).clamp(-grid.largest() - 1, grid.largest())).collect();
            let steps: Vec<i32> = before.iter().zip(&after).map(|(a, b)| b - a).collect();
            let rate = 8.0 * encode(&before, &after, grid).len() as f64 / 1e5;
            assert!(
                rate < 1.05 * entropy_bits(&steps) / 1e5 + 0.02,
                "{bits}: {rate} and {}",
                entropy_bits(&steps) / 1e5
            );
            let rate = 8.0 * encode_snapshot(&before, grid).len() as f64 / 1e5;
            let gaussian = (1.5 / f64::from(grid.step()) * (std::f64::consts::TAU * std::f64::consts::E).sqrt()).log2();
            assert!(rate < gaussian.max(entropy_bits(&before) / 1e5) + 0.05, "{bits}: {rate} and {gaussian}");
        }
    }

    proptest! {
        #[test]
        fn states_come_back(bits in 2u8..=16, pairs in proptest::collection::vec((any::<i32>(), any::<i32>()), 0..200)) {
            let grid = ScoreGrid::new(bits).unwrap();
            let on_grid = |n: i32| n.rem_euclid(1 << bits) - grid.largest() - 1;
            let before: Vec<i32> = pairs.iter().map(|p| on_grid(p.0)).collect();
            let after: Vec<i32> = pairs.iter().map(|p| on_grid(p.1)).collect();
            let mut indices = before.clone();
            apply(&encode(&before, &after, grid), &mut indices, grid).unwrap();
            prop_assert_eq!(&indices, &after);
            let snapshot = encode_snapshot(&after, grid);
            prop_assert!(snapshot.len() >= least_snapshot_bytes(after.len(), grid));
            prop_assert_eq!(decode_snapshot(&snapshot, after.len(), grid).unwrap(), after);
        }

        #[test]
        fn foreign_codes_never_panic(code in proptest::collection::vec(any::<u8>(), 0..80), bits in 2u8..=16, len in 0usize..300) {
            let grid = ScoreGrid::new(bits).unwrap();
            let _ = apply(&code, &mut vec![0; len], grid);
            let _ = decode_snapshot(&code, len, grid);
        }
    }
}
