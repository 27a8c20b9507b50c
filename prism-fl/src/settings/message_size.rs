//! How large a message may be, as people write it: `2MB`, `500KB`.

use std::fmt;
use std::str::FromStr;

use prism_core::{Error, Result, serde_as_text};
use serde::{Deserialize, Serialize};

/// The smallest and the largest size, in bytes.
const LIMITS: (f64, f64) = (1e3, 4e9);

/// Most bytes that a message may have, from 1KB to 4000MB; a KB is 1,000 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageSize(u64);

impl Default for MessageSize {
    fn default() -> Self {
        MessageSize(2_000_000)
    }
}

impl MessageSize {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for MessageSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let units = [("MB", 1e6), ("KB", 1e3)];
        let number = units
            .iter()
            .find_map(|(name, unit)| Some(text.trim().strip_suffix(name)?.trim_end().parse::<f64>().ok()? * unit));
        match number {
            Some(bytes) if (LIMITS.0..=LIMITS.1).contains(&bytes) => Ok(MessageSize(bytes.round() as u64)),
            _ => Err(Error::usage(format!("`message-size` is {text:.40?}; choose 1KB to 4000MB, such as 2MB"))),
        }
    }
}

impl fmt::Display for MessageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1_000_000 => write!(f, "{}MB", bytes as f64 / 1e6),
            bytes => write!(f, "{}KB", bytes as f64 / 1e3),
        }
    }
}

serde_as_text!(MessageSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them_and_written_so_again() {
        for (text, bytes) in
            [("2MB", 2_000_000), ("1.5MB", 1_500_000), ("500KB", 500_000), ("1 KB", 1000), ("4000MB", 4_000_000_000)]
        {
            let size: MessageSize = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes);
            assert_eq!(size.to_string().parse::<MessageSize>().unwrap(), size);
        }
        for text in ["2", "MB", "0MB", "-1MB", "5000MB", "NaNMB", "infMB", "2GB", "2mb", "", "0.5KB"] {
            let error = text.parse::<MessageSize>().unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("such as 2MB"), "{text}: {error}");
        }
    }
}
