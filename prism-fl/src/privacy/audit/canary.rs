//! Canaries: which images joined, guessed from noisy sums alone, by the release that every client calls.
//!
//! Every canary is an image with classes of its own, so that its vector is orthogonal to all others and as long as any: nothing hides
//! it but noise. Half of the canaries, drawn anew for each release, are in the set (of two neighbours by removal) or of the first of
//! their two classes (by replacement). The auditor knows every image and sees the sums; the component along what the canary
//! moves is the best test there is. A canary's own numbers have noise of their own, so that all guesses are independent trials
//! of one test against the claim, in one release or in many, and [`super::statistics`] says what they prove.
//!
//! Everything after the release is post-processing, so an attack on masks or on the model can do no better.

use prism_core::stream::{Purpose, Stream, StreamId};
use prism_nn::Result;
use prism_nn::encoder::Encoder;
use serde::Serialize;

use super::Subject;
use super::federation::{Audit, Federation, IMAGE_SIZE, held_by_the_first};
use super::statistics::{Counts, epsilon_of_scores};
use crate::privacy::gaussian::NoiseSource;
use crate::privacy::release::Sums;
use crate::settings::privacy::Adjacency;
use crate::strata::{ClientData, Thresholds};
use prism_data::Dataset;

/// Canaries of a release; half of them are in it.
pub const CANARIES: usize = 200;
/// Where the test's threshold lies, in standard deviations from the middle of the two.
const THRESHOLDS: [f64; 5] = [0.0, 0.5, 1.0, 2.0, 3.0];
/// Chance that any bound of an audit is wrong.
const RISK: f64 = 1e-3;

/// What guesses proved.
#[derive(Clone, Debug, Serialize)]
pub struct CanaryFinding {
    /// What was attacked.
    pub subject: Subject,
    /// Canaries on each side.
    pub canaries: u64,
    /// Lower bound on epsilon, whatever the noise is.
    pub epsilon: f64,
    /// Lower bound on epsilon for Gaussian noise.
    pub gaussian_epsilon: f64,
    /// The larger of the two is above the claim.
    pub violation: bool,
}

/// Guesses the canaries of `releases` releases of `subject`.
///
/// # Errors
/// If the computation fails or there is no randomness.
pub fn attack(
    audit: &Audit,
    encoder: &Encoder,
    subject: Subject,
    (releases, source): (u64, NoiseSource),
) -> Result<CanaryFinding> {
    let sides = classes_of_a_canary(audit.adjacency);
    let federation = Federation::new(audit, (CANARIES * sides, 1, 1), encoder, subject)?;
    let images = images()?;
    let vectors = federation.vectors(&images)?;
    let mut coins = StreamId::new(3, Purpose::Test).open();
    let mut scores = [Vec::new(), Vec::new()];
    for release in 0..releases {
        let included = half(&mut coins);
        let clients = canaries(audit, &images, &included)?;
        // Past any number that a release gives to its clients.
        let sums = total(&federation.moments(&clients, &Thresholds::new(), source.number(release << 20))?);
        for (canary, vector) in vectors.iter().enumerate() {
            let along = |group: &[i64]| group.iter().zip(vector).map(|(&y, &x)| y as f64 * x as f64).sum::<f64>();
            let square: f64 = vector.iter().map(|&x| (x as f64).powi(2)).sum();
            // In deviations of the noise, from the middle between the two.
            let score = match audit.adjacency {
                Adjacency::AddRemove(_) => (along(&sums[canary]) - square / 2.0) / square.sqrt(),
                Adjacency::Replace(_) => {
                    (along(&sums[2 * canary]) - along(&sums[2 * canary + 1])) / (2.0 * square).sqrt()
                }
            };
            scores[usize::from(!included[canary])].push(score / federation.deviation());
        }
    }
    Ok(judge(audit, subject, &scores))
}

fn judge(audit: &Audit, subject: Subject, scores: &[Vec<f64>; 2]) -> CanaryFinding {
    let canaries = scores[0].len() as u64;
    let level = RISK / (2.0 * (THRESHOLDS.len() + 1) as f64);
    let delta = audit.budget.delta();
    let counts = THRESHOLDS.map(|threshold| {
        let above = |scores: &[f64]| scores.iter().filter(|&&score| score > threshold).count() as u64;
        Counts { hits: above(&scores[0]), false_alarms: above(&scores[1]), releases: canaries }
    });
    let epsilon = counts.iter().map(|counts| counts.epsilon(delta, level)).fold(0.0, f64::max);
    let gaussian_epsilon = epsilon_of_scores(&scores[0], &scores[1], delta, level);
    let violation = epsilon.max(gaussian_epsilon) > audit.budget.epsilon();
    CanaryFinding { subject, canaries, epsilon, gaussian_epsilon, violation }
}

fn classes_of_a_canary(adjacency: Adjacency) -> usize {
    match adjacency {
        Adjacency::Replace(_) => 2,
        Adjacency::AddRemove(_) => 1,
    }
}

/// Which canaries are in, half of them.
fn half(coins: &mut Stream) -> Vec<bool> {
    let mut included: Vec<bool> = (0..CANARIES).map(|canary| canary % 2 == 0).collect();
    coins.shuffle(&mut included);
    included
}

fn images() -> Result<Dataset> {
    let mut pixels = vec![0; CANARIES * IMAGE_SIZE * IMAGE_SIZE];
    StreamId::new(2, Purpose::Test).open().fill(&mut pixels);
    Ok(Dataset::new("canaries", IMAGE_SIZE, 1, pixels)?)
}

/// The clients, of whom the first has the canaries.
fn canaries(audit: &Audit, images: &Dataset, included: &[bool]) -> Result<Vec<ClientData>> {
    let sides = classes_of_a_canary(audit.adjacency);
    let class = |(canary, &first): (usize, &bool)| (canary * sides + usize::from(sides == 2 && !first)) as u16;
    let labels = included.iter().enumerate().map(class).collect();
    let names = (0..CANARIES * sides).map(|class| class.to_string()).collect();
    let mut clients = held_by_the_first(images.clone().with_labels(names, labels)?, audit.shares);
    if audit.adjacency == Adjacency::ADD_REMOVE {
        clients[0].members.retain(|&canary| included[canary]);
    }
    Ok(clients)
}

fn total(releases: &[Sums]) -> Sums {
    let mut sum = releases[0].clone();
    for release in &releases[1..] {
        sum.iter_mut().flatten().zip(release.iter().flatten()).for_each(|(sum, x)| *sum += x);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::accounting::Budget;
    use candle_core::Device;

    #[test]
    fn canaries_prove_half_of_epsilon_1_and_betray_a_release_without_noise() {
        let encoder = Encoder::open("public", &Device::Cpu).unwrap();
        for (epsilon, adjacency, releases) in
            [(0.2, Adjacency::REPLACE_ONE, 2), (1.0, Adjacency::ADD_REMOVE, 50), (10.0, Adjacency::REPLACE_ONE, 2)]
        {
            let audit = Audit { budget: Budget::new(epsilon, 1e-5).unwrap(), adjacency, shares: 1 };
            let find = |subject| attack(&audit, &encoder, subject, (releases, NoiseSource::Seeded(4))).unwrap();
            let sound = find(Subject::Release);
            assert!(!sound.violation, "{sound:?}");
            assert!(epsilon < 1.0 || sound.gaussian_epsilon > 0.5 * epsilon, "{sound:?}");
            let faulty = find(Subject::Overwritten);
            assert!(faulty.violation, "{faulty:?}");
        }
    }
}
