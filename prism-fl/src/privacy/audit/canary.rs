//! The one-run canary audit (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846): many canaries, one release.
//!
//! Each of m canary images joins a set of ordinary ones by the toss of a coin. From the one release, by the very path that
//! every run takes (encoder, clipping, sums, noise), the auditor guesses which did. He knows every other image and every
//! canary, and solves for the coins: the least squares of the release against the canaries' vectors, once as if there were no
//! noise and once for the noise that is claimed. If `correct` of `guesses` are right, epsilon is at least what makes that unlikely:
//!
//! ```text
//! P(correct or more) <= f(correct) + 2 m delta max_i (f(correct - i) - f(correct)) / i,
//! f(v) = P(Binomial(guesses, e^epsilon / (1 + e^epsilon)) >= v)
//! ```
//!
//! Everything after the release is post-processing, so an attack on masks or on the model can do no better.

use candle_core::Device;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::encoder::Encoder;
use prism_nn::generator::Subclasses;
use prism_nn::{Error, Result};
use serde::Serialize;

use super::statistics::at_least;
use crate::privacy::accounting::Budget;
use crate::privacy::features::{VectorMap, encode};
use crate::privacy::gaussian::NoiseSource;
use crate::privacy::release::{NoisePlan, add_noise, exact_sums};
use crate::settings::privacy::Adjacency;
use crate::settings::privacy::FeatureSet;
use crate::strata::{ClientData, Strata};
use prism_data::{Dataset, LoadOptions, Source};

const IMAGE_SIZE: usize = 16;
/// Ordinary images among which the canaries hide.
const OTHERS: usize = 64;
/// Chance that the bound of either attack is wrong.
const RISK: f64 = 0.025;

/// What one release gave away.
#[derive(Clone, Debug, Serialize)]
pub struct CanaryFinding {
    /// Number of canaries.
    pub canaries: usize,
    /// Guesses that the auditor dared.
    pub guesses: u64,
    /// Right ones.
    pub correct: u64,
    /// Lower bound on epsilon, wrong with a chance of at most 5%.
    pub epsilon: f64,
    /// It is above the claim.
    pub violation: bool,
}

/// Runs the audit with `canaries` canaries; with `noise` off as the planted fault.
///
/// # Errors
/// If the computation fails or there is no randomness.
pub fn attack(
    encoder: &Encoder,
    budget: Budget,
    canaries: usize,
    noise: bool,
    source: NoiseSource,
) -> Result<CanaryFinding> {
    let device = Device::Cpu;
    let mut map = VectorMap::new(encoder, (IMAGE_SIZE, 1), FeatureSet::Grid(1), 1, &device)?;
    // A canary is there or not.
    let plan = NoisePlan::new(budget, Adjacency::AddRemove, 1)?;
    map.clip_units = plan.clip_units;
    let (data, included) = canary_set(canaries)?;
    let data = ClientData::whole(data);
    let strata = |members| {
        let some = ClientData { members, ..data.clone() };
        Strata::new(&some, 1, Subclasses::default(), &Vec::new())
    };
    let present = |&i: &usize| included.get(i).copied().unwrap_or(true);
    let members = data.members.iter().copied().filter(present).collect();
    let (mut sums, _) = exact_sums(encoder, &map, &data.dataset, &strata(members), &device)?;
    if noise {
        add_noise(&mut sums, &plan, source)?;
    }
    let others = (canaries..data.dataset.len()).collect();
    let (known, _) = exact_sums(encoder, &map, &data.dataset, &strata(others), &device)?;
    let mut vectors = Vec::new();
    map.vectors(&encode(encoder, &data.dataset, &(0..canaries).collect::<Vec<_>>(), &device)?, &mut vectors)?;
    // What remains of the release if each coin counts half, in lengths of the longest vector.
    let scale = plan.clip_units as f64;
    let vectors: Vec<Vec<f64>> = vectors.iter().map(|v| v.iter().map(|&x| x as f64 / scale).collect()).collect();
    let rest = (0..map.dimensions())
        .map(|d| (sums[0][d] - known[0][d]) as f64 / scale - 0.5 * vectors.iter().map(|vector| vector[d]).sum::<f64>());
    let rest: Vec<f64> = rest.collect();
    let findings = [1e-9, 4.0 * plan.variance() / (scale * scale)]
        .map(|ridge| judge(least_squares(&vectors, &rest, ridge), &included, budget));
    let [first, second] = findings;
    Ok(if first.epsilon > second.epsilon { first } else { second })
}

/// Canaries first, then ordinary images; and which canaries are included.
fn canary_set(canaries: usize) -> Result<(Dataset, Vec<bool>)> {
    let options = LoadOptions { image_size: IMAGE_SIZE, limit: Some(OTHERS), ..Default::default() };
    let others = prism_data::load(Source::Strokes, &options)?;
    let mut pixels = vec![0; canaries * others.pixels_per_image()];
    StreamId::new(2, Purpose::Test).open().fill(&mut pixels);
    (0..others.len()).for_each(|i| pixels.extend(others.image(i)));
    let mut coins = StreamId::new(3, Purpose::Test).open();
    let included = (0..canaries).map(|_| coins.uniform() < 0.5).collect();
    Ok((Dataset::new("canaries", IMAGE_SIZE, 1, pixels)?, included))
}

