//! The prior: what both sides know of a mask before it is sent.
//!
//! ```text
//! t = round(65536 * sigmoid(score)), kept within 1..=65535          P(bit = 1) = t / 65536
//! ```
//!
//! An integer threshold per weight, so that every machine draws the same candidates and parts the same ranges.

use std::sync::OnceLock;

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
        self.costs(scores)[0]
    }

    /// Sum over weights of `KL(Bernoulli(sigmoid(score)) || prior)` in bits: about what a codec with shared randomness needs
    /// (Li and El Gamal, 2018).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn divergence(&self, scores: &[f32]) -> f64 {
        self.costs(scores)[1]
    }

    /// [`Prior::cross_entropy`] and [`Prior::divergence`] in one pass.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn costs(&self, scores: &[f32]) -> [f64; 2] {
        assert_eq!(scores.len(), self.len(), "one score per weight of the prior");
        let logs = logs();
        let (mut cross_entropy, mut entropy) = (0.0, 0.0);
        for (&score, &t) in scores.iter().zip(&self.thresholds) {
            // The probability of the less likely bit is e / (1 + e), e = exp(-|score|), and the entropy in nats is
            // ln(1 + e) + |score| e / (1 + e): one exponential and one logarithm a weight, the platform's fast ones, since
            // no bit of a message depends on these sums.
            let size = score.abs();
            let e = (-size).exp();
            let unlikely = e / (1.0 + e);
            let q = f64::from(if score > 0.0 { 1.0 - unlikely } else { unlikely });
            let [one, zero] = [logs[usize::from(t)], logs[65_536 - usize::from(t)]];
            cross_entropy -= q * one + (1.0 - q) * zero;
            // A score of infinity is certain, and has no entropy.
            entropy += f64::from(e.ln_1p() + if e > 0.0 { size * unlikely } else { 0.0 });
        }
        // Rounding may leave a tiny negative number where the two agree.
        [cross_entropy, (cross_entropy - entropy / std::f64::consts::LN_2).max(0.0)]
    }
}

/// `log2(t / 65536)` for every t: there are no other priors.
fn logs() -> &'static [f64] {
    static LOGS: OnceLock<Vec<f64>> = OnceLock::new();
    LOGS.get_or_init(|| (0..=65_536u32).map(|t| libm::log2(f64::from(t.max(1)) / 65_536.0)).collect())
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
        assert!(prior.divergence(&[0.0, 0.0]).abs() < 1e-6);
        let expected = 0.9 * (0.9f64 / 0.5).log2() + 0.1 * (0.1f64 / 0.5).log2();
        assert!((prior.divergence(&[crate::score::logit(0.9), 0.0]) - expected).abs() < 1e-6);
        assert!((prior.cross_entropy(&[1.0, -1.0]) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn costs_are_those_of_the_plain_formulas() {
        let scores: Vec<f32> = (-400..400).map(|i| i as f32 / 20.0).collect();
        let prior = Prior::new(scores.iter().rev());
        let q = |s: &f32| 1.0 / (1.0 + (-f64::from(*s)).exp());
        let plain = |(i, s): (usize, &f32)| {
            let (q, p) = (q(s), prior.probability(i));
            -q * p.log2() - (1.0 - q) * (1.0 - p).log2()
        };
        let cross: f64 = scores.iter().enumerate().map(plain).sum();
        let own: f64 = scores.iter().map(|s| crate::mask::entropy(q(s))).sum();
        let [found, divergence] = prior.costs(&scores);
        // Single precision: 1e-6 bit a weight.
        assert!((found - cross).abs() < 1e-3 && (divergence - (cross - own)).abs() < 1e-3, "{found} {divergence}");
        assert!(Prior::new(&[0.0]).costs(&[f32::INFINITY]).iter().all(|x| (x - 1.0).abs() < 1e-9));
    }
}
