//! `sums`: masks that add up, so that the server learns how many clients keep a weight and not who does.
//!
//! ```text
//! y_k,i = x_k,i + sum over peers j > k of r_kj,i - sum over peers j < k of r_jk,i     modulo 2^w,  2^w > clients
//! sum over clients k of y_k,i = sum of x_k,i = votes_i                                 the r cancel
//! ```
//!
//! r_kj is a keystream that clients k and j alone can draw. One message is uniformly random to whoever lacks the keys;
//! only the sum over all clients of the round means anything. If a client falls out, those that answered reveal the
//! keys they share with it, and the server takes its r out of the sum.
//!
//! This is the first half of Bonawitz et al., *Practical secure aggregation* (2017). Agreeing on keys, and the second
//! mask that protects a client whose answer arrives after its keys were revealed, belong to the transport; a server
//! here refuses late answers and must be trusted to. Minimal random coding cannot be combined with it: an index has no
//! sum.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};

use prism_core::mask::LayerBits;

/// The most clients that can be summed.
pub const MOST_CLIENTS: usize = 65_535;

/// A keystream that a client adds or takes away.
#[derive(Clone)]
pub struct Blind {
    /// The key that the two clients share.
    pub key: [u8; 32],
    /// Whether it is added: in the client of the smaller number.
    pub added: bool,
}

/// Masks in sum, under their blinds: numbers modulo `2^width`, one per weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlindedSum {
    width: u32,
    values: Vec<u16>,
}

impl BlindedSum {
    /// Zeros for `weights` weights, wide enough for the votes of `clients` clients.
    ///
    /// # Panics
    /// If `clients` is above [`MOST_CLIENTS`].
    pub fn new(weights: usize, clients: usize) -> Self {
        assert!(clients <= MOST_CLIENTS, "at most {MOST_CLIENTS} clients can be summed");
        BlindedSum { width: usize::BITS - clients.leading_zeros(), values: vec![0; weights] }
    }

    fn wrap(&self) -> u16 {
        ((1u32 << self.width) - 1) as u16
    }

    /// Adds a mask of as many weights.
    pub fn add_mask(&mut self, mask: &LayerBits) {
        let wrap = self.wrap();
        mask.iter_ones().for_each(|i| self.values[i] = self.values[i].wrapping_add(1) & wrap);
    }

    /// Adds other sums of the same weights and clients.
    pub fn add(&mut self, other: &BlindedSum) {
        let wrap = self.wrap();
        self.values.iter_mut().zip(&other.values).for_each(|(sum, v)| *sum = sum.wrapping_add(*v) & wrap);
    }

    /// Adds `blind`, or takes it away.
    pub fn blind(&mut self, blind: &Blind) {
        let wrap = self.wrap();
        let mut cipher = ChaCha20::new(&blind.key.into(), &[0; 12].into());
        let mut block = [0; 4096];
        for values in self.values.chunks_mut(block.len() / 2) {
            block.fill(0);
            cipher.apply_keystream(&mut block);
            for (value, draw) in values.iter_mut().zip(block.as_chunks::<2>().0) {
                let draw = u16::from_le_bytes(*draw);
                let moved = if blind.added { value.wrapping_add(draw) } else { value.wrapping_sub(draw) };
                *value = moved & wrap;
            }
        }
    }

    /// The numbers, as votes.
    pub fn votes(&self) -> Vec<u32> {
        self.values.iter().map(|&v| v.into()).collect()
    }

    /// The numbers at `width` bits each, from each byte's lowest bit; spare bits of the last byte are 0.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes());
        let (mut held, mut bits) = (0u32, 0);
        for &value in &self.values {
            held |= u32::from(value) << bits;
            bits += self.width;
            while bits >= 8 {
                bytes.push(held as u8);
                (held, bits) = (held >> 8, bits - 8);
            }
        }
        if bits > 0 {
            bytes.push(held as u8);
        }
        bytes
    }

    /// Reads numbers of these weights and clients in place of the present ones.
    ///
    /// # Errors
    /// A clause that says what is wrong with `bytes`.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() != self.bytes() {
            return Err(format!("its sums have {} bytes and {} are due", bytes.len(), self.bytes()));
        }
        let wrap = u32::from(self.wrap());
        let (mut rest, mut held, mut bits) = (bytes.iter(), 0u32, 0);
        for value in &mut self.values {
            while bits < self.width {
                held |= u32::from(rest.next().copied().unwrap_or_default()) << bits;
                bits += 8;
            }
            *value = (held & wrap) as u16;
            (held, bits) = (held >> self.width, bits - self.width);
        }
        if held != 0 {
            return Err("a bit behind its last sum is set".into());
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        (self.values.len() * self.width as usize).div_ceil(8)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use prism_core::stream::{Purpose, StreamId};

    fn key(a: u32, b: u32) -> [u8; 32] {
        StreamId::new(1, Purpose::Test).client(a.min(b).into()).index(a.max(b).into()).key()
    }

    fn message(mask: &LayerBits, client: u32, clients: u32) -> BlindedSum {
        let mut sums = BlindedSum::new(mask.len(), clients as usize);
        sums.add_mask(mask);
        let peers = (0..clients).filter(|&peer| peer != client);
        peers.for_each(|peer| sums.blind(&Blind { key: key(client, peer), added: client < peer }));
        sums
    }

    proptest! {
        #[test]
        fn blinds_cancel_in_the_sum_and_only_there(
            clients in 2u32..12, bits in proptest::collection::vec(any::<u16>(), 40..300),
        ) {
            let masks: Vec<LayerBits> = (0..clients).map(|k| bits.iter().map(|b| b >> k & 1 == 1).collect()).collect();
            let mut total = BlindedSum::new(bits.len(), clients as usize);
            for (client, mask) in masks.iter().enumerate() {
                let sent = message(mask, client as u32, clients);
                let mut read = BlindedSum::new(bits.len(), clients as usize);
                read.read(&sent.to_bytes()).unwrap();
                prop_assert_eq!(&read, &sent);
                total.add(&read);
                let plain: Vec<u32> = mask.iter().by_vals().map(u32::from).collect();
                prop_assert_ne!(sent.votes(), plain);
            }
            let votes: Vec<u32> = (0..bits.len()).map(|i| masks.iter().filter(|m| m[i]).count() as u32).collect();
            prop_assert_eq!(total.votes(), votes);
        }

        #[test]
        fn a_lost_client_is_taken_out_by_the_keys_of_the_others(
            bits in proptest::collection::vec(any::<u8>(), 1..100), lost in 0u32..5,
        ) {
            let masks: Vec<LayerBits> = (0..5).map(|k| bits.iter().map(|b| b >> k & 1 == 1).collect()).collect();
            let mut total = BlindedSum::new(bits.len(), 5);
            for client in (0..5).filter(|&client| client != lost) {
                total.add(&message(&masks[client as usize], client, 5));
                total.blind(&Blind { key: key(client, lost), added: client > lost });
            }
            let votes: Vec<u32> =
                (0..bits.len()).map(|i| (0..5).filter(|&k| k != lost as usize && masks[k][i]).count() as u32).collect();
            prop_assert_eq!(total.votes(), votes);
        }

        #[test]
        fn foreign_bytes_never_panic_and_have_one_form(
            bytes in proptest::collection::vec(any::<u8>(), 0..60), weights in 0usize..100, clients in 1usize..70,
        ) {
            let mut sums = BlindedSum::new(weights, clients);
            if sums.read(&bytes).is_ok() {
                prop_assert_eq!(sums.to_bytes(), bytes);
            }
        }
    }
}
