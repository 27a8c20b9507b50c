//! The paper's own mechanism, corrected: Gaussian noise on what a client learned, in every round.
//!
//! ```text
//! d = theta_k - theta over all layers;   d <- d * min(1, C / |d|);   theta' = clip(theta + d + noise)   ->   mask
//! ```
//!
//! PRISM (appendix on privacy) adds noise to theta. To be a guarantee, what is noised must be bounded, every layer must be, the
//! noised numbers and not the raw ones must be sent, and all rounds must count. Since nothing bounds what one image does to d, the
//! protected unit is a client's whole data set: two such may give any two vectors of length C, so the sensitivity is `2 C`. R
//! rounds have a rho of `R (2 C)^2 / (2 sigma^2)`. There is no gain from asking only a share of the clients: the server knows whom it asked.
//!
//! What the accountant says of it: for epsilon 1 at delta 1e-5 and 8 rounds sigma is 21.1 C in each of some hundred thousand
//! coordinates, thousands of times the length of the signal. A client's loss is a number about its images that no noise covers,
//! so it does not leave the client, and no round can be judged by it. Noise on moments ([`crate::privacy::release`]) is drawn once, not every round,
//! and shrinks with the number of images. This mechanism is here to be compared with.

use prism_core::privacy::Unit;
use prism_core::score::{logit, sigmoid};
use prism_core::{Error, Result};

use crate::privacy::accounting::{self, Budget};
use crate::privacy::gaussian::{MAX_SIGMA, NoiseSource};
use crate::privacy::guarantee::{NO_FEATURES, NoiseLevel, PrivacyGuarantee};
use crate::settings::FederationSettings;
use crate::settings::privacy::{Adjacency, Trust};

/// Shares are kept at this distance from 0 and 1, where their logits would be infinite; as the server does.
const CLIP: f64 = 0.01;
/// L2 length C that a round's change of theta is clipped to.
const LONGEST_CHANGE: f64 = 1.0;
/// Grid units of the longest difference, where the budget does not ask for a coarser grid.
const UNITS: f64 = (1 << 20) as f64;

/// The noise of every client in every round.
#[derive(Clone, Debug)]
pub struct MaskNoise {
    /// [`LONGEST_CHANGE`] in grid units.
    units: f64,
    /// Standard deviation in grid units.
    sigma: u64,
}

impl MaskNoise {
    /// The noise of every client in every round of `federation`, and what it promises.
    ///
    /// # Errors
    /// [`Error::Usage`] if the budget needs noise beyond the grid, or its delta is above a tenth of one in the number of clients.
    pub fn plan(budget: Budget, federation: &FederationSettings) -> Result<(Self, PrivacyGuarantee)> {
        let &FederationSettings { clients, rounds, .. } = federation;
        // What is protected is a client's whole data set, so it is the clients that delta is compared with.
        accounting::check_delta(
            budget.delta(),
            clients as usize,
            "clients, of whom `mechanism` mask protects all images together",
        )?;
        let rho = budget.rho();
        let multiplier = (f64::from(rounds) / (2.0 * rho)).sqrt();
        let units = UNITS.min(((MAX_SIGMA - 2) as f64 / (2.0 * multiplier)).floor());
        if units < 1024.0 {
            return Err(Error::usage(format!(
                "`epsilon` {} over {rounds} rounds needs noise beyond the grid of {MAX_SIGMA} units; choose a larger epsilon",
                budget.epsilon()
            )));
        }
        let of_a_round = |sigma: u64| accounting::rho_of_sum(2.0 * units, sigma as f64, 1);
        let mut sigma = (2.0 * units * multiplier).ceil() as u64;
        while f64::from(rounds) * of_a_round(sigma) > rho {
            sigma += 1;
        }
        let claim = PrivacyGuarantee {
            mechanism: format!(
                "clipped changes of the mask's probabilities in each of {rounds} rounds, with discrete Gaussian noise"
            ),
            unit: Unit::Client,
            adjacency: Adjacency::REPLACE_ONE,
            trust: Trust::Local,
            epsilon: budget.epsilon(),
            delta: budget.delta(),
            noise: NoiseLevel {
                rho: f64::from(rounds) * of_a_round(sigma),
                noise_multiplier: sigma as f64 / (2.0 * units),
            },
            images: None,
            features: NO_FEATURES.into(),
        };
        debug_assert!(accounting::delta_of(claim.noise.rho, budget.epsilon()) <= budget.delta());
        Ok((MaskNoise { units, sigma }, claim))
    }

