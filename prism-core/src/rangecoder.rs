//! A binary range coder: for masks whose density is not one half, and wherever else bits are not equally likely.
//!
//! Every bit is coded with a 16-bit probability, so the output comes within a few bytes of the sum of `-log2 P(bit)`.
//! In an artifact a whole layer shares one probability ([`encode`]); an [`Encoder`] takes another for each bit. It is
//! the carry-propagating coder of Martin (1979) in the 32-bit form that LZMA made common, small enough for `FORMAT.md`
//! to spell out:
//!
//! ```text
//! bound = range * p >> 16                   p = probability of a 1, in 65536ths; the product takes 48 bits
//! a 1 keeps the lower part:  range = bound
//! a 0 keeps the upper part:  low += bound, range -= bound
//! while range < 2^24: move low's top byte out, range <<= 8
//! ```
//!
//! The decoder allocates what the caller asks for and no more, and refuses every byte string but the one that the
//! encoder makes of the same bits.

use crate::mask::LayerBits;
use crate::prelude::*;

const TOP: u32 = 1 << 24;

/// The probability of a 1 in a layer of `len` bits with `ones` ones: `round(65536 * ones / len)`, halves upwards, kept
/// within 1..=65535 so that both bits can always be coded. An empty layer has 32768.
pub fn probability(ones: usize, len: usize) -> u16 {
    let (ones, len) = (ones as u64, len as u64);
    match (131_072 * ones + len).checked_div(2 * len) {
        Some(p) => p.clamp(1, 65_535) as u16,
        None => 32_768,
    }
}

/// Codes `bits`, each being 1 with probability `p` / 65536.
pub fn encode(bits: &LayerBits, p: u16) -> Vec<u8> {
    let mut encoder = Encoder::default();
    bits.iter().by_vals().for_each(|bit| encoder.put(bit, p));
    encoder.finish()
}

/// Reads `len` bits, each being 1 with probability `p` / 65536.
///
/// # Errors
/// A clause that says what is wrong, if `bytes` is not exactly what [`encode`] makes of `len` bits under `p`.
pub fn decode(bytes: &[u8], len: usize, p: u16) -> Result<LayerBits, String> {
    let mut decoder = Decoder::new(bytes)?;
    let mut bits = LayerBits::repeat(false, len);
    for index in 0..len {
        if decoder.take(p).ok_or_else(|| format!("its range-coded bits end at bit {index} of {len}"))? {
            bits.set(index, true);
        }
    }
    decoder.finish()?;
    Ok(bits)
}

/// Where a range of at least 2^24 is split: above 0 and below `range`. Shifting before multiplying, as 32-bit coders
/// do, would give what is rounded off to the rarer bit of a dense layer.
fn bound(range: u32, p: u16) -> u32 {
    ((u64::from(range) * u64::from(p)) >> 16) as u32
}

/// Codes bits one after another, each under a probability that the decoder will know as well.
pub struct Encoder {
    low: u64,
    range: u32,
    /// The last byte moved out of `low`, held back because a carry may still reach it.
    held: u8,
    /// How many bytes are held back: `held`, then bytes of 0xFF through which a carry would ripple.
    pending: u64,
    out: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder { low: 0, range: u32::MAX, held: 0, pending: 1, out: Vec::new() }
    }
}

impl Encoder {
    /// Codes `bit`, which is 1 with probability `p` / 65536; `p` is at least 1.
    // The coder's state stays in registers only where all of this is part of the loop that calls it.
    #[inline(always)]
    pub fn put(&mut self, bit: bool, p: u16) {
        let bound = bound(self.range, p);
        if bit {
            self.range = bound;
        } else {
            self.low += u64::from(bound);
            self.range -= bound;
        }
        while self.range < TOP {
            self.range <<= 8;
            self.shift();
        }
    }

    #[inline(always)]
    fn shift(&mut self) {
        let carry = (self.low >> 32) as u8;
        if carry == 1 || self.low < 0xFF00_0000 {
            let mut byte = self.held;
            for _ in 0..self.pending {
                self.out.push(byte.wrapping_add(carry));
                byte = 0xFF;
            }
            self.pending = 0;
            self.held = (self.low >> 24) as u8;
        }
        self.pending += 1;
        self.low = (self.low & 0x00FF_FFFF) << 8;
    }

    /// The code.
    pub fn finish(mut self) -> Vec<u8> {
        (0..5).for_each(|_| self.shift());
        // The first byte moved out is the initial `held`, which no carry can reach: always 0.
        self.out.remove(0);
        self.out
    }
}

