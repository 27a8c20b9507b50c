//! Whole masks from scores: quickly, and bit for bit as [`crate::score`] draws them one by one.
//!
//! A weight is kept where its 32-bit draw is below `floor(theta * 2^32)`, theta being [`score::sigmoid`]'s to the last
//! bit. A quick sigmoid is enough to decide nearly every draw; the few that fall within its error are decided by the
//! exact one.

use crate::mask::LayerBits;
use crate::score;
use crate::simd::math::{self, BLOCK};
use crate::simd::{Isa, Kernel, Shape};

/// Scores beyond this are left to the exact sigmoid.
pub const QUICK_RANGE: f32 = 60.0;
/// Far above the relative error of the quick sigmoid, including that of the exact one.
const MARGIN: f32 = 2e-6;
/// Weights whose draws are taken from the stream at once.
const CHUNK: usize = 1024;

/// For each lane, whether its draw keeps a weight of its score: bit i is lane i's.
#[inline(always)]
pub fn keeps(draws: [u32; BLOCK], scores: [f32; BLOCK]) -> u16 {
    let theta = math::sigmoid(scores);
    let (mut kept, mut doubtful) = (0u16, 0u16);
    for lane in 0..BLOCK {
        // In units of 2^-32; the rounding of the draw to f32, 2^-24 of it, is part of the margin.
        let (draw, limit) = (draws[lane] as f32, theta[lane] * 4_294_967_296.0);
        let sure = (draw - limit).abs() > (draw + limit) * MARGIN + 2.0 && scores[lane].abs() < QUICK_RANGE;
        kept |= u16::from(draw < limit) << lane;
        doubtful |= u16::from(!sure) << lane;
    }
    while doubtful != 0 {
        let lane = doubtful.trailing_zeros() as usize;
        let keep = u64::from(draws[lane]) < score::keep_threshold(score::sigmoid(scores[lane]));
        kept = kept & !(1 << lane) | u16::from(keep) << lane;
        doubtful &= doubtful - 1;
    }
    kept
}

/// A mask in which bit i is 1 with probability `sigmoid(scores[i])`; `fill` gives the next bytes of a keystream, four a
/// bit.
pub fn mask(scores: &[f32], mut fill: impl FnMut(&mut [u8])) -> LayerBits {
    let mut mask = LayerBits::repeat(false, scores.len());
    let mut draws = [0u8; CHUNK * score::BYTES_PER_DRAW];
    let bytes = mask.as_raw_mut_slice().chunks_mut(CHUNK / 8);
    for (scores, out) in scores.chunks(CHUNK).zip(bytes) {
        let draws = &mut draws[..scores.len() * score::BYTES_PER_DRAW];
        fill(draws);
        bits(scores, draws, out);
    }
    mask
}

/// Writes the bits of the [`mask`] that comes of `draws`, four bytes a score, eight to a byte of `out`; spare ones
/// become 0.
///
/// # Panics
/// If the lengths do not match.
pub fn bits(scores: &[f32], draws: &[u8], out: &mut [u8]) {
    let fit = draws.len() == score::BYTES_PER_DRAW * scores.len() && out.len() == scores.len().div_ceil(8);
    assert!(fit, "a draw and a bit for each score");
    // SAFETY: the instruction set is this machine's.
    unsafe { Isa::detect().run(Bits { draws, scores, out }) };
}

/// The numbers of `values` from `at` on, and zeros where there are no more.
#[inline(always)]
pub fn block(values: &[f32], at: usize) -> [f32; BLOCK] {
    first(&values[at..])
}

/// The draws of the weights from `at` on, and zeros where there are no more.
#[inline(always)]
pub fn numbers(draws: &[u8], at: usize) -> [u32; BLOCK] {
    first(&draws.as_chunks::<{ score::BYTES_PER_DRAW }>().0[at..]).map(u32::from_le_bytes)
}

/// The first of `values`, and zeros where there are no more.
#[inline(always)]
pub fn first<T: Copy + Default>(values: &[T]) -> [T; BLOCK] {
    // There usually are enough, and copying a length that the compiler knows takes no call.
    if let Some(block) = values.first_chunk() {
        return *block;
    }
    let mut block = [T::default(); BLOCK];
    block[..values.len()].copy_from_slice(values);
    block
}

/// Writes `block` to the beginning of `out`, or as much of it as there is room for.
#[inline(always)]
pub fn put<T: Copy, const N: usize>(out: &mut [T], block: [T; N]) {
    match out.first_chunk_mut() {
        Some(out) => *out = block,
        None => out.copy_from_slice(&block[..out.len()]),
    }
}

struct Bits<'a> {
    draws: &'a [u8],
    scores: &'a [f32],
    /// One bit a weight, the first in the lowest.
    out: &'a mut [u8],
}

impl Kernel for Bits<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        for (at, out) in (0..).step_by(BLOCK).zip(self.out.chunks_mut(BLOCK / 8)) {
            let count = BLOCK.min(self.scores.len() - at);
            // Draws of 0 for scores of 0 where there are no more would set bits behind the last.
            let kept = keeps(numbers(self.draws, at), block(self.scores, at)) & (u16::MAX >> (BLOCK - count));
            put(out, kept.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Purpose, StreamId};

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
                let expected = if u64::from(draw) < limit { u16::MAX } else { 0 };
                assert_eq!(keeps([draw; BLOCK], [score; BLOCK]), expected, "score {score}, draw {draw}");
            }
        }
    }

    #[test]
    fn masks_are_those_of_single_draws_on_every_instruction_set() {
        for len in [0, 1, 7, 16, 1023, 1024, 1025, 5000] {
            let id = StreamId::new(len as u64, Purpose::Test);
            let mut scores = vec![0.0; len];
            id.index(1).open().fill_normal(&mut scores);
            let mut stream = id.open();
            let found = mask(&scores, |bytes| stream.fill(bytes));
            let theta: Vec<f32> = scores.iter().map(|&s| score::sigmoid(s)).collect();
            assert_eq!(found, score::sample_bits(&theta, &mut id.open()), "{len} weights");
            let mut draws = vec![0; len * score::BYTES_PER_DRAW];
            id.open().fill(&mut draws);
            for isa in Isa::available() {
                let mut bits = LayerBits::repeat(false, len);
                // SAFETY: `isa` is one of this machine's.
                unsafe { isa.run(Bits { draws: &draws, scores: &scores, out: bits.as_raw_mut_slice() }) };
                assert_eq!(bits, found, "{len} weights, {isa:?}");
            }
        }
    }
}
