//! Differences under the uplinks [`flips`](super::flips) and [`sums`](super::sums), summed over K clients: how many
//! more of them keep a weight than were expected to, -K to K.
//!
//! ```text
//! code     a signed number a weight, in one of 32 contexts: the side of 1/2 on which its prior lies, and how far from it
//! ```

use super::counts::MOST_ANSWERS;
use super::flips::{CERTAINTIES, certainty};
use super::{Prior, snapshot};
use crate::adaptive::SignedModel;
use prism_core::rangecoder::{Decoder, Encoder};

/// Both sides of 1/2, and how sure a prior is.
const CONTEXTS: usize = 2 * CERTAINTIES;

/// The models of a code, alike on both sides.
struct Models(Vec<SignedModel>);

impl Models {
    fn new(answers: u32) -> Self {
        Models(vec![SignedModel::new((answers + 1).ilog2()); CONTEXTS])
    }

    fn of(&mut self, threshold: u16) -> &mut SignedModel {
        &mut self.0[context(threshold)]
    }
}

fn context(threshold: u16) -> usize {
    CERTAINTIES * usize::from(threshold >= 32_768) + usize::from(certainty(threshold))
}

/// Codes the differences of `answers` clients under `prior`.
///
/// # Panics
/// If the lengths differ, a difference is beyond `answers`, or `answers` is above [`MOST_ANSWERS`].
pub fn encode(differences: &[i32], answers: u32, prior: &Prior) -> Vec<u8> {
    assert!(
        differences.len() == prior.len() && answers <= MOST_ANSWERS,
        "one difference per weight, of few enough clients"
    );
    assert!(differences.iter().all(|d| d.unsigned_abs() <= answers), "no more differences than clients");
    let (mut encoder, mut models) = (Encoder::default(), Models::new(answers));
    let pairs = differences.iter().zip(prior.thresholds());
    pairs.for_each(|(&difference, &threshold)| models.of(threshold).put(&mut encoder, difference));
    encoder.finish()
}

/// The entropy of the differences within each context, in bits for all of them: what a code needs that knows how they
/// are spread.
///
/// # Panics
/// If the lengths differ.
pub fn bound_bits(differences: &[i32], prior: &Prior) -> f64 {
    assert_eq!(differences.len(), prior.len(), "one difference per weight");
    let most = differences.iter().map(|d| d.unsigned_abs() as usize).max().unwrap_or(0);
    let mut counts = vec![vec![0; 2 * most + 1]; CONTEXTS];
    for (&difference, &threshold) in differences.iter().zip(prior.thresholds()) {
        counts[context(threshold)][most.wrapping_add_signed(difference as isize)] += 1;
    }
    counts.iter().map(|counts| snapshot::entropy_of_counts(counts)).sum()
}

/// Reads the differences of `answers` clients, of as many weights as the prior has.
///
/// # Errors
/// A clause that says what is wrong, if `code` is not exactly what [`encode`] makes of some differences.
pub fn decode(code: &[u8], answers: u32, prior: &Prior) -> Result<Vec<i32>, String> {
    if answers > MOST_ANSWERS {
        return Err(format!("it sums the differences of {answers} clients and the limit is {MOST_ANSWERS}"));
    }
    let (mut decoder, mut models) = (Decoder::new(code)?, Models::new(answers));
    let mut differences = Vec::with_capacity(prior.len());
    for (weight, &threshold) in prior.thresholds().iter().enumerate() {
        let difference = models.of(threshold).take(&mut decoder);
        let difference =
            difference.ok_or_else(|| format!("its differences end at weight {weight} of {}", prior.len()))?;
        if difference.unsigned_abs() > answers {
            return Err(format!(
                "its difference of {difference} at weight {weight} is beyond the {answers} clients that answered"
            ));
        }
        differences.push(difference);
    }
    decoder.finish()?;
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rare_differences_cost_little() {
        let differences: Vec<i32> = (0..100_000).map(|i| i32::from(i % 100 == 7) - i32::from(i % 300 == 5)).collect();
        let prior = Prior::from_thresholds((0..100_000u32).map(|i| (i * 7919) as u16).collect());
        let bits = 8.0 * encode(&differences, 10, &prior).len() as f64;
        let bound = bound_bits(&differences, &prior);
        assert!(bits > bound && bits < 1.1 * bound, "{bits} bits beside {bound}");
    }

    #[test]
    fn a_forged_number_of_clients_is_refused() {
        let prior = Prior::from_thresholds(vec![32_768; 8]);
        let code = encode(&[0; 8], 1, &prior);
        for answers in [MOST_ANSWERS + 1, u32::MAX] {
            let reason = decode(&code, answers, &prior).unwrap_err();
            assert!(reason.contains(&answers.to_string()) && reason.contains("4095"), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn differences_come_back(
            answers in 1u32..200,
            pairs in proptest::collection::vec((-1.0..=1.0f64, any::<u16>()), 0..300),
        ) {
            let prior = Prior::from_thresholds(pairs.iter().map(|(_, t)| *t).collect());
            let differences: Vec<i32> = pairs.iter().map(|(d, _)| (d * f64::from(answers)).round() as i32).collect();
            prop_assert_eq!(decode(&encode(&differences, answers, &prior), answers, &prior).unwrap(), differences);
        }

        #[test]
        fn foreign_codes_have_one_form_or_are_refused(
            answers in 1u32..200,
            code in proptest::collection::vec(any::<u8>(), 0..80),
            thresholds in proptest::collection::vec(any::<u16>(), 0..400),
        ) {
            let prior = Prior::from_thresholds(thresholds);
            if let Ok(differences) = decode(&code, answers, &prior) {
                prop_assert_eq!(encode(&differences, answers, &prior), code);
            }
        }
    }
}
