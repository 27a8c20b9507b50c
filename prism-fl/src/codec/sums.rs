//! `sums`: masks that add up, so that the server learns how many clients keep a weight and not who does.
//!
//! ```text
//! payload    attempt (4), then y_k = bits of the mask + blinds, modulo 2^w, w bits each;  2^w > clients that are asked
//! sum over clients k of y_k = votes, once the blinds are off
//! ```
//!
//! One message is uniformly random to whoever lacks the blinds; only the sum over the clients of the round means anything. Where
//! the blinds come from, and how they are taken off, is [`crate::secagg`]. Minimal random coding cannot be combined with it: an
//! index has no sum.

use prism_core::mask::LayerBits;

use crate::secagg::ring::{Blinds, RingVector};

/// The payload of `mask` under `blinds`.
pub fn encode(mask: &LayerBits, blinds: &Blinds) -> Vec<u8> {
    let mut vector = RingVector::zeros(blinds.width, mask.len());
    vector.add_mask(mask);
    vector.blind(&blinds.list);
    [&blinds.attempt.to_le_bytes()[..], &vector.pack()].concat()
}

/// The blinded numbers of so many weights in `payload`, which must be of the same `attempt`.
///
/// # Errors
/// A clause that says what is wrong with it.
pub fn decode(payload: &[u8], weights: usize, (width, attempt): (u32, u32)) -> Result<RingVector, String> {
    let (found, numbers) = payload.split_first_chunk::<4>().ok_or("it ends before its first number")?;
    let found = u32::from_le_bytes(*found);
    if found != attempt {
        return Err(format!(
            "it is of attempt {found} at this sum, and attempt {attempt} goes on: a late message must be thrown away"
        ));
    }
    RingVector::unpack(width, weights, numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secagg::Blind;

    proptest! {
        #[test]
        fn a_blinded_mask_is_no_mask_until_its_blinds_are_off(
            bits in proptest::collection::vec(any::<bool>(), 40..300), key in any::<[u8; 32]>(),
        ) {
            let mask: LayerBits = bits.iter().copied().collect();
            let blind = |added| vec![Blind { key: key.into(), added }];
            let blinds = Blinds { attempt: 3, width: 4, list: blind(true) };
            let payload = encode(&mask, &blinds);
            let mut vector = decode(&payload, bits.len(), (4, 3)).unwrap();
            let plain: Vec<u64> = bits.iter().map(|&bit| bit.into()).collect();
            prop_assert_ne!(vector.values(), &plain);
            vector.blind(&blind(false));
            prop_assert_eq!(vector.values(), plain);
            prop_assert!(decode(&payload, bits.len(), (4, 2)).unwrap_err().contains("late message"));
            for length in 0..payload.len() {
                prop_assert!(decode(&payload[..length], bits.len(), (4, 3)).is_err());
            }
        }
    }
}
