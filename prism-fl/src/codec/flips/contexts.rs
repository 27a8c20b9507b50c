//! What both sides know of a weight before its flip is coded: the bit that is expected of it, and its context.
//!
//! Computed for some thousand weights at a time and by vectors, so that nothing is left to the coder's loop, which must
//! go weight by weight, but to look the context up.

use prism_core::draw;
use prism_core::score::BYTES_PER_DRAW;
use prism_core::simd::math::BLOCK;
use prism_core::simd::{Isa, Kernel, Shape};
use prism_core::stream::{Stream, StreamId};

/// Weights whose numbers are drawn at once.
pub const CHUNK: usize = 4096;

/// Classes of how sure a prior is: the bits in the lesser of both probabilities, in 65536ths.
pub const CERTAINTIES: usize = 1 << CERTAINTY;

/// Bits of a context below the expected bit: of how sure the prior is, and of how near the number is to it.
const CERTAINTY: u32 = 4;
const DISTANCE: u32 = 5;

/// How many contexts there are, some of which no weight has.
pub const CONTEXTS: usize = 2 << (CERTAINTY + DISTANCE);

/// The class of how sure a prior is, below [`CERTAINTIES`].
#[inline(always)]
pub fn certainty(threshold: u16) -> u16 {
    let threshold = i32::from(threshold);
    log2(threshold.min(65_536 - threshold).max(1))
}

/// The logarithm of a number from 1 to 2^24, rounded down: a float's exponent, since vectors have no other way to it.
#[inline(always)]
fn log2(n: i32) -> u16 {
    ((n as f32).to_bits() >> 23) as u16 - 127
}

/// The shared numbers of a message and what follows from them, some weights at a time: memory for all would be fetched
/// for every message anew.
pub struct Shared {
    stream: Stream,
    numbers: [u8; BYTES_PER_DRAW * CHUNK],
    contexts: [u16; CHUNK],
    expected: [u8; CHUNK / 8],
}

/// The shared numbers of some weights, and what follows from them.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The numbers' bytes.
    pub numbers: &'a [u8],
    /// Each weight's context.
    pub contexts: &'a [u16],
    /// The bits that are expected, the first in the lowest; spare ones are 0.
    pub expected: &'a [u8],
}

impl Shared {
    /// At the first weight.
    pub fn new(id: StreamId) -> Self {
        let (numbers, contexts) = ([0; BYTES_PER_DRAW * CHUNK], [0; CHUNK]);
        Shared { stream: id.open(), numbers, contexts, expected: [0; CHUNK / 8] }
    }

    /// What is known of the next weights, whose prior is `thresholds`, at most [`CHUNK`].
    pub fn next(&mut self, thresholds: &[u16]) -> Known<'_> {
        let numbers = &mut self.numbers[..BYTES_PER_DRAW * thresholds.len()];
        self.stream.fill(numbers);
        let contexts = &mut self.contexts[..thresholds.len()];
        let expected = &mut self.expected[..thresholds.len().div_ceil(8)];
        // SAFETY: the instruction set is this machine's.
        unsafe { Isa::detect().run(Contexts { numbers, thresholds, contexts, expected }) };
        Known { numbers, contexts, expected }
    }
}

struct Contexts<'a> {
    numbers: &'a [u8],
    thresholds: &'a [u16],
    contexts: &'a mut [u16],
    expected: &'a mut [u8],
}

impl Kernel for Contexts<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let blocks = self.thresholds.chunks(BLOCK).zip(self.contexts.chunks_mut(BLOCK));
        let blocks = blocks.zip(self.expected.chunks_mut(BLOCK / 8));
        for (at, ((thresholds, contexts), expected)) in (0..).step_by(BLOCK).zip(blocks) {
            let draws = draw::numbers(self.numbers, at);
            // A threshold of 0, where there are no more weights, expects no bit.
            let priors = draw::first(thresholds);
            let (mut found, mut bits) = ([0; BLOCK], 0u16);
            for lane in 0..BLOCK {
                let (upper, threshold) = ((draws[lane] >> 16) as i32, i32::from(priors[lane]));
                let expects = upper < threshold;
                let distance = if expects { threshold - upper } else { upper - threshold + 1 };
                let sure = certainty(priors[lane]);
                found[lane] = u16::from(expects) << (CERTAINTY + DISTANCE) | sure << DISTANCE | log2(distance);
                bits |= u16::from(expects) << lane;
            }
            draw::put(contexts, found);
            draw::put(expected, bits.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_core::stream::Purpose;

    /// The context of a weight: whether it is expected, how sure that is, and how near the number is.
    fn plain(threshold: u16, upper: u16) -> (bool, u32, u32) {
        let (t, u) = (u32::from(threshold), u32::from(upper));
        let distance = if u < t { t - 1 - u } else { u - t };
        (u < t, t.min(65_536 - t).ilog2(), (distance + 1).ilog2())
    }

    #[test]
    fn contexts_are_those_of_the_plain_formulas_on_every_instruction_set() {
        let mut stream = StreamId::new(5, Purpose::Test).open();
        for len in [0, 1, 7, 8, 15, 16, 17, 500, CHUNK] {
            let edges = [1, 2, 3, 32_767, 32_768, 32_769, 65_534, 65_535];
            let thresholds: Vec<u16> = (0..len)
                .map(|i| if i % 3 == 0 { edges[i / 3 % 8] } else { (stream.next_u32() >> 16).max(1) as u16 })
                .collect();
            let uppers: Vec<u16> = (0..len)
                .map(|i| match i % 5 {
                    0 => thresholds[i],
                    1 => thresholds[i] - 1,
                    2 => [0, 65_535][i / 5 % 2],
                    _ => (stream.next_u32() >> 16) as u16,
                })
                .collect();
            let numbers: Vec<u8> = uppers.iter().flat_map(|&u| (u32::from(u) << 16 | 0x8001).to_le_bytes()).collect();
            let expected = uppers.iter().zip(&thresholds).map(|(u, t)| u < t);
            let expected = prism_core::mask::to_bytes(&prism_core::mask::pack(expected));
            for isa in Isa::available() {
                let (mut contexts, mut bits) = (vec![u16::MAX; len], vec![u8::MAX; len.div_ceil(8)]);
                let kernel = Contexts {
                    numbers: &numbers,
                    thresholds: &thresholds,
                    contexts: &mut contexts,
                    expected: &mut bits,
                };
                // SAFETY: `isa` is one of this machine's.
                unsafe { isa.run(kernel) };
                assert_eq!(bits, expected, "{len} weights, {isa:?}");
                for ((context, &threshold), &upper) in contexts.into_iter().zip(&thresholds).zip(&uppers) {
                    let (expects, sure, distance) = plain(threshold, upper);
                    let found = (context >> 9 == 1, u32::from(context >> 5 & 15), u32::from(context & 31));
                    assert_eq!(found, (expects, sure, distance), "prior {threshold}, number {upper}, {isa:?}");
                    assert_eq!(u32::from(certainty(threshold)), sure);
                }
            }
        }
    }
}
