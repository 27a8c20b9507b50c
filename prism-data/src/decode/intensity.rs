//! Which numbers of 16-bit grey, or of a scanner's unit, are black and which are white.

use std::fmt;
use std::str::FromStr;

use prism_core::{Error, Result, serde_as_text};
use serde::{Deserialize, Serialize};

/// The values of 16-bit grey, or of a DICOM file in its unit, that become 0 and 255; what lies outside is cut off, and what
/// lies between is spread evenly.
///
/// A constant that the user names: measured from the images it would say something of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Intensity(Option<(i32, i32)>);

impl Intensity {
    /// All that a file's bits can hold.
    pub const FULL: Intensity = Intensity(None);

    /// `values` as bytes, of a file whose bits hold no others than those from `full.0` to `full.1`.
    pub(super) fn bytes(self, values: impl Iterator<Item = i32>, full: (i32, i32)) -> Vec<u8> {
        let (low, high) = self.0.unwrap_or(full);
        let width = (i64::from(high) - i64::from(low)).max(1);
        let byte = |value: i32| {
            let above = i64::from(value.clamp(low, high)) - i64::from(low);
            ((above * 255 + width / 2) / width) as u8
        };
        values.map(byte).collect()
    }
}

impl Default for Intensity {
    fn default() -> Self {
        Self::FULL
    }
}

impl fmt::Display for Intensity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("full"),
            Some((low, high)) => write!(f, "{low}-{high}"),
        }
    }
}

impl FromStr for Intensity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "full" {
            return Ok(Self::FULL);
        }
        let number = |text: &str| text.parse::<i32>().ok();
        // The first of them may have a sign of its own.
        let dash = text.bytes().skip(1).position(|byte| byte == b'-');
        let ends = dash.and_then(|at| number(&text[..at + 1]).zip(number(&text[at + 2..])));
        ends.filter(|(low, high)| low < high).map(|ends| Intensity(Some(ends))).ok_or_else(|| {
            Error::usage(format!(
                "`intensity` is {text:.40}; choose full, or the values of 16-bit grey or of a scanner's unit that are \
                 black and white, such as 0-4095 or -160-240"
            ))
        })
    }
}

serde_as_text!(Intensity);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intensity_goes_through_text_and_refuses_what_is_none() {
        for text in ["full", "0-4095", "100-65535", "-160-240", "-1000--200"] {
            assert_eq!(text.parse::<Intensity>().unwrap().to_string(), text);
        }
        for text in ["", "-", "range", "5", "-5", "5-5", "9-3", "0-3000000000", "-1--5", "1-+", "0-ü"] {
            assert!(text.parse::<Intensity>().unwrap_err().to_string().contains("such as 0-4095"), "{text}");
        }
    }

    #[test]
    fn values_outside_are_cut_off() {
        let intensity: Intensity = "1000-3000".parse().unwrap();
        let bytes = |intensity: Intensity| intensity.bytes([0, 1000, 2000, 3000, 65535].into_iter(), (0, 65535));
        assert_eq!(bytes(intensity), [0, 0, 128, 255, 255]);
        assert_eq!(bytes(Intensity::FULL), [0, 4, 8, 12, 255]);
        let widest: Intensity = format!("{}-{}", i32::MIN, i32::MAX).parse().unwrap();
        assert_eq!(bytes(widest), [128; 5]);
    }
}
