//! `entropy`: a mask bit by bit through the range coder, each bit under its own weight's prior.
//!
//! The code has the cross-entropy's length, `sum of -log2 P(bit)`, to within a few bytes; the mask is drawn beforehand and
//! arrives exactly.

use super::Prior;
use crate::mask::LayerBits;
use crate::rangecoder::{Decoder, Encoder};

/// Codes `mask` under `prior`.
///
/// # Panics
/// If the lengths differ.
pub fn encode(mask: &LayerBits, prior: &Prior) -> Vec<u8> {
    assert_eq!(mask.len(), prior.len(), "one bit per weight of the prior");
    let mut encoder = Encoder::default();
    mask.iter().by_vals().zip(prior.thresholds()).for_each(|(bit, &t)| encoder.put(bit, t));
    encoder.finish()
}

/// Reads a mask of the prior's length.
///
/// # Errors
/// A clause that says what is wrong, if `code` is not exactly what [`encode`] makes of some mask.
pub fn decode(code: &[u8], prior: &Prior) -> Result<LayerBits, String> {
    let mut decoder = Decoder::new(code)?;
    let mut bytes = vec![0u8; prior.len().div_ceil(8)];
    for (byte, (index, thresholds)) in bytes.iter_mut().zip(prior.thresholds().chunks(8).enumerate()) {
        for (bit, &t) in thresholds.iter().enumerate() {
            let kept = decoder.take(t).ok_or_else(|| format!("its code ends before weight {}", 8 * index + bit))?;
            *byte |= u8::from(kept) << bit;
        }
    }
    decoder.finish()?;
    let mut mask = LayerBits::from_vec(bytes);
    mask.truncate(prior.len());
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::prior::threshold;
    use crate::score::{logit, sample_bits, sigmoid};
    use crate::stream::{Purpose, StreamId};

    #[test]
    fn the_code_is_within_two_percent_of_the_cross_entropy() {
        let mut stream = StreamId::new(1, Purpose::Test).open();
        for (spread, moved) in [(1.0, 0.25), (2.5, 0.5), (0.1, 0.0), (4.0, 0.1)] {
            let known: Vec<f32> = (0..100_000).map(|_| (spread * stream.normal()) as f32).collect();
            let own: Vec<f32> = known.iter().map(|s| s + (moved * stream.normal()) as f32).collect();
            let prior = Prior::new(&known);
            let theta: Vec<f32> = own.iter().map(|&s| sigmoid(s)).collect();
            let mask = sample_bits(&theta, &mut stream);
            let code = encode(&mask, &prior);
            let bound = prior.cross_entropy(&own) / 8.0;
            assert!((code.len() as f64 / bound - 1.0).abs() < 0.02, "{} bytes, bound {bound}", code.len());
            assert_eq!(decode(&code, &prior).unwrap(), mask);
        }
    }

    #[test]
    fn extreme_priors_cost_what_they_should() {
        for p in [0.01f32, 0.99] {
            let prior = Prior::from_thresholds(vec![threshold(logit(p)); 100_000]);
            let mask = sample_bits(&vec![p; 100_000], &mut StreamId::new(2, Purpose::Test).open());
            let code = encode(&mask, &prior);
            let bound = prior.cross_entropy(&vec![logit(p); 100_000]) / 8.0;
            assert!((code.len() as f64 / bound - 1.0).abs() < 0.1, "{p}: {} bytes, bound {bound}", code.len());
            // The least likely mask of all still arrives.
            assert_eq!(decode(&encode(&!mask.clone(), &prior), &prior).unwrap(), !mask);
        }
    }

    proptest! {
        #[test]
        fn masks_come_back(pairs in proptest::collection::vec((any::<bool>(), any::<u16>()), 0..300)) {
            let prior = Prior::from_thresholds(pairs.iter().map(|(_, t)| *t).collect());
            let mask: LayerBits = pairs.iter().map(|(bit, _)| *bit).collect();
            prop_assert_eq!(decode(&encode(&mask, &prior), &prior).unwrap(), mask);
        }

        #[test]
        fn foreign_codes_have_one_form_or_are_refused(
            code in proptest::collection::vec(any::<u8>(), 0..80),
            thresholds in proptest::collection::vec(any::<u16>(), 0..400),
        ) {
            let prior = Prior::from_thresholds(thresholds);
            if let Ok(mask) = decode(&code, &prior) {
                prop_assert_eq!(encode(&mask, &prior), code);
            }
        }
    }
}
