//! An audit that can fail: attacks on the very code that releases moments, and on broken copies of it.
//!
//! * **Noise** ([`Subject`]): two data sets whose sums differ by exactly the sensitivity; many releases of each; the best test
//!   there is (the component along the difference). What it proves of epsilon must stay below the claim.
//! * **Images** ([`images`]): the sums of neighbouring sets of real images, through the encoder. They must differ by no more than
//!   the sensitivity.
//! * **Canaries** ([`canary`]): which of many images joined a set, guessed from one release of it.
//! * **Faults**: the same attacks on planted mistakes, every one of which must be caught. An audit that catches none proves
//!   nothing.
//!
//! Lower bounds are figures about an attack, never a proof of privacy; the proof is in [`super::release`].

pub mod canary;
pub mod images;
pub mod statistics;

use prism_nn::Result;
use serde::Serialize;

use super::accounting::Budget;
use super::gaussian::NoiseSource;
use super::release::{NoisePlan, Sums, add_noise};
use crate::settings::privacy::Adjacency;
use statistics::Counts;

/// Coordinates of the audited sums; the noise of every coordinate is drawn alike.
const DIMENSIONS: usize = 3;
/// Where the test's threshold lies, in standard deviations from the middle of the two.
const THRESHOLDS: [f64; 5] = [0.0, 0.5, 1.0, 2.0, 3.0];
/// Chance that any bound of an audit is wrong.
const RISK: f64 = 1e-3;

/// What is audited: the code as it is, or with one planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// What every run calls.
    Release,
    /// No noise is added.
    NoiseOff,
    /// Half the standard deviation.
    HalfSigma,
    /// The noise is drawn and added, and the exact value written over it.
    Overwritten,
    /// The sensitivity is taken to be sqrt(2) too small.
    SmallSensitivity,
}

impl Subject {
    /// The sound one and every fault.
    pub const ALL: [Subject; 5] =
        [Subject::Release, Subject::NoiseOff, Subject::HalfSigma, Subject::Overwritten, Subject::SmallSensitivity];

    /// What it is in a report.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Release => "release",
            Subject::NoiseOff => "fault: noise off",
            Subject::HalfSigma => "fault: half the noise",
            Subject::Overwritten => "fault: noise overwritten by the exact value",
            Subject::SmallSensitivity => "fault: sensitivity sqrt(2) too small",
        }
    }

    /// Releases `sums` as this subject does.
    fn release(self, sums: &mut Sums, plan: &NoisePlan, source: NoiseSource) -> Result<()> {
        let halved = NoisePlan { share_sigma: plan.share_sigma / 2, ..*plan };
        let smaller = NoisePlan { share_sigma: (plan.share_sigma as f64 / 2f64.sqrt()) as u64, ..*plan };
        let exact = sums.clone();
        for share in 0..plan.shares {
            let source = source.number(share.into());
            match self {
                Subject::NoiseOff => {}
                Subject::HalfSigma => add_noise(sums, &halved, source)?,
                Subject::SmallSensitivity => add_noise(sums, &smaller, source)?,
                Subject::Release | Subject::Overwritten => add_noise(sums, plan, source)?,
            }
        }
        if self == Subject::Overwritten {
            *sums = exact;
        }
        Ok(())
    }
}

/// What attacks on one subject found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was attacked.
    pub subject: Subject,
    /// Lower bound on epsilon from the two rates of the best threshold.
    pub epsilon: f64,
    /// Lower bound on epsilon for Gaussian noise.
    pub gaussian_epsilon: f64,
    /// The larger of the two is above the claim.
    pub violation: bool,
}

/// How an audit is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Audit {
    /// The claim.
    pub budget: Budget,
    /// What neighbours differ in.
    pub adjacency: Adjacency,
    /// Clients whose noise adds up.
    pub shares: u32,
    /// Releases of each of the two data sets.
    pub releases: u64,
    /// Where noise comes from.
    pub source: NoiseSource,
}

impl Audit {
    /// Attacks `subject` with worst-case neighbours at the exact sensitivity.
    ///
    /// # Errors
    /// If the budget has no noise level, or there is no randomness.
    pub fn attack(&self, subject: Subject) -> Result<Finding> {
        let plan = NoisePlan::new(self.budget, self.adjacency, self.shares)?;
        let neighbours = neighbours(&plan, self.adjacency);
        let difference: Vec<f64> = neighbours[0].iter().zip(&neighbours[1]).map(|(a, b)| (a - b) as f64).collect();
        let length = difference.iter().map(|x| x * x).sum::<f64>().sqrt();
        let along = |sums: &[i64]| sums.iter().zip(&difference).map(|(&x, d)| x as f64 * d / length).sum::<f64>();
        let middle = 0.5 * (along(&neighbours[0]) + along(&neighbours[1]));
        let mut scores = [Vec::new(), Vec::new()];
        for (side, (scores, exact)) in (1..).zip(scores.iter_mut().zip(&neighbours)) {
            // All releases at once: each is a group of its own.
            let mut sums = vec![exact.clone(); self.releases as usize];
            subject.release(&mut sums, &plan, self.source.number(side << 20))?;
            scores.extend(sums.iter().map(|sums| (along(sums) - middle) / plan.variance().sqrt()));
        }
        let level = RISK / (2.0 * (THRESHOLDS.len() + 1) as f64);
        let delta = self.budget.delta();
        let counts = THRESHOLDS.map(|threshold| {
            let above = |scores: &[f64]| scores.iter().filter(|&&score| score > threshold).count() as u64;
            Counts { hits: above(&scores[0]), false_alarms: above(&scores[1]), releases: self.releases }
        });
        let epsilon = counts.iter().map(|counts| counts.epsilon(delta, level)).fold(0.0, f64::max);
        let gaussian_epsilon = counts[0].gaussian_epsilon(delta, level);
        let violation = epsilon.max(gaussian_epsilon) > self.budget.epsilon();
        Ok(Finding { subject, epsilon, gaussian_epsilon, violation })
    }
}

/// Sums of two neighbouring data sets that differ by exactly the sensitivity: one image's vector points all one way, or
/// another, or is absent.
fn neighbours(plan: &NoisePlan, adjacency: Adjacency) -> [Vec<i64>; 2] {
    let longest = |at: usize| {
        let mut sums = vec![0; DIMENSIONS];
        sums[at] = plan.clip_units;
        sums
    };
    let other = match adjacency {
        Adjacency::ReplaceOne => longest(1),
        Adjacency::AddRemove => vec![0; DIMENSIONS],
    };
    [longest(0), other]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short run of the audit: the release holds, and every planted fault is caught.
    #[test]
    fn the_release_holds_and_every_fault_is_caught() {
        for (adjacency, shares) in [(Adjacency::ReplaceOne, 1), (Adjacency::AddRemove, 1), (Adjacency::ReplaceOne, 10)]
        {
            let budget = Budget::new(4.0, 1e-5).unwrap();
            let audit = Audit { budget, adjacency, shares, releases: 10_000, source: NoiseSource::Seeded(3) };
            for subject in Subject::ALL {
                let finding = audit.attack(subject).unwrap();
                let sound = subject == Subject::Release;
                assert_eq!(finding.violation, !sound, "{adjacency} with {shares} shares: {finding:?}");
                // An attack that finds nothing in the sound release would find nothing in a broken one either.
                assert!(finding.gaussian_epsilon > 2.0, "{finding:?}");
            }
        }
    }
}
