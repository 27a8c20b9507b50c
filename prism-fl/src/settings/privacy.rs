//! The settings of differential privacy.

use std::fmt;
use std::str::FromStr;

use prism_core::{Error, serde_as_text, text_enum};
use serde::{Deserialize, Serialize};

pub use prism_core::privacy::{Adjacency, Trust};

/// The delta of a run that names none; whether it is small enough depends on the data ([`crate::privacy::accounting::check_delta`]).
const DEFAULT_DELTA: f64 = 1e-5;
/// Cells of four pixels a side at 32 pixels: what noise does to single pixels costs more than these are worth (PRIVACY.md).
const DEFAULT_FEATURES: FeatureSet = FeatureSet::Grid(8);

/// How clients' images are protected. Without an epsilon they are not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct PrivacySettings {
    /// Bound of (epsilon, delta)-differential privacy for every image; none for a run without privacy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Probability that this bound does not hold; at most a tenth of one in the number of images (of clients, for
    /// noise on masks).
    pub delta: f64,
    /// What is noised.
    pub mechanism: Mechanism,
    /// Features whose moments are released.
    pub features: FeatureSet,
    /// What two neighbouring data sets differ in.
    pub adjacency: Adjacency,
    /// Whose word a client's protection rests on.
    pub trust: Trust,
}

/// What is noised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The moments of a client's images, once
    Moments,
    /// What a client learned, in every round
    Mask,
}

text_enum!("the privacy mechanism", Mechanism { Moments = "moments", Mask = "mask" });

impl Default for PrivacySettings {
    fn default() -> Self {
        PrivacySettings {
            epsilon: None,
            delta: DEFAULT_DELTA,
            mechanism: Mechanism::Moments,
            features: DEFAULT_FEATURES,
            adjacency: Adjacency::REPLACE_ONE,
            trust: Trust::Local,
        }
    }
}

/// Most cells a side.
const MAX_GRID: usize = 256;

/// Which features of an encoder's layers are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FeatureSet {
    /// Every feature at every pixel.
    All,
    /// Averages over the cells of a grid of so many cells a side, a power of two; 1 for whole maps.
    Grid(usize),
}

impl FeatureSet {
    /// Cells a side over which features are pooled; none for every pixel by itself.
    pub fn grid(self) -> Option<usize> {
        match self {
            FeatureSet::All => None,
            FeatureSet::Grid(side) => Some(side),
        }
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeatureSet::All => f.pad("all"),
            FeatureSet::Grid(1) => f.pad("pooled"),
            FeatureSet::Grid(side) => f.pad(&format!("grid:{side}")),
        }
    }
}

impl FromStr for FeatureSet {
    type Err = Error;

    fn from_str(text: &str) -> std::result::Result<Self, Error> {
        let side = |text: &str| text.parse().ok().filter(|side: &usize| side.is_power_of_two() && *side <= MAX_GRID);
        match text.split_once(':') {
            None if text == "all" => Ok(FeatureSet::All),
            None if text == "pooled" => Ok(FeatureSet::Grid(1)),
            Some(("grid", number)) if side(number).is_some() => Ok(FeatureSet::Grid(side(number).unwrap_or(1))),
            _ => Err(Error::usage(format!(
                "feature set '{text}' is unknown; choose all, pooled, or grid:N with N a power of two up to {MAX_GRID}"
            ))),
        }
    }
}

serde_as_text!(FeatureSet);

#[cfg(test)]
mod tests {
    use super::*;

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
