//! Which second moment of a feature is matched.

use serde::{Deserialize, Serialize};

/// What is compared of a feature beside its mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondMoment {
    /// The mean squared deviation from the mean.
    #[default]
    Variance,
    /// The mean square. Where the mean to match is known with an error, its square would be in the variance's: that of a mean
    /// square is the error of one sum alone.
    Square,
}

impl SecondMoment {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            SecondMoment::Variance => "variance",
            SecondMoment::Square => "square",
        }
    }
}
