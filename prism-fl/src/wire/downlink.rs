//! How the server's state goes down.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::ScoreGrid;
use prism_core::error::{Error, Result};

/// What a broadcast holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Downlink {
    /// Every score as a 32-bit float: the reference.
    #[default]
    #[serde(rename = "f32")]
    Scores,
    /// How many clients keep each weight; everyone recomputes the server's step.
    Counts,
    /// Every client's update as it came in; everyone recomputes the server's step.
    Relay,
}

impl Downlink {
    /// The grid on which scores lie where everyone recomputes the server's step; none where floats cross as they are.
    pub fn grid(self) -> Option<ScoreGrid> {
        match self {
            Downlink::Scores => None,
            Downlink::Counts | Downlink::Relay => Some(ScoreGrid::FINE),
        }
    }

    /// The two bytes that name it in a message.
    pub(super) fn bytes(self) -> [u8; 2] {
        let kind = match self {
            Downlink::Scores => 0,
            Downlink::Counts => 1,
            Downlink::Relay => 2,
        };
        [kind, self.grid().map_or(0, ScoreGrid::bits)]
    }
}

impl FromStr for Downlink {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Downlink::Scores),
            "counts" => Ok(Downlink::Counts),
            "relay" => Ok(Downlink::Relay),
            _ => Err(Error::usage(format!("the downlink codec is {text}; choose f32, counts or relay"))),
        }
    }
}

impl fmt::Display for Downlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Downlink::Scores => "f32",
            Downlink::Counts => "counts",
            Downlink::Relay => "relay",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["f32", "counts", "relay"] {
            assert_eq!(name.parse::<Downlink>().unwrap().to_string(), name);
        }
        for name in ["", "f64", "counts:3"] {
            assert_eq!(name.parse::<Downlink>().unwrap_err().exit_code(), 2, "{name}");
        }
    }
}
