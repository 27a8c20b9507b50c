//! From a noise level to a guarantee and back.
//!
//! Noise is Gaussian, of standard deviation `sigma` in every coordinate; a release that one record changes by at most `D` in L2 length has
//!
//! ```text
//! rho = D^2 / (2 sigma^2)
//! ```
//!
//! and several releases on the same data, even if each looks at those before it, add their rho (by [`exact`]: Dong, Roth and Su 2022,
//! corollary 3.3; by [`zcdp`]: Bun and Steinke 2016, lemma 2.3). What a rho promises is the matter of an [`Accountant`]: [`exact`] knows that
//! noise is Gaussian, [`zcdp`] does not use it. Everything here errs towards more noise.

pub mod exact;
pub mod zcdp;

use clap::ValueEnum;
use prism_core::Error;
use prism_nn::Result;
use serde::{Deserialize, Serialize};

use crate::flag_values::display_as_value;

/// Largest epsilon that is called a guarantee here.
pub const MAX_EPSILON: f64 = 100.0;
/// Relative precision of every search.
const PRECISION: f64 = 1e-12;
/// Halvings of an interval: more than a double has bits.
const HALVINGS: usize = 200;

/// How epsilon and delta follow from rho.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accountant {
    /// By the privacy profile of Gaussian noise itself
    Gaussian,
    /// By zero-concentrated privacy, which holds for other noise too and asks for up to a tenth more of this one
    Zcdp,
}

display_as_value!(Accountant);

impl Accountant {
    /// What runs used that were begun before there was a choice.
    pub fn of_before() -> Self {
        Accountant::Zcdp
    }

    /// The least delta for which rho is known to imply (epsilon, delta)-differential privacy.
    pub fn delta_of(self, rho: f64, epsilon: f64) -> f64 {
        match self {
            Accountant::Gaussian => exact::delta_of(rho, epsilon),
            Accountant::Zcdp => zcdp::delta_of(rho, epsilon),
        }
    }

    /// The least epsilon for which rho is known to imply (epsilon, delta)-differential privacy.
    pub fn epsilon_of(self, rho: f64, delta: f64) -> f64 {
        // rho + 2 sqrt(rho ln(1/delta)) always suffices (Bun and Steinke 2016, proposition 1.3).
        let high = rho + 2.0 * (rho * (1.0 / delta).ln()).sqrt();
        if self.delta_of(rho, 0.0) <= delta {
            return 0.0;
        }
        high - largest(0.0, high, |less| self.delta_of(rho, high - less) <= delta)
    }

    /// The rho of a sum of `parts` discrete Gaussians of standard deviation `part_sigma` each over `dimensions` integers, whose L2
    /// sensitivity is `sensitivity`.
    pub fn rho_of_sum(self, sensitivity: f64, part_sigma: f64, parts: u32, dimensions: usize) -> f64 {
        match self {
            Accountant::Gaussian => exact::rho_of_sum(sensitivity, part_sigma, parts),
            Accountant::Zcdp => zcdp::rho_of_sum(sensitivity, part_sigma, parts, dimensions),
        }
    }
}

/// A guarantee: with probability `1 - delta`, no outcome is `e^epsilon` times likelier with a record than without it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    epsilon: f64,
    delta: f64,
    accountant: Accountant,
}

impl Budget {
    /// A budget within its limits, kept to by `accountant`.
    ///
    /// # Errors
    /// [`Error::Usage`] unless `0 < epsilon <= 100` and `0 < delta < 1`; NaN is refused too.
    pub fn new(epsilon: f64, delta: f64, accountant: Accountant) -> Result<Self> {
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
        Ok(Budget { epsilon, delta, accountant })
    }

    /// The bound on the likelihood ratio, as its logarithm.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// The probability outside that bound.
    pub fn delta(&self) -> f64 {
        self.delta
    }

    /// Who keeps to it.
    pub fn accountant(&self) -> Accountant {
        self.accountant
    }

    /// The largest rho whose guarantee is this one.
    pub fn rho(&self) -> f64 {
        // delta grows with rho.
        let fits = |rho: f64| self.accountant.delta_of(rho, self.epsilon) <= self.delta;
        let mut high = self.epsilon.max(1e-3);
        while fits(high) {
            high *= 2.0;
        }
        largest(0.0, high, fits)
    }
}

