//! The terms of a promise: what is protected, against what, and on whose word.

use core::f64::consts::SQRT_2;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::prelude::*;
use crate::serde_as_text;

/// Most images that a promise may be of together.
const MOST_IMAGES: u32 = 1000;

/// What is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// An image and its label, or as many together as [`Adjacency`] says.
    Image,
    /// All images of one client.
    Client,
}

/// What two neighbouring data sets of a client differ in: `replace-one`, `add-remove`, or with a number of images that
/// are protected together, such as those of one person, `replace:5` or `add-remove:5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Adjacency {
    /// So many images and their labels are others; the number of images is public.
    Replace(u32),
    /// So many images are there or not; the number of images is private.
    AddRemove(u32),
}

impl Adjacency {
    /// One image and its label are others.
    pub const REPLACE_ONE: Self = Adjacency::Replace(1);
    /// One image is there or not.
    pub const ADD_REMOVE: Self = Adjacency::AddRemove(1);

    /// How many images are protected together.
    pub fn images(self) -> u32 {
        match self {
            Adjacency::Replace(images) | Adjacency::AddRemove(images) => images,
        }
    }

    /// The L2 sensitivity of a sum of nonnegative vectors of length at most 1. A sum of k such vectors is nonnegative and of
    /// length at most k, and two of these are at most sqrt(2) k apart.
    pub fn factor(self) -> f64 {
        let one = match self {
            Adjacency::Replace(_) => SQRT_2,
            Adjacency::AddRemove(_) => 1.0,
        };
        f64::from(self.images()) * one
    }

    /// What is protected, in words, such as `one image`.
    pub fn protected(self) -> String {
        match self.images() {
            1 => "one image".into(),
            images => format!("any {images} images together"),
        }
    }
}

impl fmt::Display for Adjacency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Adjacency::Replace(1) => f.pad("replace-one"),
            Adjacency::AddRemove(1) => f.pad("add-remove"),
            Adjacency::Replace(images) => f.pad(&format!("replace:{images}")),
            Adjacency::AddRemove(images) => f.pad(&format!("add-remove:{images}")),
        }
    }
}

impl FromStr for Adjacency {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.parse().ok().filter(|images| (1..=MOST_IMAGES).contains(images));
        let found = match text.split_once(':') {
            None if text == "replace-one" => Some(Adjacency::REPLACE_ONE),
            None if text == "add-remove" => Some(Adjacency::ADD_REMOVE),
            Some(("replace", images)) => number(images).map(Adjacency::Replace),
            Some(("add-remove", images)) => number(images).map(Adjacency::AddRemove),
            _ => None,
        };
        found.ok_or_else(|| {
            Error::usage(format!(
                "`adjacency` is {text:.100}; choose replace-one, add-remove, or replace:N or add-remove:N for N images \
                 together, at most {MOST_IMAGES}"
            ))
        })
    }
}

/// Whose word a client's protection rests on: `local`, `secagg`, or `secagg:0.7` where it is to hold although three in ten
/// clients leave their share of the noise out, or tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Trust {
    /// On its own noise alone.
    Local,
    /// On a secure sum, and on so many percent of the clients adding their share of the noise and telling it nobody.
    Secagg(u8),
}

impl Trust {
    /// On a secure sum and on all clients.
    pub const SECAGG: Self = Trust::Secagg(100);

    /// Whether noise adds up in a secure sum.
    pub fn is_secagg(self) -> bool {
        self != Trust::Local
    }

    /// How many of `clients` clients' shares of the noise bear the promise: at least one.
    pub fn counted(self, clients: u32) -> u32 {
        match self {
            Trust::Local => 1,
            // At most as many as there are.
            Trust::Secagg(percent) => ((u64::from(clients) * u64::from(percent) / 100) as u32).max(1),
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trust::Local => f.pad("local"),
            Trust::Secagg(100) => f.pad("secagg"),
            Trust::Secagg(percent) => f.pad(&format!("secagg:{}", f64::from(*percent) / 100.0)),
        }
    }
}

impl FromStr for Trust {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let percent = |share: &str| {
            let percent = 100.0 * share.parse::<f64>().ok()?;
            // Whole percents, of which 0.57 is one though 100 * 0.57 is none.
            let whole = (1.0..=100.0).contains(&percent) && (percent - libm::round(percent)).abs() < 1e-9;
            whole.then(|| Trust::Secagg(libm::round(percent) as u8))
        };
        let found = match text.split_once(':') {
            None if text == "local" => Some(Trust::Local),
            None if text == "secagg" => Some(Trust::SECAGG),
            Some(("secagg", share)) => percent(share),
            _ => None,
        };
        found.ok_or_else(|| {
            Error::usage(format!(
                "`trust` is {text:.100}; choose local, secagg, or secagg:S with the share S of clients whose noise is \
                 counted on, whole percents from 0.01 to 1"
            ))
        })
    }
}

serde_as_text!(Adjacency);
serde_as_text!(Trust);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_go_through_text() {
        for text in ["replace-one", "add-remove", "replace:5", "add-remove:1000"] {
            assert_eq!(text.parse::<Adjacency>().unwrap().to_string(), text);
        }
        assert_eq!("replace:1".parse::<Adjacency>().unwrap(), Adjacency::REPLACE_ONE);
        for text in ["local", "secagg", "secagg:0.7", "secagg:0.57", "secagg:0.01"] {
            assert_eq!(text.parse::<Trust>().unwrap().to_string(), text);
        }
        assert_eq!("secagg:1".parse::<Trust>().unwrap(), Trust::SECAGG);
        for text in ["", "replace", "replace:0", "replace:1001", "replace:x", "replace-one:5", "secagg"] {
            assert!(text.parse::<Adjacency>().is_err(), "{text}");
        }
        for text in ["", "secagg:0", "secagg:1.1", "secagg:0.705", "secagg:NaN", "local:0.5"] {
            assert!(text.parse::<Trust>().is_err(), "{text}");
        }
    }

    #[test]
    fn sensitivity_grows_with_the_images_that_are_protected_together() {
        assert_eq!(Adjacency::ADD_REMOVE.factor(), 1.0);
        assert_eq!(Adjacency::Replace(5).factor(), 5.0 * SQRT_2);
    }

    #[test]
    fn shares_that_are_counted_on_are_rounded_down() {
        let counted = |text: &str| text.parse::<Trust>().unwrap().counted(10);
        assert_eq!(["local", "secagg", "secagg:0.7", "secagg:0.79", "secagg:0.01"].map(counted), [1, 10, 7, 7, 1]);
        assert_eq!(Trust::SECAGG.counted(u32::MAX), u32::MAX);
    }
}
