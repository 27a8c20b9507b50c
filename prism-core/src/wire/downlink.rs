//! How the server's state goes down.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::ScoreGrid;
use crate::error::{Error, Result};

/// What a broadcast holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Downlink {
    /// Every score as a 32-bit float: the reference.
    #[default]
    Scores,
    /// How many clients keep each weight; everyone recomputes the server's step.
    Counts,
    /// Every client's update as it came in; everyone recomputes the server's step.
    Relay,
    /// How far each score moved on a public grid.
    Quantised(ScoreGrid),
}

impl Downlink {
    /// The grid on which what clients know must lie; none where floats cross as they are.
    pub fn grid(self) -> Option<ScoreGrid> {
        match self {
            Downlink::Scores => None,
            Downlink::Counts | Downlink::Relay => Some(ScoreGrid::FINE),
            Downlink::Quantised(grid) => Some(grid),
        }
    }

    /// Whether everyone recomputes the server's step, so that the server's own state must lie on the grid.
    pub fn recomputes(self) -> bool {
        matches!(self, Downlink::Counts | Downlink::Relay)
    }

    /// The two bytes that name it in a message.
    pub(super) fn bytes(self) -> [u8; 2] {
        let kind = match self {
            Downlink::Scores => 0,
            Downlink::Counts => 1,
            Downlink::Relay => 2,
            Downlink::Quantised(_) => 3,
        };
        [kind, self.grid().map_or(0, ScoreGrid::bits)]
    }
}

impl FromStr for Downlink {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "f32" => Ok(Downlink::Scores),
            None if text == "counts" => Ok(Downlink::Counts),
            None if text == "relay" => Ok(Downlink::Relay),
            Some(("quantised", bits)) => Ok(Downlink::Quantised(ScoreGrid::new(bits.parse().unwrap_or(0))?)),
            _ => Err(Error::usage(format!(
                "the downlink codec is {text}; choose f32, counts, relay or quantised:BITS such as quantised:8"
            ))),
        }
    }
}

impl fmt::Display for Downlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Downlink::Scores => f.write_str("f32"),
            Downlink::Counts => f.write_str("counts"),
            Downlink::Relay => f.write_str("relay"),
            Downlink::Quantised(grid) => write!(f, "quantised:{}", grid.bits()),
        }
    }
}

impl TryFrom<String> for Downlink {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Downlink> for String {
    fn from(downlink: Downlink) -> Self {
        downlink.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["f32", "counts", "relay", "quantised:8"] {
            assert_eq!(name.parse::<Downlink>().unwrap().to_string(), name);
        }
        for name in ["", "f64", "quantised", "quantised:1", "quantised:x", "counts:3"] {
            assert_eq!(name.parse::<Downlink>().unwrap_err().exit_code(), 2, "{name}");
        }
    }
}
