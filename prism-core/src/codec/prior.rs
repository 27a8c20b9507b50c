//! The prior: what both sides know of a mask before it is sent.
//!
//! ```text
//! t = round(65536 * sigmoid(score)), kept within 1..=65535          P(bit = 1) = t / 65536
//! ```
//!
//! An integer threshold per weight, so that every machine draws the same candidates and parts the same ranges.

use crate::score::sigmoid;

/// The integer prior of `score`: `round(65536 * sigmoid(score))`, halves upwards, kept within 1..=65535.
pub fn threshold(score: f32) -> u16 {
    (f64::from(sigmoid(score)) * 65_536.0 + 0.5).clamp(1.0, 65_535.0) as u16
}

/// One integer probability per weight, in 65536ths, for the layers that cross as masks, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prior {
    thresholds: Vec<u16>,
}

impl Prior {
    /// The prior of scores that both sides know.
    pub fn new<'a>(scores: impl IntoIterator<Item = &'a f32>) -> Self {
        Prior { thresholds: scores.into_iter().map(|&s| threshold(s)).collect() }
    }

    /// A prior from its thresholds; those of 0 become 1, since a bit must never be impossible.
    pub fn from_thresholds(thresholds: Vec<u16>) -> Self {
        Prior { thresholds: thresholds.into_iter().map(|t| t.max(1)).collect() }
    }

    /// Probability of a 1 in 65536ths, weight by weight.
    pub fn thresholds(&self) -> &[u16] {
        &self.thresholds
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.thresholds.len()
    }

    /// Whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.thresholds.is_empty()
    }

    /// The probability of weight `i`, as a number.
    pub fn probability(&self, i: usize) -> f64 {
        f64::from(self.thresholds[i]) / 65_536.0
    }

    /// Sum over weights of the expected cost of a bit drawn from `Bernoulli(sigmoid(score))` under this prior, in bits: the
    /// least that a codec of independent masks needs.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn cross_entropy(&self, scores: &[f32]) -> f64 {
        assert_eq!(scores.len(), self.len(), "one score per weight of the prior");
        let cost = |(i, &s): (usize, &f32)| {
            let (q, p) = (f64::from(sigmoid(s)), self.probability(i));
            -q * libm::log2(p) - (1.0 - q) * libm::log2(1.0 - p)
        };
        scores.iter().enumerate().map(cost).sum()
    }

    /// Sum over weights of `KL(Bernoulli(sigmoid(score)) || prior)` in bits: about what a codec with shared randomness needs
    /// (Li and El Gamal, 2018).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn divergence(&self, scores: &[f32]) -> f64 {
        let own: f64 = scores.iter().map(|&s| crate::mask::entropy(f64::from(sigmoid(s)))).sum();
        self.cross_entropy(scores) - own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_rounded_and_never_certain() {
        assert_eq!(threshold(0.0), 32_768);
        assert_eq!((threshold(-100.0), threshold(100.0)), (1, 65_535));
        assert_eq!(threshold(crate::score::logit(0.01)), 655);
        assert_eq!(Prior::from_thresholds(vec![0, 7]).thresholds(), [1, 7]);
    }

    #[test]
    fn divergence_is_zero_at_the_prior_and_matches_its_definition() {
        let prior = Prior::new(&[0.0, 0.0]);
        assert!(prior.divergence(&[0.0, 0.0]).abs() < 1e-9);
        let expected = 0.9 * (0.9f64 / 0.5).log2() + 0.1 * (0.1f64 / 0.5).log2();
        assert!((prior.divergence(&[crate::score::logit(0.9), 0.0]) - expected).abs() < 1e-6);
        assert!((prior.cross_entropy(&[1.0, -1.0]) - 2.0).abs() < 1e-9);
    }
}
