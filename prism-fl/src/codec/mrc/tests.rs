use proptest::prelude::*;

use super::*;
use prism_core::score::{logit, sigmoid};
use prism_core::stream::Purpose;

fn shared(round: u64) -> StreamId {
    StreamId::new(11, Purpose::MrcCandidate).round(round).client(3)
}

fn private(round: u64) -> PrivateSource {
    PrivateSource::simulated(StreamId::new(12, Purpose::Test).round(round))
}

/// Known scores of the given spread, and a client's, moved by `step` times a normal number.
fn scores(len: usize, spread: f64, step: f64) -> (Vec<f32>, Vec<f32>) {
    let mut stream = StreamId::new(len as u64, Purpose::Test).open();
    let known: Vec<f32> = (0..len).map(|_| (spread * stream.normal()) as f32).collect();
    let own = known.iter().map(|s| s + (step * stream.normal()) as f32).collect();
    (known, own)
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let (known, own) = scores(30_000, 1.5, 0.3);
    let prior = Prior::new(&known);
    let one = encode(&prior, &own, shared(1), &private(1), 1);
    assert!([2, 3, 64].iter().all(|&threads| encode(&prior, &own, shared(1), &private(1), threads) == one));
    assert_ne!(encode(&prior, &own, shared(1), &private(2), 1), one, "the choice is private");
}

#[test]
fn the_rate_is_a_small_multiple_of_the_divergence() {
    for (step, factor) in [(0.5, 2.7), (0.25, 2.4), (0.1, 2.7), (0.03, 6.0)] {
        let (known, own) = scores(400_000, 1.5, step);
        let prior = Prior::new(&known);
        let bits = 8.0 * encode(&prior, &own, shared(1), &private(1), 2).len() as f64;
        let bound = prior.divergence(&own);
        eprintln!("step {step}: {:.5} bit/weight, KL {:.5}, factor {:.2}", bits / 4e5, bound / 4e5, bits / bound);
        assert!(bits < factor * bound, "step {step}: {bits} bits, KL {bound}");
    }
}

/// Counts of ones in the decoded masks of `rounds` rounds.
fn frequencies(prior: &Prior, own: &[f32], rounds: u64) -> Vec<u32> {
    let mut counts = vec![0u32; own.len()];
    for round in 0..rounds {
        let code = encode(prior, own, shared(round), &private(round), 2);
        decode(&code, prior, shared(round)).unwrap().iter_ones().for_each(|i| counts[i] += 1);
    }
    counts
}

/// Chi-square of the counts against expected frequencies, as a standard normal deviate.
fn deviate(counts: &[u32], expected: impl Fn(usize) -> f64, rounds: u64) -> f64 {
    let n = rounds as f64;
    let term = |(i, &count): (usize, &u32)| {
        let q = expected(i);
        (f64::from(count) - n * q).powi(2) / (n * q * (1.0 - q))
    };
    let chi: f64 = counts.iter().enumerate().map(term).sum();
    let freedom = counts.len() as f64;
    (chi - freedom) / (2.0 * freedom).sqrt()
}

#[test]
fn decoded_masks_follow_the_client_and_not_the_prior() {
    const ROUNDS: u64 = 600;
    let (known, own) = scores(1500, 1.0, 0.3);
    let prior = Prior::new(&known);
    let counts = frequencies(&prior, &own, ROUNDS);
    let follows = deviate(&counts, |i| f64::from(sigmoid(own[i])), ROUNDS);
    let ignores = deviate(&counts, |i| prior.probability(i), ROUNDS);
    assert!(follows.abs() < 4.0, "{follows} standard deviations from the client");
    assert!(ignores > 100.0, "only {ignores} standard deviations from the prior");
    // The step that arrives, in units of the step that was meant: some hundredths are lost to the number of candidates.
    let (mut arrived, mut meant) = (0.0, 0.0);
    for (i, &count) in counts.iter().enumerate() {
        let step = f64::from(sigmoid(own[i])) - prior.probability(i);
        arrived += step * (f64::from(count) / ROUNDS as f64 - prior.probability(i));
        meant += step * step;
    }
    let ratio = arrived / meant;
    eprintln!("client {follows:.2}, prior {ignores:.1}, step {ratio:.4}");
    assert!((0.93..1.02).contains(&ratio), "the step arrives {ratio} times as long as meant");
}

#[test]
fn extreme_priors_and_sizes_are_coded() {
    for p in [0.01f32, 0.5, 0.99] {
        for len in [0usize, 1, 2, 4095, 4096, 4097] {
            for target in [p, 0.05, 0.95] {
                let prior = Prior::new(&vec![logit(p); len]);
                let own = vec![logit(target); len];
                let code = encode(&prior, &own, shared(1), &private(1), 1);
                let mask = decode(&code, &prior, shared(1)).unwrap();
                assert_eq!(mask.len(), len);
                if len > 4000 && (p - target).abs() < 0.5 {
                    let density = mask.count_ones() as f32 / len as f32;
                    assert!((density - target).abs() < 0.03, "prior {p}, client {target}: {density}");
                }
            }
        }
    }
}

#[test]
fn a_client_that_has_not_moved_sends_almost_nothing() {
    let (known, _) = scores(400_000, 1.5, 0.0);
    let code = encode(&Prior::new(&known), &known, shared(1), &private(1), 1);
    assert!(code.len() < 60, "{} bytes for 98 chunks", code.len());
}

#[test]
fn every_truncation_and_added_byte_is_refused() {
    let (known, own) = scores(9000, 1.0, 0.3);
    let prior = Prior::new(&known);
    let mut code = encode(&prior, &own, shared(1), &private(1), 1);
    for length in 0..code.len() {
        assert!(decode(&code[..length], &prior, shared(1)).is_err(), "{length} bytes");
    }
    code.push(0);
    assert!(decode(&code, &prior, shared(1)).is_err());
}

proptest! {
    #[test]
    fn any_scores_and_priors_are_coded(pairs in proptest::collection::vec((any::<u16>(), -30f32..30.0), 0..200)) {
        let prior = Prior::from_thresholds(pairs.iter().map(|p| p.0).collect());
        let own: Vec<f32> = pairs.iter().map(|p| p.1).collect();
        let code = encode(&prior, &own, shared(1), &private(1), 1);
        prop_assert_eq!(decode(&code, &prior, shared(1)).unwrap().len(), own.len());
    }

    #[test]
    fn foreign_codes_are_refused_or_read(code in proptest::collection::vec(any::<u8>(), 0..100), len in 0usize..9000) {
        let prior = Prior::from_thresholds(vec![30_000; len]);
        if let Ok(mask) = decode(&code, &prior, shared(1)) {
            prop_assert_eq!(mask.len(), len);
        }
    }
}
