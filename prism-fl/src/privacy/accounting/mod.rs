//! From a noise level to a guarantee and back.
//!
//! Noise is Gaussian, of standard deviation `sigma` in every coordinate; a release that one record changes by at most `D` in L2 length has
//!
//! ```text
//! rho = D^2 / (2 sigma^2)
//! ```
//!
//! and several releases on the same data, even if each looks at those before it, add their rho (Dong, Roth and Su 2022, corollary 3.3).
//! What a rho promises is in `exact.rs`. Everything here errs towards more noise.

mod exact;

use prism_core::Error;
use prism_core::privacy::largest;
use prism_nn::Result;

use crate::settings::limits;
use crate::settings::privacy::PrivacySettings;

pub use exact::rho_of_sum;
pub use prism_core::privacy::{delta_of, epsilon_of};

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
    /// [`prism_core::Error::Usage`] unless `0 < epsilon <= 100` and `0 < delta < 1`; NaN is refused too.
    pub fn new(epsilon: f64, delta: f64) -> Result<Self> {
        limits::EPSILON.check("epsilon", epsilon)?;
        limits::DELTA.check("delta", delta)?;
        Ok(Budget { epsilon, delta })
    }

    /// The budget that settings ask for, if any.
    ///
    /// # Errors
    /// As for [`Budget::new`].
    pub fn of(settings: &PrivacySettings) -> Result<Option<Self>> {
        settings.epsilon.map(|epsilon| Self::new(epsilon, settings.delta)).transpose()
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
        // delta grows with rho.
        let fits = |rho: f64| delta_of(rho, self.epsilon) <= self.delta;
        let mut high = self.epsilon.max(1e-3);
        while fits(high) {
            high *= 2.0;
        }
        largest(0.0, high, fits)
    }
}

/// Most that delta may be, for one of `records`: to publish each with a chance of delta meets the promise, and at one in their
/// number that is one of them for certain, at a tenth of it none in nine cases of ten.
const DELTA_SHARE: f64 = 0.1;

/// Refuses a delta so large that the guarantee would allow to publish some record outright: `records` names them.
///
/// # Errors
/// [`Error::Usage`] if delta is above a tenth of one in `count`.
pub fn check_delta(delta: f64, count: usize, records: &str) -> prism_core::Result<()> {
    let limit = DELTA_SHARE / count.max(1) as f64;
    if delta <= limit {
        return Ok(());
    }
    // Two digits, rounded down, since what is told to choose must be accepted.
    let digit = 10f64.powf(limit.log10().floor() - 1.0);
    Err(Error::usage(format!(
        "`delta` is {delta:e}, above a tenth of one in the {count} {records}: to publish one of them at random, whole, would nearly \
         satisfy it; choose at most {:.1e}",
        (limit / digit).floor() * digit
    )))
}

/// The standard deviation that gives a release of L2 sensitivity `sensitivity` the given rho.
pub fn sigma(sensitivity: f64, rho: f64) -> f64 {
    sensitivity / (2.0 * rho).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_above_a_tenth_of_one_in_the_images_is_refused_with_one_that_is_accepted() {
        assert!(check_delta(1e-5, 10_000, "images of client 0").is_ok());
        for count in [10_001, 60_000, 99_999, 123_456] {
            let error = check_delta(1e-5, count, "images of client 0").unwrap_err().to_string();
            assert!(
                error.starts_with("`delta` is 1e-5,") && error.contains(&format!("{count} images of client 0")),
                "{error}"
            );
            let choose: f64 = error.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(check_delta(choose, count, "images").is_ok() && choose > 0.09 / count as f64, "{error}");
        }
    }

    /// Figures of Balle and Wang's calibration: sigma for sensitivity 1.
    #[test]
    fn known_noise_levels() {
        for (epsilon, expected) in [(1.0, 3.7306), (0.2, 16.304)] {
            let found = sigma(1.0, Budget::new(epsilon, 1e-5).unwrap().rho());
            assert!((found - expected).abs() < 2e-3 * expected, "epsilon {epsilon}: {found}");
        }
    }

    #[test]
    fn conversions_invert_each_other_and_err_on_the_safe_side() {
        for epsilon in [0.01, 0.2, 1.0, 10.0, 100.0] {
            for delta in [1e-12, 1e-5, 0.01, 0.5] {
                let rho = Budget::new(epsilon, delta).unwrap().rho();
                let case = format!("epsilon {epsilon}, delta {delta}");
                assert!(delta_of(rho, epsilon) <= delta, "{case}");
                let back = epsilon_of(rho, delta);
                assert!((back - epsilon).abs() < 1e-6 * epsilon, "{case}: {back}");
                assert!(delta_of(rho, back) <= delta, "{case}");
            }
        }
    }

    /// Google's privacy loss of a Gaussian, and the formula in numbers of 50 digits, by `tests/golden/privacy_accounting.py`.
    #[test]
    fn the_gaussian_profile_is_that_of_two_other_implementations() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../../tests/golden/privacy_accounting.json")).unwrap();
        let cases = golden["gaussian"].as_array().unwrap();
        assert_eq!(cases.len(), 35);
        for case in cases {
            let number = |key: &str| case[key].as_f64().unwrap();
            let found = delta_of(number("rho"), number("epsilon"));
            let digits = number("digits");
            // Rounding is on the safe side, so that what is found is never below.
            assert!(found >= digits && found <= digits * (1.0 + 1e-9) + 1e-16, "{found} against {case}");
            assert!((found - number("google")).abs() <= 1e-6 * found + 1e-14, "{found} against {case}");
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
}
