//! What counts say about a guarantee: exact confidence bounds, and the epsilon that a distinguisher's success proves.

use libm::{erfc, lgamma};

/// Halvings of an interval.
const HALVINGS: usize = 100;

/// How often a test said "with the record": on releases with it, and on releases without it.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Right answers.
    pub hits: u64,
    /// Wrong ones.
    pub false_alarms: u64,
    /// Releases of each kind.
    pub releases: u64,
}

impl Counts {
    /// A lower bound on epsilon at `delta`, wrong with probability at most `2 level`: `ln((hit rate - delta) / false alarms)`
    /// at the Clopper-Pearson ends of both rates.
    pub fn epsilon(&self, delta: f64, level: f64) -> f64 {
        let (hits, alarms) = self.rates(level);
        if hits <= delta { 0.0 } else { ((hits - delta) / alarms).ln().max(0.0) }
    }

    /// Lower bound of the hit rate and upper bound of the false alarms.
    fn rates(&self, level: f64) -> (f64, f64) {
        (lower(self.hits, self.releases, level), 1.0 - lower(self.releases - self.false_alarms, self.releases, level))
    }
}

/// A lower bound on epsilon at `delta`, wrong with probability about `level`, for Gaussian noise, of which the scores' separation in
/// standard deviations tells all: `d = (mean with - mean without) / deviation`, whose variance is `2 / n + d^2 / (4 n)` for n each.
pub fn epsilon_of_scores(with: &[f64], without: &[f64], delta: f64, level: f64) -> f64 {
    let n = with.len().min(without.len()) as f64;
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    let spread = |scores: &[f64]| scores.iter().map(|x| (x - mean(scores)).powi(2)).sum::<f64>() / scores.len() as f64;
    let deviation = (0.5 * (spread(with) + spread(without))).sqrt().max(1e-9);
    let d = (mean(with) - mean(without)) / deviation;
    let mu = d + quantile(level) * (2.0 / n + d * d / (4.0 * n)).sqrt();
    if mu <= 0.0 { 0.0 } else { gaussian_epsilon(mu, delta) }
}

/// Clopper and Pearson's lower bound: the probability at which `hits` or more of `trials` happen with chance `level`.
pub fn lower(hits: u64, trials: u64, level: f64) -> f64 {
    if hits == 0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, hits as f64 / trials as f64);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if at_least(hits, trials, middle) < level { low = middle } else { high = middle }
    }
    low
}

/// `P(B >= hits)` for `B ~ Binomial(trials, p)`.
pub fn at_least(hits: u64, trials: u64, p: f64) -> f64 {
    if hits == 0 || p >= 1.0 {
        return 1.0;
    }
    if p <= 0.0 {
        return 0.0;
    }
    // From the likeliest count on terms only fall, so a sum may stop once they no longer matter; below it, the other tail is
    // summed instead.
    let term = |k: u64| log_choose(trials, k) + k as f64 * p.ln() + (trials - k) as f64 * (-p).ln_1p();
    let sum = |from: u64, to: u64, up: bool| {
        let mut total = 0.0;
        let mut step = |k: u64| {
            let value = term(k).exp();
            total += value;
            value > total * 1e-17
        };
        if up {
            (from..=to).all(&mut step);
        } else {
            (from..=to).rev().all(&mut step);
        }
        total
    };
    if hits as f64 > p * trials as f64 { sum(hits, trials, true) } else { 1.0 - sum(0, hits - 1, false) }
}

fn log_choose(n: u64, k: u64) -> f64 {
    lgamma(n as f64 + 1.0) - lgamma(k as f64 + 1.0) - lgamma((n - k) as f64 + 1.0)
}

/// The normal distribution function.
fn below(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

/// Its inverse, for shares that counts can give.
fn quantile(share: f64) -> f64 {
    let (mut low, mut high) = (-38.0, 38.0);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if below(middle) < share { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The epsilon at `delta` of Gaussian noise with separation `mu` (Balle and Wang 2018, theorem 8).
pub fn gaussian_epsilon(mu: f64, delta: f64) -> f64 {
    let delta_at = |epsilon: f64| below(mu / 2.0 - epsilon / mu) - epsilon.exp() * below(-mu / 2.0 - epsilon / mu);
    // Above 700, e^epsilon overflows; nothing smaller is ever claimed.
    let (mut low, mut high) = (0.0, 700.0);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if delta_at(middle) > delta { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.beta.ppf(0.025, 30, 71)`, and the same of 9999 in 10000 and of 1 in 20.
    #[test]
    fn confidence_bounds_are_those_of_scipy() {
        for (hits, trials, expected) in [(30, 100, 0.212406), (9999, 10_000, 0.999443), (1, 20, 0.001265)] {
            let found = lower(hits, trials, 0.025);
            assert!((found - expected).abs() < 2e-6, "{hits} of {trials}: {found}");
        }
        assert_eq!(lower(0, 10, 0.01), 0.0);
    }

    #[test]
    fn gaussian_noise_has_its_known_epsilon() {
        // Analytic Gaussian mechanism: sigma 3.730632 for epsilon 1 at delta 1e-5.
        assert!((gaussian_epsilon(1.0 / 3.730_632, 1e-5) - 1.0).abs() < 1e-5);
        assert!((quantile(0.975) - 1.959_964).abs() < 1e-6);
    }

    #[test]
    fn a_perfect_test_proves_a_large_epsilon_and_a_blind_one_none() {
        let perfect = Counts { hits: 10_000, false_alarms: 0, releases: 10_000 };
        assert!(perfect.epsilon(1e-5, 0.001) > 7.0);
        let blind = Counts { hits: 5_020, false_alarms: 5_000, releases: 10_000 };
        assert_eq!(blind.epsilon(1e-5, 0.001), 0.0);
        let scores = |shift: f64| (0..1000).map(|i| shift + f64::from(i % 100) / 100.0).collect::<Vec<_>>();
        assert_eq!(epsilon_of_scores(&scores(0.01), &scores(0.0), 1e-5, 0.001), 0.0);
        // Five deviations of 0.289 apart, less the error of the estimate.
        let (apart, exact) =
            (epsilon_of_scores(&scores(1.4434), &scores(0.0), 1e-5, 0.001), gaussian_epsilon(5.0, 1e-5));
        assert!(apart < exact && apart > 0.9 * exact, "{apart} of {exact}");
        assert!(epsilon_of_scores(&[1.0; 100], &[0.0; 100], 1e-5, 0.001) > 100.0, "no noise at all");
    }
}
