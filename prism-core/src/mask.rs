//! The mask: one bit per frozen weight, kept or dropped.

use bitvec::order::Lsb0;
use bitvec::vec::BitVec;

use crate::arch::Architecture;
use crate::prelude::*;

/// The bits of one layer, in the order of [`Layer::shape`](crate::arch::Layer::shape), packed from each byte's lowest
/// bit.
pub type LayerBits = BitVec<u8, Lsb0>;

/// Which weights of a generator are kept, layer by layer in the order of [`Architecture::layers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    layers: Vec<LayerBits>,
}

impl Mask {
    /// A mask from its layers' bits.
    pub fn new(layers: Vec<LayerBits>) -> Self {
        Mask { layers }
    }

    /// The layers' bits, in the order of the architecture.
    pub fn layers(&self) -> &[LayerBits] {
        &self.layers
    }

    /// Whether every layer has exactly the bits that `arch` has weights.
    pub fn fits(&self, arch: &Architecture) -> bool {
        let layers = arch.layers();
        layers.len() == self.layers.len()
            && layers.iter().zip(&self.layers).all(|(layer, bits)| layer.weights() == bits.len())
    }

    /// Number of bits in all layers.
    pub fn len(&self) -> usize {
        self.layers.iter().map(|bits| bits.len()).sum()
    }

    /// Whether the mask has no bits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of kept weights in all layers.
    pub fn ones(&self) -> usize {
        self.layers.iter().map(|bits| bits.count_ones()).sum()
    }

    /// Number of positions in which two masks of the same shape differ.
    ///
    /// # Panics
    /// If the masks differ in shape.
    pub fn hamming(&self, other: &Mask) -> usize {
        assert_eq!(self.layers.len(), other.layers.len(), "masks of different architectures have no distance");
        self.layers.iter().zip(&other.layers).map(|(a, b)| hamming(a, b)).sum()
    }
}

fn hamming(a: &LayerBits, b: &LayerBits) -> usize {
    assert_eq!(a.len(), b.len(), "layers of different sizes have no distance");
    (a.clone() ^ b).count_ones()
}

/// Packs `bits` into layer bits.
pub fn pack(bits: impl IntoIterator<Item = bool>) -> LayerBits {
    let bits = bits.into_iter();
    let mut packer = Packer::with_capacity(bits.size_hint().0);
    bits.for_each(|bit| packer.push(bit));
    packer.finish()
}

/// Packs bits one after another, a byte at a time: several times as fast as pushing each to [`LayerBits`].
#[derive(Debug, Default)]
pub struct Packer {
    bytes: Vec<u8>,
    /// The byte that is not whole yet, and how many bits it has.
    open: u8,
    filled: u8,
}

impl Packer {
    /// A packer with room for `bits`.
    pub fn with_capacity(bits: usize) -> Self {
        Packer { bytes: Vec::with_capacity(bits.div_ceil(8)), ..Packer::default() }
    }

    /// Adds a bit.
    pub fn push(&mut self, bit: bool) {
        self.open |= u8::from(bit) << self.filled;
        self.filled += 1;
        if self.filled == 8 {
            self.bytes.push(self.open);
            (self.open, self.filled) = (0, 0);
        }
    }

    /// Number of bits so far.
    pub fn len(&self) -> usize {
        8 * self.bytes.len() + usize::from(self.filled)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bits.
    pub fn finish(mut self) -> LayerBits {
        let len = self.len();
        if self.filled > 0 {
            self.bytes.push(self.open);
        }
        let mut bits = LayerBits::from_vec(self.bytes);
        bits.truncate(len);
        bits
    }
}

/// The bits as `ceil(len / 8)` bytes, from each byte's lowest bit; spare bits of the last byte are 0.
pub fn to_bytes(bits: &LayerBits) -> Vec<u8> {
    let mut aligned = bits.clone();
    aligned.force_align();
    aligned.set_uninitialized(false);
    aligned.into_vec()
}

/// The first `len` bits of `bytes`, or nothing unless `bytes` is exactly what [`to_bytes`] makes of `len` bits.
pub fn from_bytes(bytes: &[u8], len: usize) -> Option<LayerBits> {
    let spare = bytes.len() * 8 - len.min(bytes.len() * 8);
    let clean = bytes.last().is_none_or(|last| spare < 8 && u16::from(*last) >> (8 - spare) == 0);
    if bytes.len() != len.div_ceil(8) || !clean {
        return None;
    }
    let mut bits = LayerBits::from_slice(bytes);
    bits.truncate(len);
    Some(bits)
}

/// The binary entropy of a bit that is 1 with probability `p`, in bits.
pub fn entropy(p: f64) -> f64 {
    let term = |x: f64| if x > 0.0 { -x * libm::log2(x) } else { 0.0 };
    term(p) + term(1.0 - p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hamming_counts_differing_bits() {
        let a = Mask::new(vec![pack([true, false, true]), pack([false; 9])]);
        let b = Mask::new(vec![pack([true, true, false]), pack([false; 9])]);
        assert_eq!(a.hamming(&b), 2);
        assert_eq!(a.hamming(&a), 0);
        assert_eq!((a.len(), a.ones()), (12, 2));
    }

    #[test]
    fn bits_are_packed_from_the_lowest_bit() {
        let bits = pack([true, false, false, false, false, false, false, false, true]);
        assert_eq!(bits.as_raw_slice(), [1, 1]);
    }

    #[test]
    fn bytes_of_bits_have_one_form_only() {
        for len in 0usize..20 {
            let bits = !pack((0..len).map(|i| i % 3 == 0));
            let bytes = to_bytes(&bits);
            assert_eq!(bytes.len(), len.div_ceil(8));
            assert_eq!(from_bytes(&bytes, len), Some(bits));
            assert_eq!(from_bytes(&bytes, len + 8), None);
        }
        assert_eq!(from_bytes(&[0b1000], 3), None, "a spare bit is set");
        assert_eq!(from_bytes(&[0], 0), None, "a byte too many");
    }

    #[test]
    fn entropy_is_one_bit_at_a_half_and_none_at_the_ends() {
        assert_eq!(entropy(0.5), 1.0);
        assert_eq!((entropy(0.0), entropy(1.0)), (0.0, 0.0));
    }
}
