//! Scores and probabilities: `theta = sigmoid(s)`, and masks drawn from theta.
//!
//! All of this decides bits, so it uses `libm` and fixed-point comparisons: the same scores give the same mask
//! everywhere. Its `expf` and `logf` are those of FreeBSD's msun, operation by operation as `FORMAT.md` (section 5.7)
//! has them; those of other C libraries differ in the last bit.

use crate::arch::Layer;
use crate::mask::{LayerBits, pack};
use crate::stream::{Purpose, Stream, StreamId};

/// Bytes of keystream that one mask bit takes.
pub const BYTES_PER_DRAW: usize = 4;

/// `1 / (1 + exp(-s))`.
pub fn sigmoid(s: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-s))
}

/// `ln(p / (1 - p))` for p strictly between 0 and 1.
pub fn logit(p: f32) -> f32 {
    libm::logf(p / (1.0 - p))
}

/// The integer below which a 32-bit uniform draw keeps the weight: `floor(theta * 2^32)`.
pub fn keep_threshold(theta: f32) -> u64 {
    (f64::from(theta) * 4_294_967_296.0) as u64
}

/// Calls `each(position, kept)` for a Bernoulli draw per probability; draw i uses bytes 4i..4i+4 of the stream.
pub fn draw(theta: impl Iterator<Item = f32>, stream: &mut Stream, mut each: impl FnMut(usize, bool)) {
    let mut block = [0u8; 1024 * BYTES_PER_DRAW];
    let mut used = block.len();
    for (i, p) in theta.enumerate() {
        if used == block.len() {
            stream.fill(&mut block);
            used = 0;
        }
        let mut draw = [0; BYTES_PER_DRAW];
        draw.copy_from_slice(&block[used..used + BYTES_PER_DRAW]);
        used += BYTES_PER_DRAW;
        each(i, u64::from(u32::from_le_bytes(draw)) < keep_threshold(p));
    }
}

/// Draws one layer's mask, bit i being 1 with probability `theta[i]`.
pub fn sample_bits(theta: &[f32], stream: &mut Stream) -> LayerBits {
    let mut bits = LayerBits::repeat(false, theta.len());
    draw(theta.iter().copied(), stream, |i, kept| bits.set(i, kept));
    bits
}

/// The mask of the most likely bits: 1 where theta is above a half, which is where the score is positive.
pub fn threshold_bits(scores: &[f32]) -> LayerBits {
    pack(scores.iter().map(|&s| s > 0.0))
}

/// The initial scores of `layer`, number `index` of its architecture: normals of standard deviation `scale` from the
/// stream `score`.
///
/// The larger the scale, the closer to certain the mask, and the less noise the votes of clients bring into the scores.
pub fn initial_scores(seed: u64, index: usize, layer: &Layer, scale: f32) -> Vec<f32> {
    let mut scores = vec![0.0; layer.weights()];
    StreamId::new(seed, Purpose::Score).layer(index as u64).open().fill_normal(&mut scores);
    scores.iter_mut().for_each(|score| *score *= scale);
    scores
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn logit_undoes_sigmoid() {
        for s in [-4.0f32, -0.5, 0.0, 1.0, 4.0] {
            assert!((logit(sigmoid(s)) - s).abs() < 1e-5);
        }
    }

    /// The check values of section 5.7 of `FORMAT.md`: another `expf` or `logf` moves some of them.
    #[test]
    fn sigmoid_and_logit_are_those_of_the_format_page() {
        let sigmoids: Vec<u8> = (-2048..2048).flat_map(|index| sigmoid(index as f32 / 256.0).to_le_bytes()).collect();
        let hash: String = Sha256::digest(&sigmoids).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "ce9b330f6e4d90ede31a9ea4f86e62ccbb0eccdb8035869fda5584cce01f2e75");
        let logits = (0..=10).map(|votes| logit((votes as f32 / 10.0).clamp(0.01, 1.0 - 0.01)).to_bits());
        let expected = [
            0xc093_0b39,
            0xc00c_9f54,
            0xbfb1_7218,
            0xbf58_e882,
            0xbecf_9921,
            0,
            0x3ecf_9922,
            0x3f58_e883,
            0x3fb1_7219,
            0x400c_9f53,
            0x4093_0b3b,
        ];
        assert_eq!(logits.collect::<Vec<u32>>(), expected);
    }

    #[test]
    fn masks_follow_theta() {
        let theta: Vec<f32> = (0..200_000).map(|i| if i % 2 == 0 { 0.1 } else { 0.8 }).collect();
        let bits = sample_bits(&theta, &mut StreamId::new(5, Purpose::Test).open());
        let share = |odd: usize| bits.iter().skip(odd).step_by(2).filter(|b| **b).count() as f64 / 100_000.0;
        assert!((share(0) - 0.1).abs() < 0.005 && (share(1) - 0.8).abs() < 0.005);
    }

    #[test]
    fn certain_weights_are_always_kept_and_impossible_ones_never() {
        let bits = sample_bits(&[1.0, 0.0, 1.0, 0.0], &mut StreamId::new(6, Purpose::Test).open());
        assert_eq!(bits, pack([true, false, true, false]));
    }
}
