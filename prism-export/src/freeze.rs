//! From scores to a finished generator: fix the mask, measure batch norms on noise, fold them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How the final mask is made from theta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskRule {
    /// Keep a weight where theta is above a half.
    Threshold,
    /// Keep a weight with probability theta.
    Sampled,
}
