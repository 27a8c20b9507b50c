//! How open a mask distribution still is.

use rayon::prelude::*;

use crate::global_state::MIN_CHUNK;

/// Mean over weights of the entropy of `Bernoulli(sigmoid(s))` in bits: what an independent mask costs.
pub fn entropy_bits(scores: &[Vec<f32>]) -> f64 {
    let weights: usize = scores.iter().map(Vec::len).sum();
    let piece = |scores: &[f32]| scores.iter().map(|&s| f64::from(softplus(s) - sigmoid(s) * s)).sum::<f64>();
    // The pieces' sums are added in their order, so that the figure is the same at any number of threads.
    let layer = |scores: &Vec<f32>| scores.par_chunks(MIN_CHUNK).map(piece).collect::<Vec<f64>>();
    let nats: f64 = scores.iter().flat_map(layer).sum();
    nats / std::f64::consts::LN_2 / weights.max(1) as f64
}

// These are reports, so the platform's fast exponential will do where `libm` decides bits elsewhere.
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + exp(x))` without overflow.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Mean over weights of `KL(Bernoulli(sigmoid(q)) || Bernoulli(sigmoid(p)))` in bits, from scores, one vector per layer:
    /// what the coder's own sums are compared with.
    ///
    /// With scores, `KL = sigmoid(q) * (q - p) + softplus(p) - softplus(q)` nats.
    pub fn kl_bits(q: &[Vec<f32>], p: &[Vec<f32>]) -> f64 {
        let weights: usize = q.iter().map(Vec::len).sum();
        let pairs = q.iter().flatten().zip(p.iter().flatten());
        // Rounding may leave a tiny negative number where the two agree.
        let nats = |(&q, &p): (&f32, &f32)| (sigmoid(q) * (q - p) + softplus(p) - softplus(q)).max(0.0);
        pairs.map(|pair| f64::from(nats(pair))).sum::<f64>() / std::f64::consts::LN_2 / weights.max(1) as f64
    }

    #[test]
    fn divergence_matches_its_definition() {
        let bernoulli_kl = |a: f64, b: f64| a * (a / b).log2() + (1.0 - a) * ((1.0 - a) / (1.0 - b)).log2();
        let logit = |p: f64| (p / (1.0 - p)).ln() as f32;
        for (a, b) in [(0.5, 0.5), (0.9, 0.2), (0.01, 0.99)] {
            let got = kl_bits(&[vec![logit(a)]], &[vec![logit(b)]]);
            assert!((got - bernoulli_kl(a, b)).abs() < 1e-5, "{a} {b}: {got}");
        }
    }

    #[test]
    fn entropy_matches_its_definition() {
        for p in [0.5f64, 0.1, 0.97] {
            let got = entropy_bits(&[vec![(p / (1.0 - p)).ln() as f32]]);
            assert!((got - prism_core::mask::entropy(p)).abs() < 1e-6, "{p}: {got}");
        }
        assert_eq!(kl_bits(&[vec![200.0]], &[vec![200.0]]), 0.0);
    }
}
