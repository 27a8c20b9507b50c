//! Which brightness of 16-bit grey is black and which is white.

use std::fmt;
use std::str::FromStr;

use prism_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The values of 16-bit grey that become 0 and 255; what lies outside is cut off, and what lies between is spread evenly.
///
/// A constant that the user names: measured from the images it would say something of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Intensity {
    low: u16,
    high: u16,
}

impl Intensity {
    /// All that 16 bits can hold.
    pub const FULL: Intensity = Intensity { low: 0, high: u16::MAX };

    /// `values` as bytes.
    pub(super) fn bytes(self, values: &[u16]) -> Vec<u8> {
        let (low, width) = (u32::from(self.low), u32::from(self.high - self.low));
        let byte = |&value: &u16| {
            let above = u32::from(value.clamp(self.low, self.high)) - low;
            ((above * 255 + width / 2) / width) as u8
        };
        values.iter().map(byte).collect()
    }
}

impl Default for Intensity {
    fn default() -> Self {
        Self::FULL
    }
}

impl fmt::Display for Intensity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::FULL { f.write_str("full") } else { write!(f, "{}-{}", self.low, self.high) }
    }
}

impl FromStr for Intensity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "full" {
            return Ok(Self::FULL);
        }
        let number = |text: &str| text.parse::<u16>().ok();
        let ends = text.split_once('-').and_then(|(low, high)| number(low).zip(number(high)));
        ends.filter(|(low, high)| low < high).map(|(low, high)| Intensity { low, high }).ok_or_else(|| {
            Error::usage(format!(
                "`intensity` is {text}; choose full, or the values of 16-bit grey that are black and white, such as 0-4095"
            ))
        })
    }
}

impl TryFrom<String> for Intensity {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Intensity> for String {
    fn from(intensity: Intensity) -> Self {
        intensity.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intensity_goes_through_text_and_refuses_what_is_none() {
        for text in ["full", "0-4095", "100-65535"] {
            assert_eq!(text.parse::<Intensity>().unwrap().to_string(), text);
        }
        for text in ["", "range", "5", "5-5", "9-3", "0-70000", "-1-5"] {
            assert!(text.parse::<Intensity>().unwrap_err().to_string().contains("such as 0-4095"), "{text}");
        }
    }

    #[test]
    fn values_outside_are_cut_off() {
        let intensity: Intensity = "1000-3000".parse().unwrap();
        assert_eq!(intensity.bytes(&[0, 1000, 2000, 3000, 65535]), [0, 0, 128, 255, 255]);
    }
}