    /// The scores that a client may send: those of `start`, moved by the bounded and noised change to `learned`.
    ///
    /// # Errors
    /// If there is no randomness; nothing may then be sent.
    pub fn protect(
        &self,
        learned: &[impl AsRef<[f32]>],
        start: &[Vec<f32>],
        source: NoiseSource,
    ) -> prism_nn::Result<Vec<Vec<f32>>> {
        let theta = |score: f32| f64::from(sigmoid(score));
        let pairs = || learned.iter().flat_map(AsRef::as_ref).zip(start.iter().flatten());
        let change: Vec<f64> = pairs().map(|(&l, &s)| theta(l) - theta(s)).collect();
        let mut grid = self.to_grid(&change)?;
        source.add_noise(self.sigma, &mut grid)?;
        let unit = LONGEST_CHANGE / self.units;
        let moved = |(&change, &start): (&i64, &f32)| {
            logit((theta(start) + change as f64 * unit).clamp(CLIP, 1.0 - CLIP) as f32)
        };
        let mut moved = grid.iter().zip(start.iter().flatten()).map(moved);
        Ok(start.iter().map(|layer| moved.by_ref().take(layer.len()).collect()).collect())
    }

    /// Clips and truncates a change.
    fn to_grid(&self, change: &[f64]) -> Result<Vec<i64>> {
        let length = change.iter().map(|x| x * x).sum::<f64>().sqrt();
        if !length.is_finite() {
            return Err(Error::corrupt(
                "a client's answer",
                "its scores are not finite numbers; choose a smaller `lr`",
            ));
        }
        let mut factor = self.units / length.max(LONGEST_CHANGE);
        loop {
            let grid: Vec<i64> = change.iter().map(|x| (x * factor) as i64).collect();
            let square: i128 = grid.iter().map(|&x| i128::from(x) * i128::from(x)).sum();
            if square <= (self.units * self.units) as i128 {
                return Ok(grid);
            }
            factor *= 1.0 - 1e-12;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn federation(clients: u32, rounds: u32) -> FederationSettings {
        FederationSettings { clients, rounds, ..FederationSettings::default() }
    }

    #[test]
    fn a_delta_that_would_allow_to_publish_a_client_is_refused() {
        let budget = Budget::new(10.0, 0.02).unwrap();
        assert!(MaskNoise::plan(budget, &federation(5, 1)).is_ok());
        let error = MaskNoise::plan(budget, &federation(6, 1)).unwrap_err();
        assert!(error.to_string().contains("one in the 6 clients, of whom `mechanism` mask"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    fn budget(epsilon: f64) -> Budget {
        Budget::new(epsilon, 1e-5).unwrap()
    }

    #[test]
    fn noise_grows_with_the_rounds_as_the_accountant_says() {
        let budget = budget(1.0);
        for rounds in [1, 8, 100] {
            let (noise, claim) = MaskNoise::plan(budget, &federation(10, rounds)).unwrap();
            let expected = 3.7306 * f64::from(rounds).sqrt();
            assert!((claim.noise.noise_multiplier - expected).abs() < 2e-3 * expected, "{claim:?}");
            assert!(accounting::delta_of(claim.noise.rho, 1.0) <= 1e-5);
            assert!(noise.sigma <= MAX_SIGMA);
        }
        assert!(MaskNoise::plan(budget, &federation(10, 2_000_000_000)).is_err());
    }

    #[test]
    fn a_change_is_bounded_and_never_sent_raw() {
        let budget = budget(100.0);
        let (noise, _) = MaskNoise::plan(budget, &federation(10, 1)).unwrap();
        let far: Vec<f64> = vec![0.9; 1000];
        let grid = noise.to_grid(&far).unwrap();
        let length = grid.iter().map(|&x| (x * x) as f64).sum::<f64>().sqrt();
        assert!(length <= noise.units && length > 0.999 * noise.units, "{length}");
        assert!(noise.to_grid(&[f64::NAN]).is_err());

        let (start, learned) = (vec![vec![0.0; 500], vec![1.0; 7]], vec![vec![0.1; 500], vec![1.1; 7]]);
        let sent = noise.protect(&learned, &start, NoiseSource::Seeded(1)).unwrap();
        assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [500, 7]);
        let change = |sent: &[Vec<f32>]| f64::from(sigmoid(sent[0][3])) - 0.5;
        let again = noise.protect(&learned, &start, NoiseSource::Seeded(2)).unwrap();
        assert_ne!(change(&sent), change(&again), "other noise, another answer");
    }
}