/// The coefficients b that minimise `|rest - sum_i b_i v_i|^2 + ridge |b|^2`: `(V V^T + ridge) b = V rest`, by Cholesky.
fn least_squares(vectors: &[Vec<f64>], rest: &[f64], ridge: f64) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let n = vectors.len();
    let mut factor: Vec<Vec<f64>> = vec![vec![0.0; n]; n];
    let mut b: Vec<f64> = vectors.iter().map(|vector| dot(vector, rest)).collect();
    for row in 0..n {
        for column in 0..=row {
            let gram = dot(&vectors[row], &vectors[column]) + if row == column { ridge } else { 0.0 };
            let left = gram - dot(&factor[row][..column], &factor[column][..column]);
            factor[row][column] = if row == column { left.max(ridge).sqrt() } else { left / factor[column][column] };
        }
        b[row] = (b[row] - dot(&factor[row][..row], &b[..row])) / factor[row][row];
    }
    for row in (0..n).rev() {
        let above: f64 = (row + 1..n).map(|below| factor[below][row] * b[below]).sum();
        b[row] = (b[row] - above) / factor[row][row];
    }
    b
}

/// Guesses for the highest and the lowest scores, and what they prove.
fn judge(scores: Vec<f64>, included: &[bool], budget: Budget) -> CanaryFinding {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let dared = scores.len() / 4;
    let low = order[..dared].iter().filter(|&&i| !included[i]).count();
    let high = order[order.len() - dared..].iter().filter(|&&i| included[i]).count();
    let (guesses, correct) = (2 * dared as u64, (low + high) as u64);
    let unlikely = |epsilon: f64| chance(guesses, correct, scores.len(), epsilon, budget.delta()) < RISK;
    let (mut least, mut most) = (0.0, 50.0);
    for _ in 0..60 {
        let middle = 0.5 * (least + most);
        if unlikely(middle) { least = middle } else { most = middle }
    }
    CanaryFinding { canaries: scores.len(), guesses, correct, epsilon: least, violation: least > budget.epsilon() }
}

/// Refuses so few canaries that even an auditor who is always right proves less than the budget's epsilon, so that a release
/// without noise would go unnoticed; `most` may be asked for.
///
/// # Errors
/// [`prism_core::Error::Usage`] naming the least number that can prove it.
pub fn check_count(canaries: usize, budget: Budget, most: usize) -> Result<()> {
    let proves = |canaries: usize| {
        let guesses = 2 * (canaries / 4) as u64;
        chance(guesses, guesses, canaries, budget.epsilon(), budget.delta()) < RISK
    };
    if proves(canaries) {
        return Ok(());
    }
    let (epsilon, delta) = (budget.epsilon(), budget.delta());
    if !proves(most) {
        return Err(Error::usage(format!(
            "`epsilon` is {epsilon}, more than even {most} canaries can prove at `delta` {delta:e}; choose a smaller one"
        )));
    }
    let (mut few, mut enough) = (canaries.min(most), most);
    while enough - few > 1 {
        let middle = few.midpoint(enough);
        if proves(middle) { enough = middle } else { few = middle }
    }
    Err(Error::usage(format!(
        "`canaries` is {canaries}, too few to prove an epsilon of {epsilon} at `delta` {delta:e} even if every guess is right; \
         choose at least {enough}"
    )))
}

/// The bound on the chance of `correct` or more right guesses.
fn chance(guesses: u64, correct: u64, canaries: usize, epsilon: f64, delta: f64) -> f64 {
    let share = 1.0 / (1.0 + (-epsilon).exp());
    let f = |v: u64| at_least(v, guesses, share);
    let base = f(correct);
    let steepest = (1..=correct).map(|i| (f(correct - i) - base) / i as f64).fold(0.0, f64::max);
    base + 2.0 * canaries as f64 * delta * steepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_squares_finds_the_coefficients() {
        let vectors = vec![vec![1.0, 2.0, 0.5], vec![0.0, 1.0, 3.0]];
        let rest: Vec<f64> = (0..3).map(|d| 0.5 * vectors[0][d] - 2.0 * vectors[1][d]).collect();
        let found = least_squares(&vectors, &rest, 1e-12);
        assert!((found[0] - 0.5).abs() < 1e-9 && (found[1] + 2.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn canaries_that_could_prove_nothing_are_refused_with_the_least_number_that_can() {
        let budget = Budget::new(4.0, 1e-5).unwrap();
        let least = |error: prism_nn::Error| error.to_string().rsplit(' ').next().unwrap().parse::<usize>().unwrap();
        let least = least(check_count(100, budget, 10_000).unwrap_err());
        assert!((400..440).contains(&least), "{least}");
        assert!(check_count(least, budget, 10_000).is_ok() && check_count(least - 1, budget, 10_000).is_err());
        let error = check_count(200, Budget::new(12.0, 1e-5).unwrap(), 10_000).unwrap_err().to_string();
        assert!(error.contains("choose a smaller one"), "{error}");
        assert!(check_count(40, Budget::new(1.0, 1e-5).unwrap(), 10_000).is_ok());
    }

    #[test]
    fn canaries_betray_a_release_without_noise_and_not_one_with() {
        let encoder = Encoder::open("public", &Device::Cpu).unwrap();
        let budget = Budget::new(1.0, 1e-5).unwrap();
        let sound = attack(&encoder, budget, 100, true, NoiseSource::Seeded(4)).unwrap();
        assert!(!sound.violation, "{sound:?}");
        let faulty = attack(&encoder, budget, 100, false, NoiseSource::Seeded(4)).unwrap();
        assert!(faulty.violation, "{faulty:?}");
    }
}
