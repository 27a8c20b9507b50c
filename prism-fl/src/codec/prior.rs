//! The prior: what both sides know of a mask before it is sent.
//!
//! ```text
//! t = round(65536 * sigmoid(score)), kept within 1..=65535          P(bit = 1) = t / 65536
//! ```
//!
//! An integer threshold per weight, so that every machine draws the same candidates and parts the same ranges.

use std::sync::OnceLock;

use prism_core::draw::{QUICK_RANGE, block, put};
use prism_core::score::sigmoid;
use prism_core::simd::math::{self, BLOCK};
use prism_core::simd::{Isa, Kernel, Shape};

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
    pub fn new(scores: &[f32]) -> Self {
        Self::of_layers([scores])
    }

    /// The prior of layers of scores, one after another.
    pub fn of_layers<'a>(layers: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let isa = Isa::detect();
        let mut thresholds = Vec::new();
        for scores in layers {
            let begin = thresholds.len();
            thresholds.resize(begin + scores.len(), 0);
            // SAFETY: `isa` is this machine's.
            unsafe { isa.run(Thresholds { scores, out: &mut thresholds[begin..] }) };
        }
        Prior { thresholds }
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

    /// Sum over weights of the expected cost of a bit drawn from `Bernoulli(sigmoid(score))` under this prior, in bits:
    /// the least that a codec of independent masks needs.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn cross_entropy(&self, scores: &[f32]) -> f64 {
        self.costs([scores])[0]
    }

    /// Sum over weights of `KL(Bernoulli(sigmoid(score)) || prior)` in bits: about what a codec with shared randomness
    /// needs (Li and El Gamal, 2018).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn divergence(&self, scores: &[f32]) -> f64 {
        self.costs([scores])[1]
    }

    /// [`Prior::cross_entropy`] and [`Prior::divergence`] in one pass over layers of scores, one after another.
    ///
    /// # Panics
    /// If there are not as many scores as weights.
    pub fn costs<'a>(&self, layers: impl IntoIterator<Item = &'a [f32]>) -> [f64; 2] {
        let (isa, mut rest) = (Isa::detect(), self.thresholds.as_slice());
        let (mut cross_entropy, mut entropy) = (0.0, 0.0);
        for scores in layers {
            let thresholds = rest.split_off(..scores.len()).expect("one score per weight of the prior");
            // SAFETY: `isa` is this machine's.
            let costs = unsafe { isa.run(Costs { scores, thresholds }) };
            cross_entropy += costs[0];
            entropy += costs[1];
        }
        assert!(rest.is_empty(), "one score per weight of the prior");
        // Rounding may leave a tiny negative number where the two agree.
        [cross_entropy, (cross_entropy - entropy / std::f64::consts::LN_2).max(0.0)]
    }
}

/// Writes the threshold of every score. A quick sigmoid decides those that are not within its error of a half.
struct Thresholds<'a> {
    scores: &'a [f32],
    out: &'a mut [u16],
}

impl Kernel for Thresholds<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        for (at, out) in (0..).step_by(BLOCK).zip(self.out.chunks_mut(BLOCK)) {
            let scores = block(self.scores, at);
            let theta = math::sigmoid(scores);
            let (mut found, mut doubtful) = ([0u16; BLOCK], 0u16);
            for lane in 0..BLOCK {
                let near = theta[lane] * 65_536.0;
                // Leaves the nearest integer in the lowest bits, and rounds to it.
                let shifted = near + 8_388_608.0;
                let rest = (near - (shifted - 8_388_608.0)).abs();
                // The quick and the exact sigmoid differ by less than 5e-7 of themselves.
                let sure = rest < 0.498 - near * 6e-7 && scores[lane].abs() < QUICK_RANGE;
                found[lane] = (shifted.to_bits() & 0x1_FFFF).clamp(1, 65_535) as u16;
                doubtful |= u16::from(!sure) << lane;
            }
            while doubtful != 0 {
                let lane = doubtful.trailing_zeros() as usize;
                found[lane] = threshold(scores[lane]);
                doubtful &= doubtful - 1;
            }
            put(out, found);
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
        let (mut cross_entropy, mut entropy) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (at, thresholds) in (0..).step_by(BLOCK).zip(self.thresholds.chunks(BLOCK)) {
            // The probability of the less likely bit is e / (1 + e), e = exp(-|score|), and the entropy in nats is
            // ln(1 + e) + |score| e / (1 + e): one quick exponential and logarithm a weight, since no bit of a message
            // depends on these sums. Beyond 87, exp's own limit, a score is certain, and infinity times 0 must be 0.
            let scores = block(self.scores, at);
            let sizes = scores.map(|score| score.abs().min(87.0));
            let e = math::exp(sizes.map(|size| -size));
            let logarithms = math::ln_1p(e);
            let mut priors = [[0.0; 2]; BLOCK];
            priors.iter_mut().zip(thresholds).for_each(|(prior, &t)| *prior = logs[usize::from(t)]);
            let counted = thresholds.len();
            for lane in 0..BLOCK {
                let unlikely = e[lane] / (1.0 + e[lane]);
                let q = if scores[lane] > 0.0 { 1.0 - unlikely } else { unlikely };
                let [one, zero] = priors[lane];
                cross_entropy[lane] -= f64::from(q * one + (1.0 - q) * zero);
                let own = logarithms[lane] + sizes[lane] * unlikely;
                entropy[lane] += f64::from(if lane < counted { own } else { 0.0 });
            }
        }
        [cross_entropy.iter().sum(), entropy.iter().sum()]
    }
}