/// Reads what an [`Encoder`] wrote, given the same probabilities.
pub struct Decoder<'a> {
    code: u32,
    range: u32,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// A decoder of `bytes`.
    ///
    /// # Errors
    /// If they are shorter than any code, or begin as no code does.
    pub fn new(bytes: &'a [u8]) -> Result<Self, String> {
        let (first, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or_else(|| format!("its range-coded bits have {} bytes, and the shortest code has 4", bytes.len()))?;
        let (code, range) = (u32::from_be_bytes(*first), u32::MAX);
        // A code lies below its range, and every bit keeps it there. At the range itself it would stand for zeros
        // alone, which have a code already.
        if code >= range {
            return Err("its range-coded bits begin with ffffffff, which no code does".into());
        }
        Ok(Decoder { code, range, rest })
    }

    /// The next bit, which is 1 with probability `p` / 65536, or `None` where the code ends.
    #[inline(always)]
    pub fn take(&mut self, p: u16) -> Option<bool> {
        let bound = bound(self.range, p);
        let bit = self.code < bound;
        if bit {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        while self.range < TOP {
            let (byte, rest) = self.rest.split_first()?;
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(*byte);
            self.rest = rest;
        }
        Some(bit)
    }

    /// Ends the code: the encoder writes `low` itself last, so the decoder must stand at a code of 0 with nothing left.
    ///
    /// # Errors
    /// If it does not.
    pub fn finish(self) -> Result<(), String> {
        if !self.rest.is_empty() {
            return Err(format!("{} bytes follow its range-coded bits", self.rest.len()));
        }
        if self.code != 0 {
            return Err("its range-coded bits do not end as the encoder ends them".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mask::{entropy, pack};
    use crate::score::sample_bits;
    use crate::stream::{Purpose, StreamId};

    fn drawn(len: usize, density: f32, seed: u64) -> LayerBits {
        sample_bits(&vec![density; len], &mut StreamId::new(seed, Purpose::Test).open())
    }

    #[test]
    fn code_length_is_within_a_thousandth_and_a_few_bytes_of_the_entropy() {
        for (seed, density) in [0.5, 0.3, 0.1, 0.9, 0.01, 0.001, 0.00002, 0.0, 1.0].into_iter().enumerate() {
            let bits = drawn(400_000, density, seed as u64);
            let ones = bits.count_ones();
            let code = encode(&bits, probability(ones, bits.len()));
            let bound = entropy(ones as f64 / bits.len() as f64) * bits.len() as f64 / 8.0;
            assert!(code.len() as f64 <= bound * 1.001 + 8.0, "density {density}: {} bytes, {bound}", code.len());
            assert_eq!(decode(&code, bits.len(), probability(ones, bits.len())).unwrap(), bits);
        }
    }

    #[test]
    fn carries_ripple_through_held_bytes() {
        // Unlikely zeros push `low` close to its top, where carries and runs of 0xFF come about.
        for seed in 0..200 {
            let bits = drawn(3000, 0.5, seed);
            for p in [1, 2, 300, 65_000, 65_535] {
                assert_eq!(decode(&encode(&bits, p), bits.len(), p).unwrap(), bits);
            }
        }
    }

    #[test]
    fn probability_is_rounded_and_never_certain() {
        assert_eq!(probability(0, 100), 1);
        assert_eq!(probability(100, 100), 65_535);
        assert_eq!(probability(50, 100), 32_768);
        assert_eq!(probability(1, 3), 21_845);
        assert_eq!(probability(0, 0), 32_768);
        assert_eq!(probability(1 << 28, 1 << 28), 65_535);
    }

    /// The bytes that `FORMAT.md` gives as its example.
    #[test]
    fn the_example_of_the_format_page() {
        let bits = pack("1000000100000000".chars().map(|c| c == '1'));
        assert_eq!(probability(2, 16), 8192);
        assert_eq!(encode(&bits, 8192), [0x12, 0xd1, 0x1f, 0xbf, 0xa5]);
    }

    #[test]
    fn every_truncation_and_every_added_byte_is_refused() {
        let bits = drawn(500, 0.2, 9);
        let p = probability(bits.count_ones(), bits.len());
        let mut code = encode(&bits, p);
        for length in 0..code.len() {
            assert!(decode(&code[..length], bits.len(), p).is_err(), "{length} bytes");
        }
        code.push(0);
        assert!(decode(&code, bits.len(), p).is_err());
    }

    #[test]
    fn zeros_have_one_code() {
        let (zeros, code) = (pack([false; 40]), [0xff, 0xff, 0xff, 0xfe, 0xff, 0, 0, 0]);
        assert_eq!((encode(&zeros, 32_768), decode(&code, 40, 32_768)), (code.to_vec(), Ok(zeros)));
        let second = [0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0];
        assert!(decode(&second, 40, 32_768).unwrap_err().contains("ffffffff"));
        assert!(decode(&[0xff; 4], 0, 32_768).is_err());
    }

    proptest! {
        #[test]
        fn what_is_coded_is_read_back(raw in proptest::collection::vec(any::<bool>(), 0..600), p in 1u16..) {
            let bits = pack(raw);
            let own = probability(bits.count_ones(), bits.len());
            prop_assert_eq!(decode(&encode(&bits, own), bits.len(), own).unwrap(), bits.clone());
            prop_assert_eq!(decode(&encode(&bits, p), bits.len(), p).unwrap(), bits);
        }

        #[test]
        fn foreign_bytes_never_panic_and_have_one_form(
            bytes in proptest::collection::vec(any::<u8>(), 0..60), p in 1u16.., len in 0usize..600,
        ) {
            if let Ok(bits) = decode(&bytes, len, p) {
                prop_assert_eq!(encode(&bits, p), bytes);
            }
        }
    }
}
