//! Which second moment of a feature is matched.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What is compared of a feature beside its mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondMoment {
    /// The mean squared deviation from the mean.
    #[default]
    Variance,
    /// The mean square. Where the mean to match is known with an error, that of a variance has its square in it; that of a mean square is
    /// of one sum alone. In exchange what is matched is not spread alone: a mean that is off is off twice.
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

impl fmt::Display for SecondMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SecondMoment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "variance" => Ok(SecondMoment::Variance),
            "square" => Ok(SecondMoment::Square),
            _ => Err(Error::usage(format!("second moment '{text}' is unknown; choose variance or square"))),
        }
    }
}
