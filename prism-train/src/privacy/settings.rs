//! The settings of differential privacy: flags, keys of the TOML file, and what the run folder records.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use prism_core::Error;
use prism_nn::{Result, SecondMoment};
use serde::{Deserialize, Serialize};

use super::accounting::{Accountant, Budget};
use super::features::FeatureSet;
use crate::flag_values::display_as_value;

/// The delta of a run that names none; whether it is small enough depends on the data ([`PrivacySettings::check_delta`]).
const DEFAULT_DELTA: f64 = 1e-5;
/// Cells of four pixels a side at 32 pixels: what noise does to single pixels costs more than these are worth (PRIVACY.md).
const DEFAULT_FEATURES: FeatureSet = FeatureSet::Grid(8);

/// How a client's images are protected. Without `--dp-epsilon` they are not.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PrivacySettings {
    /// Protect every single image with (epsilon, delta)-differential privacy; without it there is none
    #[arg(long, value_name = "E", allow_hyphen_values = true, help_heading = "Privacy")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dp_epsilon: Option<f64>,
    /// What is noised: moments, once, or every round's mask (the paper's way, for comparison)
    #[arg(long, value_name = "NAME", default_value_t = Mechanism::Moments, help_heading = "Privacy")]
    pub dp_mechanism: Mechanism,
    /// Probability that the bound of --dp-epsilon does not hold; at most one in the number of images (of clients, for masks)
    #[arg(long, value_name = "D", default_value_t = DEFAULT_DELTA, allow_hyphen_values = true, help_heading = "Privacy")]
    pub dp_delta: f64,
    /// Features whose moments are released: grid:N, averages over the cells of a grid of N a side; all, every pixel's; or pooled, over
    /// whole maps
    #[arg(long, value_name = "SET", default_value_t = DEFAULT_FEATURES, help_heading = "Privacy")]
    pub dp_features: FeatureSet,
    /// What two neighbouring data sets differ in: replace-one (number of images public) or add-remove (private)
    #[arg(long, value_name = "RULE", default_value_t = Adjacency::ReplaceOne, help_heading = "Privacy")]
    pub dp_adjacency: Adjacency,
    /// Whose word protects a client: its own noise (local), or the sum of all clients' under secure summation (secagg)
    #[arg(long, value_name = "RULE", default_value_t = Trust::Local, help_heading = "Privacy")]
    pub dp_trust: Trust,
    /// Bound on a round's change of theta, for --dp-mechanism mask
    #[arg(long, value_name = "X", default_value_t = 1.0, help_heading = "Privacy")]
    pub dp_clip: f64,
    /// Weight of second moments against first ones in the released vector
    #[arg(long, value_name = "X", default_value_t = 1.0, help_heading = "Privacy")]
    pub dp_lambda: f64,
    /// What is matched of them: variance, or square (mean squares), which a noisy mean's square is not taken off: better at epsilon
    /// 0.2, worse at 1
    #[arg(long, value_name = "NAME", default_value_t = SecondMoment::Variance, help_heading = "Privacy")]
    #[serde(default)]
    pub dp_second: SecondMoment,
    /// How epsilon and delta follow from the noise: gaussian, exactly, or zcdp, by a bound for any noise, which asks for up to a tenth more
    #[arg(long, value_name = "NAME", default_value_t = Accountant::Gaussian, help_heading = "Privacy")]
    #[serde(default = "Accountant::of_before")]
    pub dp_accountant: Accountant,
    /// File that remembers every draw on a data set; by default privacy-ledger.jsonl beside the run folder
    #[arg(long, value_name = "FILE", help_heading = "Privacy")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dp_ledger: Option<PathBuf>,
}

/// What is noised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The moments of a client's images, once
    Moments,
    /// What a client learned, in every round
    Mask,
}

/// What two neighbouring data sets of a client differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adjacency {
    /// One image and its label are others; the number of images is public.
    ReplaceOne,
    /// One image is there or not; the number of images is private.
    AddRemove,
}

impl Adjacency {
    /// The L2 sensitivity of a sum of nonnegative vectors of length at most 1 ([`super::release`] has the proof).
    pub fn factor(self) -> f64 {
        match self {
            Adjacency::ReplaceOne => std::f64::consts::SQRT_2,
            Adjacency::AddRemove => 1.0,
        }
    }
}

/// Whose word a client's protection rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// On its own noise alone.
    Local,
    /// On a secure sum and on all clients adding their share of the noise.
    Secagg,
}

display_as_value!(Mechanism);
display_as_value!(Adjacency);
display_as_value!(Trust);

impl Default for PrivacySettings {
    fn default() -> Self {
        PrivacySettings {
            dp_epsilon: None,
            dp_mechanism: Mechanism::Moments,
            dp_delta: DEFAULT_DELTA,
            dp_features: DEFAULT_FEATURES,
            dp_adjacency: Adjacency::ReplaceOne,
            dp_trust: Trust::Local,
            dp_clip: 1.0,
            dp_lambda: 1.0,
            dp_second: SecondMoment::Variance,
            dp_accountant: Accountant::Gaussian,
            dp_ledger: None,
        }
    }
}

