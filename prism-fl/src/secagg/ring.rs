//! Vectors of integers modulo `2^width`: what is summed, and the keystreams under which a summand is blinded.
//!
//! ```text
//! y = x + PRG(b) + ...                                modulo 2^width
//! PRG(key): for each number in turn the next d bytes of ChaCha20 under the key (nonce and counter 0), little-endian
//!           d = 1, 2, 4 or 8: the least that has `width` bits
//! ```

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use rayon::prelude::*;
use zeroize::Zeroizing;

use prism_core::mask::LayerBits;

/// Numbers that one thread blinds at a time.
const CHUNK: usize = 1 << 14;

/// A keystream that is added or taken away.
#[derive(Clone)]
pub struct Blind {
    /// Its key.
    pub key: Zeroizing<[u8; 32]>,
    /// Whether it is added.
    pub added: bool,
}

/// What hides a client's summand: its own keystream, and one for each other client of the sum.
#[derive(Clone)]
pub struct Blinds {
    /// The attempt at the sum for which they are.
    pub attempt: u32,
    /// Bits of the numbers that are summed.
    pub width: u32,
    /// The keystreams.
    pub list: Vec<Blind>,
}

impl Default for Blinds {
    /// Those of codecs that hide nothing.
    fn default() -> Self {
        Blinds { attempt: 0, width: 1, list: Vec::new() }
    }
}

/// Integers modulo `2^width`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingVector {
    width: u32,
    values: Vec<u64>,
}

impl RingVector {
    /// Zeros.
    ///
    /// # Panics
    /// If `width` is not from 1 to 64.
    pub fn zeros(width: u32, count: usize) -> Self {
        Self::new(width, vec![0; count])
    }

    /// `values` modulo `2^width`.
    ///
    /// # Panics
    /// If `width` is not from 1 to 64.
    pub fn new(width: u32, mut values: Vec<u64>) -> Self {
        assert!((1..=64).contains(&width), "numbers have 1 to 64 bits");
        values.iter_mut().for_each(|value| *value &= mask(width));
        RingVector { width, values }
    }

    /// Bits of a number.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The numbers.
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// Adds a mask of as many weights.
    pub fn add_mask(&mut self, bits: &LayerBits) {
        let wrap = mask(self.width);
        bits.iter_ones().for_each(|i| self.values[i] = self.values[i].wrapping_add(1) & wrap);
    }

    /// Adds another vector of this width and length.
    pub fn add(&mut self, other: &RingVector) {
        debug_assert_eq!((self.width, self.values.len()), (other.width, other.values.len()));
        let wrap = mask(self.width);
        self.values.iter_mut().zip(&other.values).for_each(|(sum, x)| *sum = sum.wrapping_add(*x) & wrap);
    }

    /// Adds keystreams, or takes them away. Threads divide the numbers, which changes none of them.
    pub fn blind(&mut self, blinds: &[Blind]) {
        let (wrap, bytes) = (mask(self.width), draw_bytes(self.width));
        self.values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
            let mut stream = Zeroizing::new(vec![0u8; values.len() * bytes]);
            for blind in blinds {
                stream.fill(0);
                let mut cipher = ChaCha20::new((&*blind.key).into(), &[0; 12].into());
                cipher.seek((chunk * CHUNK * bytes) as u64);
                cipher.apply_keystream(&mut stream);
                for (value, draw) in values.iter_mut().zip(stream.chunks_exact(bytes)) {
                    let mut number = [0; 8];
                    number[..bytes].copy_from_slice(draw);
                    let number = u64::from_le_bytes(number);
                    let moved = if blind.added { value.wrapping_add(number) } else { value.wrapping_sub(number) };
                    *value = moved & wrap;
                }
            }
        });
    }

    /// The numbers at `width` bits each, from each byte's lowest bit; spare bits of the last byte are 0.
    pub fn pack(&self) -> Vec<u8> {
        let mut packer = Packer::new(Vec::with_capacity(packed_bytes(self.width, self.values.len())));
        self.values.iter().for_each(|&value| packer.push(value, self.width));
        packer.finish()
    }

    /// Reads `count` packed numbers.
    ///
    /// # Errors
    /// A clause that says what is wrong with `bytes`.
    pub fn unpack(width: u32, count: usize, bytes: &[u8]) -> Result<Self, String> {
        unpack(width, count, bytes).map(|values| RingVector { width, values })
    }
}

