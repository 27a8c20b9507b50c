//! What a model claims of its privacy, and how anybody checks the claim.
//!
//! Gaussian noise of standard deviation `sigma` on something that one unit changes by at most `D` in L2 length is
//! (epsilon, delta)-differentially private exactly for
//!
//! ```text
//! delta(rho, epsilon) = Phi(m/2 - epsilon/m) - e^epsilon Phi(-m/2 - epsilon/m),    m = D / sigma = sqrt(2 rho)
//! ```
//!
//! (Balle and Wang 2018, theorem 8), and the rho of several releases on the same images add up (Dong, Roth and Su 2022,
//! corollary 3.3).

mod terms;

use core::f64::consts::SQRT_2;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::prelude::*;

pub use terms::{Adjacency, Trust, Unit};

/// Relative precision of the search for an epsilon.
const PRECISION: f64 = 1e-12;
/// Halvings of an interval: more than a double has bits.
const HALVINGS: usize = 200;
/// How far a claimed epsilon may be below the computed one: the digits that a text leaves out.
const TOLERANCE: f64 = 1e-6;

/// A promise of differential privacy with all that it is computed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What is protected.
    pub unit: Unit,
    /// What two neighbouring data sets differ in.
    pub adjacency: Adjacency,
    /// Whose word it rests on.
    pub trust: Trust,
    /// No outcome is `e^epsilon` times likelier with a unit than with another in its place.
    pub epsilon: f64,
    /// Probability that this does not hold.
    pub delta: f64,
    /// Half the square of sensitivity over standard deviation, added up over all releases of this training.
    pub rho: f64,
    /// Public images that the encoder was trained on; `none` for random weights.
    pub encoder_images: String,
    /// What all draws together give away of the same images.
    pub total: Total,
}

/// What all draws that a ledger knows of the same images promise together, of one image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Total {
    /// How many there are, this one among them.
    pub draws: usize,
    /// What two neighbouring data sets differ in.
    pub adjacency: Adjacency,
    /// Half the square of sensitivity over standard deviation, added up.
    pub rho: f64,
    /// At the claim's delta.
    pub epsilon: f64,
}

impl Claim {
    /// Refuses a claim whose numbers do not follow from its noise.
    ///
    /// # Errors
    /// [`Error::Corrupt`] saying what the noise gives.
    pub fn verify(&self) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::corrupt("the privacy claim", why));
        let finite =
            [self.epsilon, self.delta, self.rho, self.total.rho, self.total.epsilon].iter().all(|n| n.is_finite());
        if !finite || self.delta <= 0.0 || self.delta >= 1.0 || self.rho <= 0.0 || self.epsilon <= 0.0 {
            return refuse("its epsilon, delta and rho are no positive numbers, or its delta is not below 1".into());
        }
        for (what, rho, claimed) in [("it", self.rho, self.epsilon), ("its total", self.total.rho, self.total.epsilon)]
        {
            let found = epsilon_of(rho, self.delta);
            if claimed < found * (1.0 - TOLERANCE) {
                let delta = self.delta;
                return refuse(format!(
                    "{what} claims epsilon = {claimed} and its noise gives {found:.6} at delta = {delta:e}"
                ));
            }
        }
        if self.total.draws == 0 || self.total.rho < self.rho * (1.0 - TOLERANCE) {
            return refuse(format!("all {} draws together give away less than one of them", self.total.draws));
        }
        Ok(())
    }
}

/// The delta of Gaussian noise at `rho = (sensitivity / deviation)^2 / 2`, rounded up.
pub fn delta_of(rho: f64, epsilon: f64) -> f64 {
    if rho == 0.0 {
        return 0.0;
    }
    let m = libm::sqrt(2.0 * rho);
    let (with, without) = (m / 2.0 - epsilon / m, -m / 2.0 - epsilon / m);
    let share = normal_below(with);
    // Both numbers are right to a few of their last bits, times how steep the distribution is there.
    let slack = 1e-15 * (1.0 + with * with) * share;
    // Beyond what a double holds the second number is left out, which is on the safe side.
    let against = if epsilon < 700.0 { libm::exp(epsilon) * normal_below(without) } else { 0.0 };
    (share - against + slack).clamp(0.0, 1.0)
}

/// The least epsilon for which rho implies (epsilon, delta)-differential privacy.
pub fn epsilon_of(rho: f64, delta: f64) -> f64 {
    // rho + 2 sqrt(rho ln(1/delta)) always suffices (Bun and Steinke 2016, proposition 1.3).
    let high = rho + 2.0 * libm::sqrt(rho * libm::log(1.0 / delta));
    if delta_of(rho, 0.0) <= delta {
        return 0.0;
    }
    high - largest(0.0, high, |less| delta_of(rho, high - less) <= delta)
}

/// The largest `x` in `[low, high)` that `fits`, where everything below a fitting number fits too; never one that does not.
pub fn largest(low: f64, high: f64, fits: impl Fn(f64) -> bool) -> f64 {
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

/// How likely a standard normal number is below `x`.
fn normal_below(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        let rho = 0.036;
        let epsilon = epsilon_of(rho, 1e-5);
        let total = Total { draws: 1, adjacency: Adjacency::REPLACE_ONE, rho, epsilon };
        Claim {
            unit: Unit::Image,
            adjacency: Adjacency::REPLACE_ONE,
            trust: Trust::Local,
            epsilon,
            delta: 1e-5,
            rho,
            encoder_images: "cifar10".into(),
            total,
        }
    }

    #[test]
    fn a_claim_that_its_noise_does_not_bear_is_refused() {
        claim().verify().unwrap();
        let refused = |change: fn(&mut Claim)| {
            let mut claim = claim();
            change(&mut claim);
            claim.verify().unwrap_err().to_string()
        };
        assert!(refused(|c| c.epsilon *= 0.99).contains("its noise gives"));
        assert!(refused(|c| c.rho *= 1.1).contains("its noise gives"));
        assert!(refused(|c| c.delta = 1e-6).contains("its noise gives"));
        assert!(refused(|c| c.total.epsilon *= 0.5).contains("its total claims"));
        assert!(refused(|c| (c.total.rho, c.total.epsilon) = (0.001, 1.0)).contains("less than one of them"));
        assert!(refused(|c| c.epsilon = f64::NAN).contains("no positive numbers"));
        assert!(refused(|c| c.delta = 0.0).contains("no positive numbers"));
        assert!(refused(|c| c.delta = 1.0).contains("no positive numbers"));
        assert!(refused(|c| c.rho = -1.0).contains("no positive numbers"));
    }
}