impl PrivacySettings {
    /// The budget that is asked for, if any.
    ///
    /// # Errors
    /// [`Error::Usage`] if a setting is outside its limits, or if settings of privacy are given without an epsilon: a run
    /// that looks protected and is not must not start.
    pub fn budget(&self) -> Result<Option<Budget>> {
        // `all` was the default once, and stands in the settings of runs that were begun then.
        let unsaid = if self.dp_features == FeatureSet::All { FeatureSet::All } else { DEFAULT_FEATURES };
        let Some(epsilon) = self.dp_epsilon else {
            let silent = PrivacySettings {
                dp_features: unsaid,
                // Likewise, runs of before say another one than the default.
                dp_accountant: self.dp_accountant,
                dp_ledger: self.dp_ledger.clone(),
                ..PrivacySettings::default()
            };
            return match *self == silent {
                true => Ok(None),
                false => Err(Error::usage(
                    "a --dp- setting is given without --dp-epsilon, so no noise would be added; give --dp-epsilon, or leave \
                     the other out",
                )
                .into()),
            };
        };
        let budget = Budget::new(epsilon, self.dp_delta, self.dp_accountant)?;
        let fitting = PrivacySettings {
            dp_features: unsaid,
            dp_adjacency: Adjacency::ReplaceOne,
            dp_trust: Trust::Local,
            dp_lambda: 1.0,
            dp_second: SecondMoment::Variance,
            ..self.clone()
        };
        if self.dp_mechanism == Mechanism::Mask && *self != fitting {
            return Err(Error::usage(
                "--dp-mechanism mask protects a client's whole data set by its own noise and releases no features; leave out \
                 --dp-features, --dp-adjacency, --dp-trust, --dp-lambda and --dp-second",
            )
            .into());
        }
        if self.dp_mechanism == Mechanism::Moments && self.dp_clip.total_cmp(&1.0).is_ne() {
            return Err(Error::usage(format!(
                "--dp-clip is {}, and nothing is clipped where moments are released: an image's vector is brought to one length \
                 whatever it is; leave it out, or choose --dp-mechanism mask",
                self.dp_clip
            ))
            .into());
        }
        for (flag, value) in [("dp-clip", self.dp_clip), ("dp-lambda", self.dp_lambda)] {
            if !(0.01..=100.0).contains(&value) {
                return Err(Error::usage(format!("--{flag} is {value}; choose a number from 0.01 to 100")).into());
            }
        }
        Ok(Some(budget))
    }

    /// Refuses a delta so large that the guarantee would allow to publish some image outright.
    ///
    /// # Errors
    /// [`Error::Usage`] if delta is above one in `images`.
    pub fn check_delta(&self, images: usize, whose: &str) -> Result<()> {
        let limit = 1.0 / images.max(1) as f64;
        if self.dp_delta <= limit {
            return Ok(());
        }
        Err(Error::usage(format!(
            "--dp-delta is {}, above one in the {images} images of {whose}: a mechanism that publishes a random image whole \
             would satisfy it; choose at most {limit:.1e}",
            self.dp_delta
        ))
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_of_privacy_is_silently_ignored() {
        assert!(PrivacySettings::default().budget().unwrap().is_none());
        let of_before = PrivacySettings { dp_features: FeatureSet::All, ..Default::default() };
        assert!(of_before.budget().unwrap().is_none(), "an unprotected run of before goes on");
        let changed = [
            PrivacySettings { dp_delta: 1e-6, ..Default::default() },
            PrivacySettings { dp_features: FeatureSet::Grid(1), ..Default::default() },
            PrivacySettings { dp_trust: Trust::Secagg, ..Default::default() },
            PrivacySettings { dp_adjacency: Adjacency::AddRemove, ..Default::default() },
        ];
        for settings in changed {
            let error = settings.budget().unwrap_err().to_string();
            assert!(error.contains("no noise would be added"), "{error}");
            assert!(PrivacySettings { dp_epsilon: Some(1.0), ..settings }.budget().unwrap().is_some());
        }
    }

    #[test]
    fn budgets_outside_their_limits_are_refused() {
        for epsilon in [0.0, -1.0, f64::NAN] {
            assert!(PrivacySettings { dp_epsilon: Some(epsilon), ..Default::default() }.budget().is_err(), "{epsilon}");
        }
        let given = PrivacySettings { dp_epsilon: Some(1.0), ..Default::default() };
        assert!(PrivacySettings { dp_delta: f64::NAN, ..given.clone() }.budget().is_err());
        for mechanism in [Mechanism::Moments, Mechanism::Mask] {
            let nowhere = PrivacySettings { dp_mechanism: mechanism, dp_clip: f64::NAN, ..given.clone() };
            assert!(nowhere.budget().is_err());
        }
        // Moments have no bound to choose, so that one that is given would be silently ignored.
        let error = PrivacySettings { dp_clip: 2.0, ..given.clone() }.budget().unwrap_err().to_string();
        assert!(error.contains("leave it out"), "{error}");
        let mask = PrivacySettings { dp_clip: 2.0, dp_mechanism: Mechanism::Mask, ..given.clone() };
        assert!(mask.budget().unwrap().is_some());
        assert!(given.check_delta(100_000, "client 0").is_ok());
        let error = given.check_delta(100_001, "client 0").unwrap_err();
        assert!(error.to_string().contains("100001 images of client 0"), "{error}");
    }

    #[test]
    fn feature_sets_go_through_text() {
        for text in ["all", "pooled", "grid:4"] {
            assert_eq!(text.parse::<FeatureSet>().unwrap().to_string(), text);
        }
        for text in ["", "grid", "grid:3", "grid:0", "grid:-1", "some"] {
            assert!(text.parse::<FeatureSet>().is_err(), "{text}");
        }
    }
}
