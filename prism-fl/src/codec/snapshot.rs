//! Snapshots: the whole state going down, as every score's index on the public grid.
//!
//! ```text
//! code     the index as a number of B bits: its 6 highest bits down an adaptive binary tree, the others at p = 1/2
//! ```

use super::ScoreGrid;
use crate::adaptive::BitModel;
use prism_core::rangecoder::{Decoder, Encoder};

/// Bits of an index that the tree models; the density of scores is nearly constant within a leaf, a quarter wide.
const TREE: u8 = 6;

/// The entropy of the numbers' own distribution, in bits for all of them: what a code needs that knows it beforehand.
/// Memory is taken for every number between the least and the greatest.
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
pub fn encode(indices: &[i32], grid: ScoreGrid) -> Vec<u8> {
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

/// Bytes that every code of [`encode`] of so many weights has at least: those of the bits that no tree models.
pub fn least_bytes(weights: usize, grid: ScoreGrid) -> usize {
    weights * usize::from(grid.bits().saturating_sub(TREE)) / 8
}

/// Reads the indices of `weights` weights from a code of [`encode`].
///
/// # Errors
/// A clause that says what is wrong with `code`.
pub fn decode(code: &[u8], weights: usize, grid: ScoreGrid) -> Result<Vec<i32>, String> {
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
    use prism_core::stream::{Purpose, StreamId};

    /// Indices of normal scores of the given spread.
    fn normal(len: usize, spread: f64, grid: ScoreGrid, seed: u64) -> Vec<i32> {
        let mut stream = StreamId::new(seed, Purpose::Test).open();
        (0..len).map(|_| grid.index((spread * stream.normal()) as f32)).collect()
    }

    #[test]
    fn codes_are_close_to_the_entropy() {
        let grid = ScoreGrid::FINE;
        for spread in [1.0, 1.5] {
            let indices = normal(100_000, spread, grid, 1);
            let deviation = spread / f64::from(grid.step());
            let gaussian = (deviation * (std::f64::consts::TAU * std::f64::consts::E).sqrt()).log2();
            let rates = [8.0 * encode(&indices, grid).len() as f64, entropy_bits(&indices)].map(|bits| bits / 1e5);
            assert!(rates.iter().all(|rate| (rate - gaussian).abs() < 0.05), "{rates:?} beside {gaussian}");
        }
    }

    proptest! {
        #[test]
        fn states_come_back(numbers in proptest::collection::vec(any::<i32>(), 0..200)) {
            let grid = ScoreGrid::FINE;
            let index = |n: &i32| n.rem_euclid(1 << grid.bits()) - grid.largest() - 1;
            let indices: Vec<i32> = numbers.iter().map(index).collect();
            let code = encode(&indices, grid);
            prop_assert!(code.len() >= least_bytes(indices.len(), grid));
            prop_assert_eq!(decode(&code, indices.len(), grid).unwrap(), indices);
        }

        #[test]
        fn foreign_codes_never_panic(code in proptest::collection::vec(any::<u8>(), 0..80), len in 0usize..300) {
            let _ = decode(&code, len, ScoreGrid::FINE);
        }
    }
}