/// `log2(p)` and `log2(1 - p)` for every p = t / 65536: there are no other priors.
fn logs() -> &'static [[f32; 2]] {
    static LOGS: OnceLock<Vec<[f32; 2]>> = OnceLock::new();
    let log = |t: u32| libm::log2(f64::from(t.max(1)) / 65_536.0) as f32;
    LOGS.get_or_init(|| (0..=65_535).map(|t| [log(t), log(65_536 - t)]).collect())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::codec::ScoreGrid;

    #[test]
    fn thresholds_are_rounded_and_never_certain() {
        assert_eq!(threshold(0.0), 32_768);
        assert_eq!((threshold(-100.0), threshold(100.0)), (1, 65_535));
        assert_eq!(threshold(prism_core::score::logit(0.01)), 655);
        assert_eq!(Prior::from_thresholds(vec![0, 7]).thresholds(), [1, 7]);
    }

    /// The check values of section 5.7 of `FORMAT.md`: another `expf` moves some of them.
    #[test]
    fn thresholds_are_those_of_the_format_page() {
        let thresholds: Vec<u8> =
            (-2048..2048).flat_map(|index| threshold(ScoreGrid::FINE.score(index)).to_le_bytes()).collect();
        let hash: String = Sha256::digest(&thresholds).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "be7d7523eb2300825b657b1eea33761a1628b35ea2fda74ad349ca6b4f7a8248");
        assert_eq!(threshold(ScoreGrid::FINE.score(-479)), 8744);
    }

    #[test]
    fn quick_thresholds_are_the_exact_ones() {
        let mut stream = prism_core::stream::StreamId::new(3, prism_core::stream::Purpose::Test).open();
        // Anywhere, and at the edges between two thresholds, where the quick answer would be wrong.
        let anywhere = (0..200_000).map(|i| stream.normal() as f32 * [1.0, 4.0, 30.0][i % 3]).collect::<Vec<_>>();
        let edges = (1..65_536).map(|t| prism_core::score::logit((t as f32 - 0.5) / 65_536.0));
        let odd = [0.0, f32::INFINITY, f32::NEG_INFINITY, 88.0, -88.0];
        let scores: Vec<f32> = anywhere.into_iter().chain(edges).chain(odd).collect();
        let exact: Vec<u16> = scores.iter().map(|&score| threshold(score)).collect();
        assert_eq!(Prior::new(&scores).thresholds(), exact);
        for isa in Isa::available() {
            let mut found = vec![0; scores.len()];
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
        assert!((prior.divergence(&[prism_core::score::logit(0.9), 0.0]) - expected).abs() < 1e-6);
        assert!((prior.cross_entropy(&[1.0, -1.0]) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn costs_are_those_of_the_plain_formulas() {
        let scores: Vec<f32> = (-400..400).map(|i| i as f32 / 20.0).collect();
        let prior = Prior::new(&scores.iter().rev().copied().collect::<Vec<_>>());
        let q = |s: &f32| 1.0 / (1.0 + (-f64::from(*s)).exp());
        let plain = |(i, s): (usize, &f32)| {
            let (q, p) = (q(s), prior.probability(i));
            -q * p.log2() - (1.0 - q) * (1.0 - p).log2()
        };
        let cross: f64 = scores.iter().enumerate().map(plain).sum();
        let own: f64 = scores.iter().map(|s| prism_core::mask::entropy(q(s))).sum();
        let [found, divergence] = prior.costs([scores.as_slice()]);
        // Single precision: 1e-6 bit a weight.
        assert!((found - cross).abs() < 1e-3 && (divergence - (cross - own)).abs() < 1e-3, "{found} {divergence}");
        assert!(Prior::new(&[0.0]).costs([[f32::INFINITY].as_slice()]).iter().all(|x| (x - 1.0).abs() < 1e-9));
    }
}
