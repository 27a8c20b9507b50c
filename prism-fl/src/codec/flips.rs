//! `flips`: where a client's mask differs from the one that the shared scores would have drawn with the same numbers.
//!
//! ```text
//! u_i      shared numbers of this client and round, uniform in [0, 1)
//! mask     m_i = [u_i < sigmoid(s_client,i)]       what the client learned
//! expected e_i = [u_i < prior_i]                   known to the server as well
//! code     m_i != e_i, bit by bit, in contexts: how near u_i is to the prior, on which side, and how sure the prior is
//! ```
//!
//! A weight flips only where its number lies between the two probabilities, so few do, and near ones: that is what makes
//! the code short. And `m_i - e_i` has the mean `theta_client - prior` with a variance of at most
//! `|theta_client - prior|`, where the vote `m_i` by itself has `theta (1 - theta)`: the server adds the mean of the
//! differences to what it had, and the noise of the draws goes away with what did not change. (Control variates from
//! common random numbers; see Glasserman 2003, chapter 4.)
//!
//! There is no private randomness in it: who knows the seed learns of each weight on which side of `u_i` the client's
//! probability is.

mod contexts;
mod joined;

pub(super) use self::contexts::{CERTAINTIES, certainty};
use self::contexts::{CHUNK, CONTEXTS, Shared};
use self::joined::Joined;
use super::Prior;
use crate::adaptive::BitModel;
use prism_core::draw;
use prism_core::mask::LayerBits;
use prism_core::rangecoder::{Decoder, Encoder};
use prism_core::score::BYTES_PER_DRAW;
use prism_core::stream::StreamId;

/// The models of a message's flips, alike on both sides.
struct Models([BitModel; CONTEXTS]);

impl Models {
    fn new() -> Self {
        Models([BitModel::default(); CONTEXTS])
    }

    #[inline]
    fn of(&mut self, context: u16) -> &mut BitModel {
        // Every context is below, which the compiler cannot know.
        &mut self.0[usize::from(context) % CONTEXTS]
    }
}

/// The mask that `prior` draws with the shared numbers.
pub fn expected(prior: &Prior, shared: StreamId) -> LayerBits {
    let (mut shared, mut expected) = (Shared::new(shared), Vec::with_capacity(prior.len().div_ceil(8)));
    prior
        .thresholds()
        .chunks(CHUNK)
        .for_each(|thresholds| expected.extend_from_slice(shared.next(thresholds).expected));
    bits(expected, prior.len())
}

/// The first `len` bits of `bytes`.
fn bits(bytes: Vec<u8>, len: usize) -> LayerBits {
    let mut bits = LayerBits::from_vec(bytes);
    bits.truncate(len);
    bits
}

/// The mask that `sigmoid(scores)` draws with the shared numbers.
pub fn drawn(scores: &[f32], shared: StreamId) -> LayerBits {
    let mut stream = shared.open();
    draw::mask(scores, |bytes| stream.fill(bytes))
}

/// Codes the mask that `sigmoid(scores)` draws with the shared numbers, for the scores of `layers`, one after another.
///
/// # Panics
/// If there are not as many scores as the prior has weights.
pub fn encode(layers: &[&[f32]], prior: &Prior, shared: StreamId) -> Vec<u8> {
    let scores: usize = layers.iter().map(|layer| layer.len()).sum();
    assert_eq!(scores, prior.len(), "one score per weight of the prior");
    let (mut joined, mut scores) = (Joined::new(layers), [0.0; CHUNK]);
    code_of(prior, shared, |numbers, mask| {
        let scores = &mut scores[..numbers.len() / BYTES_PER_DRAW];
        joined.fill(scores);
        draw::bits(scores, numbers, mask);
    })
}

/// The code of a mask, of which `next` gives the bits of the next [`CHUNK`] weights from their numbers.
fn code_of(prior: &Prior, shared: StreamId, mut next: impl FnMut(&[u8], &mut [u8])) -> Vec<u8> {
    let (mut encoder, mut models, mut shared) = (Encoder::default(), Models::new(), Shared::new(shared));
    let mut mask = [0; CHUNK / 8];
    for thresholds in prior.thresholds().chunks(CHUNK) {
        let known = shared.next(thresholds);
        next(known.numbers, &mut mask[..known.expected.len()]);
        for (contexts, (mask, expected)) in known.contexts.chunks(8).zip(mask.iter().zip(known.expected)) {
            let flips = mask ^ expected;
            for (place, &context) in contexts.iter().enumerate() {
                models.of(context).put(&mut encoder, flips >> place & 1 == 1);
            }
        }
    }
    encoder.finish()
}

