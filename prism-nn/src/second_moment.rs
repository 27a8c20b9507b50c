//! Which second moment of a feature is matched.

use prism_core::text_enum;
use serde::{Deserialize, Serialize};

/// What is compared of a feature beside its mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondMoment {
    /// The mean squared deviation from the mean.
    #[default]
    Variance,
    /// The mean square. Where the target mean is noisy, a variance also carries the square of the mean's error; a mean square carries
    /// the noise of one sum only. In exchange a wrong mean counts in both moments.
    Square,
}

text_enum!("the second moment", SecondMoment { Variance = "variance", Square = "square" });