/// The standard deviation that gives a release of L2 sensitivity `sensitivity` the given rho.
pub fn sigma(sensitivity: f64, rho: f64) -> f64 {
    sensitivity / (2.0 * rho).sqrt()
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

    const BOTH: [Accountant; 2] = [Accountant::Gaussian, Accountant::Zcdp];

    /// Figures of the design (zCDP), and of Balle and Wang's calibration: sigma for sensitivity 1.
    #[test]
    fn known_noise_levels() {
        for (accountant, epsilon, expected) in [
            (Accountant::Zcdp, 1.0, 4.045),
            (Accountant::Zcdp, 0.2, 17.91),
            (Accountant::Gaussian, 1.0, 3.7306),
            (Accountant::Gaussian, 0.2, 16.304),
        ] {
            let found = sigma(1.0, Budget::new(epsilon, 1e-5, accountant).unwrap().rho());
            assert!((found - expected).abs() < 2e-3 * expected, "{accountant}, epsilon {epsilon}: {found}");
        }
    }

    #[test]
    fn conversions_invert_each_other_and_err_on_the_safe_side() {
        for accountant in BOTH {
            for epsilon in [0.01, 0.2, 1.0, 10.0, 100.0] {
                for delta in [1e-12, 1e-5, 0.01, 0.5] {
                    let rho = Budget::new(epsilon, delta, accountant).unwrap().rho();
                    let case = format!("{accountant}, epsilon {epsilon}, delta {delta}");
                    assert!(accountant.delta_of(rho, epsilon) <= delta, "{case}");
                    let back = accountant.epsilon_of(rho, delta);
                    assert!((back - epsilon).abs() < 1e-6 * epsilon, "{case}: {back}");
                    assert!(accountant.delta_of(rho, back) <= delta, "{case}");
                }
            }
        }
    }

    #[test]
    fn knowing_the_noise_promises_more() {
        for rho in [1e-4, 0.0019, 0.036, 1.0, 20.0] {
            for delta in [1e-9, 1e-5, 1e-3] {
                let [exact, bound] = BOTH.map(|accountant| accountant.epsilon_of(rho, delta));
                assert!(exact < bound && exact > 0.6 * bound, "rho {rho}, delta {delta}: {exact} and {bound}");
            }
        }
    }

    fn golden() -> serde_json::Value {
        serde_json::from_str(include_str!("../../../../tests/golden/privacy_accounting.json")).unwrap()
    }

    /// Google's dp-accounting and OpenDP, by `tests/golden/privacy_accounting.py`.
    #[test]
    fn conversions_are_those_of_two_other_implementations() {
        let golden = golden();
        let cases = golden["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 28);
        for case in cases {
            let number = |key: &str| case[key].as_f64().unwrap();
            let found = Accountant::Zcdp.epsilon_of(number("rho"), number("delta"));
            for (other, tolerance) in [("google", 1e-5), ("opendp", 1e-7)] {
                let expected = number(other);
                assert!((found - expected).abs() < tolerance * expected.max(0.1), "{found} against {case}");
            }
            // The other way round: what is calibrated to their epsilon protects no less than they ask.
            let calibrated = Budget::new(found, number("delta"), Accountant::Zcdp).unwrap().rho();
            assert!((calibrated - number("rho")).abs() < 1e-6 * number("rho"), "{calibrated} against {case}");
        }
    }

    /// Google's privacy loss of a Gaussian, and the formula in numbers of 50 digits, by the same script.
    #[test]
    fn the_gaussian_profile_is_that_of_two_other_implementations() {
        let golden = golden();
        let cases = golden["gaussian"].as_array().unwrap();
        assert_eq!(cases.len(), 35);
        for case in cases {
            let number = |key: &str| case[key].as_f64().unwrap();
            let found = Accountant::Gaussian.delta_of(number("rho"), number("epsilon"));
            let digits = number("digits");
            // Rounding is on the safe side, so that what is found is never below.
            assert!(found >= digits && found <= digits * (1.0 + 1e-9) + 1e-16, "{found} against {case}");
            assert!((found - number("google")).abs() <= 1e-6 * found + 1e-14, "{found} against {case}");
        }
    }

    #[test]
    fn impossible_budgets_are_refused() {
        for accountant in BOTH {
            for epsilon in [0.0, -1.0, f64::NAN, f64::INFINITY, 101.0] {
                assert_eq!(Budget::new(epsilon, 1e-5, accountant).unwrap_err().exit_code(), 2, "epsilon {epsilon}");
            }
            for delta in [0.0, -1.0, 1.0, f64::NAN, 2.0] {
                assert_eq!(Budget::new(1.0, delta, accountant).unwrap_err().exit_code(), 2, "delta {delta}");
            }
        }
    }
}
