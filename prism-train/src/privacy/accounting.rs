//! From a noise level to a guarantee and back: zero-concentrated differential privacy (zCDP) and its conversion to (epsilon,
//! delta).
//!
//! A release of L2 sensitivity `D` with (discrete) Gaussian noise of standard deviation `sigma` is rho-zCDP with
//!
//! ```text
//! rho = D^2 / (2 sigma^2)                                                  (Canonne, Kamath, Steinke 2020, theorem 4)
//! delta(rho, epsilon) = inf over a > 1 of  exp((a - 1)(a rho - epsilon)) / (a - 1) * (1 - 1/a)^a      (ibid., corollary 13)
//! ```
//!
//! Several releases on the same data add their rho. Everything here errs towards more noise.

use prism_core::Error;
use prism_nn::Result;

/// Largest epsilon that is called a guarantee here.
pub const MAX_EPSILON: f64 = 100.0;
/// Relative precision of every search.
const PRECISION: f64 = 1e-12;
/// Halvings of an interval: more than a double has bits.
const HALVINGS: usize = 200;

/// A guarantee: with probability `1 - delta`, no outcome is `e^epsilon` times likelier with a record than without it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    epsilon: f64,
    delta: f64,
}

impl Budget {
    /// A budget within its limits.
    ///
    /// # Errors
    /// [`Error::Usage`] unless `0 < epsilon <= 100` and `0 < delta < 1`; NaN is refused too.
    pub fn new(epsilon: f64, delta: f64) -> Result<Self> {
        if !(epsilon > 0.0 && epsilon <= MAX_EPSILON) {
            return Err(Error::usage(format!(
                "--dp-epsilon is {epsilon}; choose a number above 0 and at most {MAX_EPSILON}, such as 1 (smaller protects \
                 more), or leave it out for a run without privacy"
            ))
            .into());
        }
        if !(delta > 0.0 && delta < 1.0) {
            return Err(Error::usage(format!(
                "--dp-delta is {delta}; choose a number above 0 and below 1, and below one in the number of images, such as \
                 1e-5"
            ))
            .into());
        }
        Ok(Budget { epsilon, delta })
    }

    /// The bound on the likelihood ratio, as its logarithm.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// The probability outside that bound.
    pub fn delta(&self) -> f64 {
        self.delta
    }

    /// The largest rho whose guarantee is this one.
    pub fn rho(&self) -> f64 {
        // delta grows with rho. Above, rho = epsilon already gives a delta of a half and more for any epsilon.
        let fits = |rho: f64| delta_of(rho, self.epsilon) <= self.delta;
        let mut high = self.epsilon.max(1e-3);
        while fits(high) {
            high *= 2.0;
        }
        largest(0.0, high, fits)
    }
}

/// The standard deviation that makes a release of L2 sensitivity `sensitivity` rho-zCDP.
pub fn sigma(sensitivity: f64, rho: f64) -> f64 {
    sensitivity / (2.0 * rho).sqrt()
}

/// The least delta for which rho-zCDP is known to imply (epsilon, delta)-differential privacy.
///
/// Below `a = 1 + 1e-9` and above `1e9` the infimum is not looked for; any `a` gives a valid bound.
pub fn delta_of(rho: f64, epsilon: f64) -> f64 {
    if rho == 0.0 {
        return 0.0;
    }
    // The logarithm of the bound falls, then rises; its derivative changes sign once.
    let slope = |a: f64| (2.0 * a - 1.0) * rho - epsilon + (-1.0 / a).ln_1p();
    let (mut low, mut high) = ((1e-9f64).ln(), (1e9f64).ln());
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if slope(1.0 + middle.exp()) < 0.0 { low = middle } else { high = middle }
    }
    let above = low.exp();
    let a = 1.0 + above;
    let log = above * (a * rho - epsilon) - above.ln() + a * (-1.0 / a).ln_1p();
    log.exp().min(1.0)
}

/// The least epsilon for which rho-zCDP is known to imply (epsilon, delta)-differential privacy.
pub fn epsilon_of(rho: f64, delta: f64) -> f64 {
    // rho + 2 sqrt(rho ln(1/delta)) always suffices (Bun and Steinke 2016, proposition 1.3).
    let high = rho + 2.0 * (rho * (1.0 / delta).ln()).sqrt();
    if delta_of(rho, 0.0) <= delta {
        return 0.0;
    }
    high - largest(0.0, high, |less| delta_of(rho, high - less) <= delta)
}

