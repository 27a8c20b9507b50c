//! Candidates: masks of one block that both sides draw from the prior.
//!
//! ```text
//! stream    purpose mrc-candidate, seed, round, client, index = number of the block's first weight
//! draws     candidate c of a block of n weights: n little-endian integers of 2 bytes from byte c * 64 * ceil(2 n / 64)
//! bit i     1 where draw i < threshold of weight i
//! ```

use prism_core::stream::StreamId;

/// Bytes of keystream that a candidate of `weights` weights takes: whole blocks of the cipher.
pub fn stride(weights: usize) -> usize {
    (2 * weights).next_multiple_of(64)
}

/// Draws single candidates, keeping its buffer.
#[derive(Default)]
pub struct Candidates {
    buffer: Vec<u8>,
}

impl Candidates {
    /// The bits of candidate `index` of the block whose first weight is number `first` and whose priors are
    /// `thresholds`.
    pub fn draw<'a>(
        &'a mut self,
        shared: StreamId,
        thresholds: &'a [u16],
        first: usize,
        index: usize,
    ) -> impl Iterator<Item = bool> + 'a {
        let mut stream = shared.index(first as u64).open();
        stream.seek((index * stride(thresholds.len())) as u64);
        self.buffer.resize(2 * thresholds.len(), 0);
        stream.fill(&mut self.buffer);
        let (draws, _) = self.buffer.as_chunks::<2>();
        draws.iter().zip(thresholds).map(|(draw, &t)| u16::from_le_bytes(*draw) < t)
    }
}

/// A threshold as [`tilted_sum`] takes it: moved so that comparing signed numbers orders unsigned ones.
pub fn signed(threshold: u16) -> i16 {
    (threshold ^ 0x8000) as i16
}

/// Sum of the tilts of those weights that a candidate keeps: `draw < threshold`, with [`signed`] thresholds.
pub fn tilted_sum(draws: &[u8], thresholds: &[i16], tilts: &[i16]) -> i32 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has AVX-512 BW, as just seen.
            return unsafe { tilted_sum_avx512(draws, thresholds, tilts) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as just seen.
            return unsafe { tilted_sum_avx2(draws, thresholds, tilts) };
        }
    }
    tilted_sum_portable(draws, thresholds, tilts)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bw")]
fn tilted_sum_avx512(draws: &[u8], thresholds: &[i16], tilts: &[i16]) -> i32 {
    tilted_sum_portable(draws, thresholds, tilts)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn tilted_sum_avx2(draws: &[u8], thresholds: &[i16], tilts: &[i16]) -> i32 {
    tilted_sum_portable(draws, thresholds, tilts)
}

/// Compiled once for each instruction set above; integers, so every one gives the same sum.
#[inline(always)]
fn tilted_sum_portable(draws: &[u8], thresholds: &[i16], tilts: &[i16]) -> i32 {
    let (draws, _) = draws.as_chunks::<2>();
    let weights = draws.iter().zip(thresholds.iter().zip(tilts));
    weights.map(|(draw, (&t, &tilt))| if signed(u16::from_le_bytes(*draw)) < t { i32::from(tilt) } else { 0 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_core::stream::Purpose;

    #[test]
    fn every_instruction_set_gives_the_plain_sum() {
        let mut stream = StreamId::new(3, Purpose::Test).open();
        for n in [0, 1, 7, 31, 32, 33, 500, 4096] {
            let mut draws = vec![0; 2 * n];
            stream.fill(&mut draws);
            let thresholds: Vec<u16> = (0..n).map(|_| stream.next_u32() as u16).collect();
            let tilts: Vec<i16> = (0..n).map(|_| stream.next_u32() as i16).collect();
            let (pairs, _) = draws.as_chunks::<2>();
            let kept = pairs.iter().zip(&thresholds).map(|(d, t)| u16::from_le_bytes(*d) < *t);
            let plain: i32 = kept.zip(&tilts).filter(|(kept, _)| *kept).map(|(_, tilt)| i32::from(*tilt)).sum();
            let moved: Vec<i16> = thresholds.iter().map(|&t| signed(t)).collect();
            assert_eq!(tilted_sum(&draws, &moved, &tilts), plain);
            assert_eq!(tilted_sum_portable(&draws, &moved, &tilts), plain);
        }
    }
}