/// Bytes of `count` packed numbers.
pub fn packed_bytes(width: u32, count: usize) -> usize {
    (count as u128 * u128::from(width)).div_ceil(8) as usize
}

/// Appends fixed-width integers to bytes.
pub struct Packer {
    bytes: Vec<u8>,
    spare: u128,
    filled: u32,
}

impl Packer {
    /// Appends to `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Packer { bytes, spare: 0, filled: 0 }
    }

    /// Appends the lowest `bits` bits of `value`.
    pub fn push(&mut self, value: u64, bits: u32) {
        self.spare |= u128::from(value & mask(bits)) << self.filled;
        self.filled += bits;
        while self.filled >= 8 {
            self.bytes.push(self.spare as u8);
            self.spare >>= 8;
            self.filled -= 8;
        }
    }

    /// The bytes; spare bits of the last one are 0.
    pub fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.bytes.push(self.spare as u8);
        }
        self.bytes
    }
}

/// The `count` integers of `width` bits in `bytes`.
///
/// # Errors
/// A clause that says what is wrong with `bytes`.
pub fn unpack(width: u32, count: usize, bytes: &[u8]) -> Result<Vec<u64>, String> {
    if !(1..=64).contains(&width) || bytes.len() != packed_bytes(width, count) {
        return Err(format!("it has {} bytes of {width}-bit numbers where {count} numbers are due", bytes.len()));
    }
    let (mut spare, mut filled, mut bytes) = (0u128, 0, bytes.iter());
    let mut next = || {
        while filled < width {
            spare |= u128::from(*bytes.next().unwrap_or(&0)) << filled;
            filled += 8;
        }
        let value = spare as u64 & mask(width);
        spare >>= width;
        filled -= width;
        value
    };
    let values = (0..count).map(|_| next()).collect();
    if spare != 0 {
        return Err("a bit behind its last number is set".into());
    }
    Ok(values)
}

/// The `bits` lowest bits.
pub fn mask(bits: u32) -> u64 {
    u64::MAX.checked_shr(64 - bits).unwrap_or(0)
}

fn draw_bytes(width: u32) -> usize {
    (width.div_ceil(8) as usize).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blind(key: u8, added: bool) -> Blind {
        Blind { key: Zeroizing::new([key; 32]), added }
    }

    proptest! {
        #[test]
        fn numbers_go_through_bytes_and_back(width in 1u32..=64, values in proptest::collection::vec(any::<u64>(), 0..90)) {
            let vector = RingVector::new(width, values.clone());
            let bytes = vector.pack();
            prop_assert_eq!(bytes.len(), packed_bytes(width, values.len()));
            prop_assert_eq!(&RingVector::unpack(width, values.len(), &bytes).unwrap(), &vector);
            prop_assert!(RingVector::unpack(width, values.len() + 9, &bytes).is_err());
        }

        #[test]
        fn foreign_bytes_never_panic_and_have_one_form(
            bytes in proptest::collection::vec(any::<u8>(), 0..60), count in 0usize..100, width in 0u32..70,
        ) {
            if let Ok(vector) = RingVector::unpack(width, count, &bytes) {
                prop_assert_eq!(vector.pack(), bytes);
            }
        }

        #[test]
        fn a_blind_that_is_taken_away_leaves_what_was_there(width in 1u32..=64, seed in any::<u64>()) {
            let values = (0..CHUNK as u64 + 77).map(|i| seed.wrapping_mul(2 * i + 1)).collect();
            let plain = RingVector::new(width, values);
            let mut vector = plain.clone();
            vector.blind(&[blind(1, true), blind(2, false)]);
            // A vector of one bit is half the same.
            let same = vector.values().iter().zip(plain.values()).filter(|(a, b)| a == b).count();
            prop_assert!(same < CHUNK * 6 / 10, "{}", same);
            vector.blind(&[blind(2, true), blind(1, false)]);
            prop_assert_eq!(vector, plain);
        }
    }

    #[test]
    fn a_keystream_is_that_of_chacha20_whatever_divides_it() {
        let mut vector = RingVector::zeros(16, CHUNK + 1);
        vector.blind(&[blind(7, true)]);
        let mut stream = vec![0; 2 * (CHUNK + 1)];
        ChaCha20::new(&[7; 32].into(), &[0; 12].into()).apply_keystream(&mut stream);
        let expected = stream.chunks(2).map(|draw| u64::from(u16::from_le_bytes([draw[0], draw[1]])));
        assert_eq!(vector.values(), expected.collect::<Vec<_>>());
    }
}