/// Concentrated privacy of a sum of `parts` discrete Gaussians of standard deviation `part_sigma` each over `dimensions`
/// integers, whose L2 sensitivity is `sensitivity`.
///
/// Such a sum is not itself a discrete Gaussian. Kairouz, Liu and Steinke 2021 (theorem 1) bound the difference; from a few
/// units of deviation on it is far below the precision of a double.
pub fn rho_of_sum(sensitivity: f64, part_sigma: f64, parts: u32, dimensions: usize) -> f64 {
    let variance = part_sigma * part_sigma;
    let term = |k: u32| {
        let k = f64::from(k);
        (-2.0 * std::f64::consts::PI.powi(2) * variance * k / (k + 1.0)).exp()
    };
    let tau = 10.0 * (1..parts).map(term).sum::<f64>();
    let square = sensitivity * sensitivity / (f64::from(parts) * variance) + tau * dimensions as f64 / 2.0;
    square / 2.0
}

/// The largest `x` in `[low, high)` that `fits`, where everything below a fitting number fits too; never one that does not.
fn largest(low: f64, high: f64, fits: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (low, high);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if fits(middle) {
            low = middle
        } else {
            high = middle
        }
        if high - low <= PRECISION * high {
            break;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of the design: sigma for sensitivity 1.
    #[test]
    fn known_noise_levels() {
        for (epsilon, expected) in [(1.0, 4.045), (0.2, 17.91)] {
            let found = sigma(1.0, Budget::new(epsilon, 1e-5).unwrap().rho());
            assert!((found - expected).abs() < 2e-3 * expected, "epsilon {epsilon}: {found}");
        }
    }

    #[test]
    fn conversions_invert_each_other_and_err_on_the_safe_side() {
        for epsilon in [0.01, 0.2, 1.0, 10.0, 100.0] {
            for delta in [1e-12, 1e-5, 0.01, 0.5] {
                let rho = Budget::new(epsilon, delta).unwrap().rho();
                assert!(delta_of(rho, epsilon) <= delta, "epsilon {epsilon}, delta {delta}");
                let back = epsilon_of(rho, delta);
                assert!((back - epsilon).abs() < 1e-6 * epsilon, "{back} against {epsilon}");
                assert!(delta_of(rho, back) <= delta);
            }
        }
    }

    /// Google's dp-accounting and OpenDP, by `tests/golden/privacy_accounting.py`.
    #[test]
    fn conversions_are_those_of_two_other_implementations() {
        let golden = include_str!("../../../tests/golden/privacy_accounting.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 28);
        for case in cases {
            let number = |key: &str| case[key].as_f64().unwrap();
            let found = epsilon_of(number("rho"), number("delta"));
            for (other, tolerance) in [("google", 1e-5), ("opendp", 1e-7)] {
                let expected = number(other);
                assert!((found - expected).abs() < tolerance * expected.max(0.1), "{found} against {case}");
            }
            // The other way round: what is calibrated to their epsilon protects no less than they ask.
            let calibrated = Budget::new(found, number("delta")).unwrap().rho();
            assert!((calibrated - number("rho")).abs() < 1e-6 * number("rho"), "{calibrated} against {case}");
        }
    }

    #[test]
    fn impossible_budgets_are_refused() {
        for epsilon in [0.0, -1.0, f64::NAN, f64::INFINITY, 101.0] {
            assert_eq!(Budget::new(epsilon, 1e-5).unwrap_err().exit_code(), 2, "epsilon {epsilon}");
        }
        for delta in [0.0, -1.0, 1.0, f64::NAN, 2.0] {
            assert_eq!(Budget::new(1.0, delta).unwrap_err().exit_code(), 2, "delta {delta}");
        }
    }

    #[test]
    fn a_sum_of_shares_protects_as_one_draw_does() {
        let whole = 1000.0 * 1000.0 / (2.0 * 4000.0f64.powi(2));
        let share = 4000.0 / 10f64.sqrt();
        let found = rho_of_sum(1000.0, share, 10, 2_375_690);
        assert!((found - whole).abs() < 1e-12 * whole, "{found} against {whole}");
        assert!(rho_of_sum(1.0, 0.5, 10, 100) > 1.0, "shares of half a unit protect nothing");
    }
}
