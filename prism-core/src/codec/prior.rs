//! The prior: what both sides know of a mask before it is sent.
//!
//! ```text
//! t = round(65536 * sigmoid(score)), kept within 1..=65535          P(bit = 1) = t / 65536
//! ```
//!
//! An integer threshold per weight, so that every machine draws the same candidates and parts the same ranges.

use std::sync::OnceLock;

use crate::draw::{QUICK_RANGE, block};
use crate::score::sigmoid;
use crate::simd::math::{self, BLOCK};
use crate::simd::{Isa, Kernel, Shape};

/// Scores whose thresholds are computed together.
const CHUNK: usize = 1024;

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
        let (isa, mut scores) = (Isa::detect(), scores.into_iter());
        let mut thresholds = Vec::with_capacity(scores.size_hint().0);
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            chunk.clear();
            chunk.extend(scores.by_ref().take(CHUNK));
            // SAFETY: `isa` is this machine's.
            unsafe { isa.run(Thresholds { scores: &chunk, out: &mut thresholds }) };
            if chunk.len() < CHUNK {
                return Prior { thresholds };
            }
        }
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
        // SAFETY: the instruction set is this machine's.
        let [cross_entropy, entropy] = unsafe { Isa::detect().run(Costs { scores, thresholds: &self.thresholds }) };
        // Rounding may leave a tiny negative number where the two agree.
        [cross_entropy, (cross_entropy - entropy / std::f64::consts::LN_2).max(0.0)]
    }
}

/// Appends the threshold of every score. A quick sigmoid decides those that are not within its error of a half.
struct Thresholds<'a> {
    scores: &'a [f32],
    out: &'a mut Vec<u16>,
}

impl Kernel for Thresholds<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        for at in (0..self.scores.len()).step_by(BLOCK) {
            let scores = block(self.scores, at);
            let theta = math::sigmoid(scores);
            for lane in 0..BLOCK.min(self.scores.len() - at) {
                let near = theta[lane] * 65_536.0 + 0.5;
                let (whole, doubt) = (near as u32, near * 1e-6 + 0.01);
                let rest = near - whole as f32;
                let sure = rest > doubt && rest < 1.0 - doubt && scores[lane].abs() < QUICK_RANGE;
                self.out.push(if sure { whole.clamp(1, 65_535) as u16 } else { threshold(scores[lane]) });
            }
        }
    }
}

/// Sums of cross-entropy and entropy, both in units of [`Prior::costs`] but for the entropy, which is in nats.
struct Costs<'a> {
    scores: &'a [f32],
    thresholds: &'a [u16],
}

impl Kernel for Costs<'_> {
    type Output = [f64; 2];

    #[inline(always)]
    unsafe fn run<S: Shape>(self) -> [f64; 2] {
        let logs = logs();
        let (mut cross_entropy, mut entropy) = (0.0, 0.0);
        for (at, thresholds) in (0..).step_by(BLOCK).zip(self.thresholds.chunks(BLOCK)) {
            // The probability of the less likely bit is e / (1 + e), e = exp(-|score|), and the entropy in nats is
            // ln(1 + e) + |score| e / (1 + e): one quick exponential and logarithm a weight, since no bit of a message
            // depends on these sums. Beyond 87, exp's own limit, a score is certain, and infinity times 0 must be 0.
            let scores = block(self.scores, at);
            let sizes = scores.map(|score| score.abs().min(87.0));
            let e = math::exp(sizes.map(|size| -size));
            let logarithms = math::ln_1p(e);
            for (lane, &t) in thresholds.iter().enumerate() {
                let unlikely = e[lane] / (1.0 + e[lane]);
                let q = f64::from(if scores[lane] > 0.0 { 1.0 - unlikely } else { unlikely });
                let [one, zero] = [logs[usize::from(t)], logs[65_536 - usize::from(t)]];
                cross_entropy -= q * one + (1.0 - q) * zero;
                entropy += f64::from(logarithms[lane] + sizes[lane] * unlikely);
            }
        }
        [cross_entropy, entropy]
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
    fn quick_thresholds_are_the_exact_ones() {
        let mut stream = crate::stream::StreamId::new(3, crate::stream::Purpose::Test).open();
        // Anywhere, and at the edges between two thresholds, where the quick answer would be wrong.
        let anywhere = (0..200_000).map(|i| stream.normal() as f32 * [1.0, 4.0, 30.0][i % 3]).collect::<Vec<_>>();
        let edges = (1..65_536).map(|t| crate::score::logit((t as f32 - 0.5) / 65_536.0));
        let odd = [0.0, f32::INFINITY, f32::NEG_INFINITY, 88.0, -88.0];
        let scores: Vec<f32> = anywhere.into_iter().chain(edges).chain(odd).collect();
        let exact: Vec<u16> = scores.iter().map(|&score| threshold(score)).collect();
        assert_eq!(Prior::new(&scores).thresholds(), exact);
        for isa in Isa::available() {
            let mut found = Vec::new();
            // SAFETY: `isa` is one of this machine's.
            unsafe { isa.run(Thresholds { scores: &scores, out: &mut found }) };
            assert!(found == exact, "{isa:?}");
        }
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