/// Reads a mask of the prior's length, and gives the [`expected`] one with it.
///
/// # Errors
/// A clause that says what is wrong, if `code` is not exactly what [`encode`] makes of some mask.
pub fn decode(code: &[u8], prior: &Prior, shared: StreamId) -> Result<(LayerBits, LayerBits), String> {
    let (mut decoder, mut models, mut shared) = (Decoder::new(code)?, Models::new(), Shared::new(shared));
    let [mut mask, mut all_expected] = [(); 2].map(|()| Vec::with_capacity(prior.len().div_ceil(8)));
    for thresholds in prior.thresholds().chunks(CHUNK) {
        let known = shared.next(thresholds);
        for (contexts, expected) in known.contexts.chunks(8).zip(known.expected) {
            let mut flips = 0;
            for (place, &context) in contexts.iter().enumerate() {
                let flip = models.of(context).take(&mut decoder);
                let flip = flip.ok_or_else(|| format!("its code ends before weight {}", 8 * mask.len() + place))?;
                flips |= u8::from(flip) << place;
            }
            mask.push(expected ^ flips);
        }
        all_expected.extend_from_slice(known.expected);
    }
    decoder.finish()?;
    Ok((bits(mask, prior.len()), bits(all_expected, prior.len())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::codec::ScoreGrid;
    use prism_core::mask::{pack, to_bytes};
    use prism_core::score::sigmoid;
    use prism_core::stream::Purpose;

    const SHARED: StreamId = StreamId::new(4, Purpose::Dither);

    fn normals(len: usize, scale: f32, index: u64) -> Vec<f32> {
        let mut values = vec![0.0; len];
        StreamId::new(3, Purpose::Test).index(index).open().fill_normal(&mut values);
        values.iter().map(|x| x * scale).collect()
    }

    fn code_of_mask(mask: &LayerBits, prior: &Prior) -> Vec<u8> {
        let bytes = to_bytes(mask);
        let mut chunks = bytes.chunks(CHUNK / 8);
        code_of(prior, SHARED, |_, mask| mask.copy_from_slice(chunks.next().unwrap_or_default()))
    }

    #[test]
    fn the_servers_own_scores_flip_hardly_anything() {
        let known = normals(50_000, 2.0, 0);
        let prior = Prior::new(&known);
        let code = encode(&[&known], &prior, SHARED);
        let (mask, by_code) = decode(&code, &prior, SHARED).unwrap();
        assert_eq!(by_code, expected(&prior, SHARED));
        let flips = (mask ^ by_code).count_ones();
        // The prior is rounded to 65536ths: a flip in about 200,000 weights.
        assert!(flips <= 5 && code.len() < 500, "{flips} flips in {} bytes", code.len());
    }

    /// Over many rounds the differences average to how far the client moved, with a variance of at most that.
    #[test]
    fn differences_are_unbiased_and_vary_by_no_more_than_they_are() {
        const ROUNDS: u64 = 400;
        let known = normals(1000, 2.0, 0);
        let learned: Vec<f32> = known.iter().zip(normals(1000, 0.5, 1)).map(|(s, d)| s + d).collect();
        let prior = Prior::new(&known);
        let mut sums = vec![0i32; known.len()];
        let mut squares = vec![0i32; known.len()];
        for round in 0..ROUNDS {
            let shared = SHARED.round(round);
            let (mask, expected) = decode(&encode(&[&learned], &prior, shared), &prior, shared).unwrap();
            for (i, (kept, expected)) in mask.into_iter().zip(expected).enumerate() {
                let difference = i32::from(kept) - i32::from(expected);
                sums[i] += difference;
                squares[i] += difference * difference;
            }
        }
        let n = ROUNDS as f64;
        let (mut error, mut chance) = (0.0, 0.0);
        for i in 0..known.len() {
            let moved = f64::from(sigmoid(learned[i])) - f64::from(sigmoid(known[i]));
            error += (f64::from(sums[i]) / n - moved).powi(2);
            chance += moved.abs() * (1.0 - moved.abs()) / n;
            let tolerance = 5.0 * (moved.abs() / n).sqrt() + 5.0 / n;
            assert!((f64::from(squares[i]) / n - moved.abs()).abs() < tolerance, "weight {i} moved by {moved}");
        }
        assert!((error / chance - 1.0).abs() < 0.2, "squared error {error}, by chance {chance}");
    }

    /// The check value of section 5.3 of `FORMAT.md`.
    #[test]
    fn the_code_is_that_of_the_format_page() {
        let known: Vec<f32> = (-2048..2048).map(|index| ScoreGrid::FINE.score(index)).collect();
        let learned: Vec<f32> = known.iter().map(|score| score * 1.25).collect();
        let code = encode(&[&learned], &Prior::new(&known), SHARED.round(2).client(3));
        let hash: String = Sha256::digest(&code).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (code.len(), hash.as_str()),
            (72, "9d745c9c400db1d3a0584fe0a7e0a617d666d191e5180f681d88d42916188063")
        );
    }

    #[test]
    fn it_takes_a_fraction_of_the_bits_of_the_mask() {
        let known = normals(100_000, 2.0, 0);
        let learned: Vec<f32> = known.iter().zip(normals(100_000, 0.25, 1)).map(|(s, d)| s + d).collect();
        let prior = Prior::new(&known);
        let code = encode(&[&learned], &prior, SHARED);
        assert_eq!(decode(&code, &prior, SHARED).unwrap().0, drawn(&learned, SHARED));
        let rate = 8.0 * code.len() as f64 / known.len() as f64;
        let cross_entropy = prior.cross_entropy(&learned) / known.len() as f64;
        assert!(rate < cross_entropy / 4.0, "{rate} bits beside {cross_entropy}");
    }

    proptest! {
        #[test]
        fn masks_come_back(pairs in proptest::collection::vec((any::<bool>(), any::<u16>()), 0..300)) {
            let prior = Prior::from_thresholds(pairs.iter().map(|(_, t)| *t).collect());
            let mask = pack(pairs.iter().map(|(bit, _)| *bit));
            prop_assert_eq!(decode(&code_of_mask(&mask, &prior), &prior, SHARED).unwrap().0, mask);
        }

        #[test]
        fn foreign_codes_have_one_form_or_are_refused(
            code in proptest::collection::vec(any::<u8>(), 0..80),
            thresholds in proptest::collection::vec(any::<u16>(), 0..400),
        ) {
            let prior = Prior::from_thresholds(thresholds);
            if let Ok((mask, _)) = decode(&code, &prior, SHARED) {
                prop_assert_eq!(code_of_mask(&mask, &prior), code);
            }
        }
    }
}
