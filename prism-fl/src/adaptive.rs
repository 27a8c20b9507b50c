//! Adaptive binary models on top of the range coder: a bit's probability is what was seen in its context so far.
//!
//! ```text
//! p(1) = floor(65536 * (2 ones + 1) / (2 (zeros + ones) + 2)), kept within 1..=65535      (Krichevsky and Trofimov)
//! ```
//!
//! Both counts are halved when their sum reaches 1024, so that a model follows what changes.

use prism_core::rangecoder::{Decoder, Encoder};

/// The sum of counts at which both are halved.
const LIMIT: u32 = 1024;

/// The statistics of one context.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitModel {
    zeros: u32,
    ones: u32,
}

impl BitModel {
    #[inline(always)]
    fn probability(self) -> u16 {
        // Counts are below 1024, so all of it fits 32 bits, whose division is the quicker one.
        let p = ((2 * self.ones + 1) << 16) / (2 * (self.zeros + self.ones) + 2);
        p.clamp(1, 65_535) as u16
    }

    #[inline(always)]
    fn count(&mut self, bit: bool) {
        if bit {
            self.ones += 1
        } else {
            self.zeros += 1
        }
        if self.zeros + self.ones >= LIMIT {
            (self.zeros, self.ones) = (self.zeros / 2, self.ones / 2);
        }
    }

    /// Codes `bit`.
    #[inline(always)]
    pub fn put(&mut self, encoder: &mut Encoder, bit: bool) {
        encoder.put(bit, self.probability());
        self.count(bit);
    }

    /// Reads a bit; `None` where the code ends.
    #[inline(always)]
    pub fn take(&mut self, decoder: &mut Decoder<'_>) -> Option<bool> {
        let bit = decoder.take(self.probability())?;
        self.count(bit);
        Some(bit)
    }
}

/// Unsigned numbers, small ones likely: the length of `n + 1` in bits in unary, then its lower bits.
///
/// ```text
/// e = floor(log2(n + 1)):   e bits of 1 and a 0 (none after `max_length` ones), in the contexts 0, 1, 2 ...
/// then the e lower bits of n + 1, highest first: the first in a context of its own for each e, the others at p = 1/2
/// ```
#[derive(Clone, Debug)]
pub struct NumberModel {
    max_length: usize,
    length: [BitModel; LENGTHS],
    second: [BitModel; LENGTHS],
}

/// Lengths that a number may have: all of 0 to 31.
const LENGTHS: usize = 32;

impl NumberModel {
    /// A model of numbers below `2^(max_length + 1) - 1`; at most 31.
    pub fn new(max_length: u32) -> Self {
        let models = [BitModel::default(); LENGTHS];
        NumberModel { max_length: max_length.min(31) as usize, length: models, second: models }
    }

    /// Codes `number`, which must be within the model's limit.
    #[inline(always)]
    pub fn put(&mut self, encoder: &mut Encoder, number: u32) {
        let length = (number + 1).ilog2() as usize;
        debug_assert!(length <= self.max_length, "{number} is above the model's limit");
        for (i, model) in self.length[..self.max_length].iter_mut().enumerate().take(length + 1) {
            model.put(encoder, i < length);
        }
        for i in (0..length).rev() {
            let bit = (number + 1) >> i & 1 == 1;
            if i + 1 == length {
                self.second[length].put(encoder, bit);
            } else {
                encoder.put(bit, 32_768);
            }
        }
    }

    /// Reads a number; `None` where the code ends.
    #[inline(always)]
    pub fn take(&mut self, decoder: &mut Decoder<'_>) -> Option<u32> {
        let mut length = 0;
        while length < self.max_length && self.length[length].take(decoder)? {
            length += 1;
        }
        let mut number = 1u32;
        for i in (0..length).rev() {
            let bit = if i + 1 == length { self.second[length].take(decoder)? } else { decoder.take(32_768)? };
            number = number << 1 | u32::from(bit);
        }
        Some(number - 1)
    }
}

/// Signed numbers around 0: a [`NumberModel`] of the magnitude, then a sign in a context of its own.
#[derive(Clone, Debug)]
pub struct SignedModel {
    magnitude: NumberModel,
    negative: BitModel,
}

impl SignedModel {
    /// A model of numbers whose magnitude is below `2^(max_length + 1) - 1`.
    pub fn new(max_length: u32) -> Self {
        SignedModel { magnitude: NumberModel::new(max_length), negative: BitModel::default() }
    }

    /// Codes `number`.
    #[inline(always)]
    pub fn put(&mut self, encoder: &mut Encoder, number: i32) {
        self.magnitude.put(encoder, number.unsigned_abs());
        if number != 0 {
            self.negative.put(encoder, number < 0);
        }
    }

    /// Reads a number; `None` where the code ends.
    #[inline(always)]
    pub fn take(&mut self, decoder: &mut Decoder<'_>) -> Option<i32> {
        let magnitude = self.magnitude.take(decoder)? as i32;
        let negative = magnitude != 0 && self.negative.take(decoder)?;
        Some(if negative { -magnitude } else { magnitude })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in proptest::collection::vec(-1000i32..1000, 0..300)) {
            let (mut encoder, mut signed, mut plain) = (Encoder::default(), SignedModel::new(10), NumberModel::new(10));
            for &n in &numbers {
                signed.put(&mut encoder, n);
                plain.put(&mut encoder, n.unsigned_abs());
            }
            let code = encoder.finish();
            let mut decoder = Decoder::new(&code).unwrap();
            let (mut signed, mut plain) = (SignedModel::new(10), NumberModel::new(10));
            for &n in &numbers {
                prop_assert_eq!(signed.take(&mut decoder), Some(n));
                prop_assert_eq!(plain.take(&mut decoder), Some(n.unsigned_abs()));
            }
            prop_assert!(decoder.finish().is_ok());
        }
    }

    #[test]
    fn a_constant_costs_next_to_nothing() {
        let (mut encoder, mut model) = (Encoder::default(), SignedModel::new(8));
        (0..10_000).for_each(|_| model.put(&mut encoder, 0));
        assert!(encoder.finish().len() < 40);
    }
}
