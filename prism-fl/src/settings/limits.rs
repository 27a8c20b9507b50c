//! The numbers that settings may have, in one table.
//!
//! A refusal names a setting by its key in backticks, such as `` `rounds` is 0; choose 1 to 4294967295 ``; a program that has flags may
//! spell keys as such.

use std::ops::Bound::{self, Excluded, Included};
use std::ops::RangeBounds;

use prism_core::mixture::MAX_COMPONENTS;
use prism_core::{Error, Result};

use super::Settings;

/// Largest epsilon that is called a guarantee here.
pub const MAX_EPSILON: f64 = 100.0;

/// The numbers that a setting may have.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    numbers: Numbers,
    /// The same in words that may follow "choose".
    pub choice: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Numbers {
    Between(Bound<f64>, Bound<f64>),
    OneOf(&'static [f64]),
}

impl Range {
    /// The numbers from `low` to `high`.
    pub const fn new(low: f64, high: f64, choice: &'static str) -> Self {
        Range { numbers: Numbers::Between(Included(low), Included(high)), choice }
    }

    /// The numbers above `low`, up to `high`.
    pub const fn above(low: f64, high: f64, choice: &'static str) -> Self {
        Range { numbers: Numbers::Between(Excluded(low), Included(high)), choice }
    }

    /// The numbers between `low` and `high`, neither of which is one of them.
    pub const fn within(low: f64, high: f64, choice: &'static str) -> Self {
        Range { numbers: Numbers::Between(Excluded(low), Excluded(high)), choice }
    }

    /// These numbers alone.
    pub const fn one_of(numbers: &'static [f64], choice: &'static str) -> Self {
        Range { numbers: Numbers::OneOf(numbers), choice }
    }

    /// Refuses a value of the setting `key` that is none of them, NaN among others.
    ///
    /// # Errors
    /// [`Error::Usage`] naming key, value and choice.
    pub fn check(&self, key: &str, value: f64) -> Result<()> {
        let fits = match self.numbers {
            Numbers::Between(low, high) => (low, high).contains(&value),
            Numbers::OneOf(numbers) => numbers.contains(&value),
        };
        match fits {
            true => Ok(()),
            false => Err(Error::usage(format!("`{key}` is {value}; choose {}", self.choice))),
        }
    }
}

/// One number among the settings `S`, and its range.
pub struct Limit<S: 'static> {
    /// The setting's key.
    pub key: &'static str,
    /// Its value.
    pub value: fn(&S) -> f64,
    /// What it may be.
    pub range: Range,
}

/// Refuses `settings` if one of their numbers is out of its range in `limits`.
///
/// # Errors
/// As for [`Range::check`].
pub fn check<S>(limits: &[Limit<S>], settings: &S) -> Result<()> {
    limits.iter().try_for_each(|limit| limit.range.check(limit.key, (limit.value)(settings)))
}

/// Most of what is counted in 32 bits.
pub const MAX_COUNT: f64 = u32::MAX as f64;

/// The epsilon of a privacy budget.
pub const EPSILON: Range = Range::above(
    0.0,
    MAX_EPSILON,
    "a number above 0 and at most 100, such as 1 (smaller protects more), or leave it out for a run without privacy",
);
/// The delta of a privacy budget.
pub const DELTA: Range =
    Range::within(0.0, 1.0, "a number above 0 and below 1, and below one in the number of images, such as 1e-5");

const fn limit(key: &'static str, value: fn(&Settings) -> f64, range: Range) -> Limit<Settings> {
    Limit { key, value, range }
}

/// Every number that server and clients agree on.
pub static LIMITS: [Limit<Settings>; 20] = [
    limit("clients", |s| s.federation.clients.into(), Range::new(1.0, MAX_COUNT, "1 to 4294967295, such as 10")),
    limit("rounds", |s| s.federation.rounds.into(), Range::new(1.0, MAX_COUNT, "1 to 4294967295, such as 20")),
    limit("local-steps", |s| s.federation.local_steps as f64, Range::new(1.0, 1e9, "1 to 1000000000, such as 10")),
    limit("fraction", |s| s.federation.fraction, Range::above(0.0, 1.0, "a number above 0 and at most 1")),
    // What a TOML file can hold.
    limit("seed", |s| s.federation.seed as f64, Range::new(0.0, i64::MAX as f64, "0 to 9223372036854775807")),
    limit("alpha", |s| s.wire.alpha, Range::new(0.0, 1.0, "a number from 0 to 1")),
    limit(
        "image-size",
        |s| s.model.image_size as f64,
        Range::one_of(&[8.0, 16.0, 32.0, 64.0, 128.0, 256.0], "a power of two from 8 to 256, such as 32"),
    ),
    limit("ngf", |s| s.model.ngf as f64, Range::new(1.0, 512.0, "1 to 512, such as 16")),
    limit("latent", |s| s.model.latent as f64, Range::new(1.0, 4096.0, "1 to 4096, such as 128")),
    limit(
        "components",
        |s| s.model.components as f64,
        Range::new(1.0, MAX_COMPONENTS as f64, "1 to 64, such as 1 or 4"),
    ),
    limit(
        "score-scale",
        |s| s.model.score_scale.into(),
        Range::above(0.0, 8.0, "a number above 0 and at most 8, such as 4"),
    ),
    limit(
        "label-scale",
        |s| s.model.label_scale.into(),
        Range::above(0.0, 100.0, "a number above 0 and at most 100, such as 16"),
    ),
    limit(
        "batch-size",
        |s| s.training.batch_size as f64,
        Range::new(2.0, 65536.0, "2 to 65536, since a variance needs two images"),
    ),
    limit("classes-per-step", |s| s.training.classes_per_step as f64, Range::new(1.0, 1e3, "1 to 1000, such as 10")),
    limit(
        "subclasses",
        |s| s.training.subclasses as f64,
        Range::one_of(&[1.0, 2.0, 4.0, 8.0, 16.0], "1, 2, 4, 8 or 16"),
    ),
    limit(
        "tanh-grad-bias",
        |s| s.training.tanh_grad_bias.into(),
        Range::new(0.0, 1.0, "a number from 0 to 1, such as 0.1"),
    ),
    limit("lr", |s| s.training.lr, Range::above(0.0, 100.0, "a number above 0 and at most 100, such as 0.4")),
    limit(
        "lr-decay-rounds",
        |s| s.training.lr_decay_rounds.into(),
        Range::new(0.0, MAX_COUNT, "0 (a constant rate) to 4294967295"),
    ),
    limit("epsilon", |s| s.privacy.epsilon.unwrap_or(1.0), EPSILON),
    limit("delta", |s| s.privacy.delta, DELTA),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_within_its_limits_and_no_number_is_without() {
        check(&LIMITS, &Settings::default()).unwrap();
        let protected = Settings {
            privacy: crate::settings::privacy::PrivacySettings { epsilon: Some(1.0), ..Default::default() },
            ..Settings::default()
        };
        let groups = serde_json::to_value(protected).unwrap();
        let keys = groups.as_object().unwrap().values().flat_map(|group| group.as_object().unwrap());
        let numbers: Vec<&String> = keys.filter_map(|(key, value)| value.is_number().then_some(key)).collect();
        assert_eq!(numbers.len(), LIMITS.len());
        for key in numbers {
            assert!(LIMITS.iter().any(|limit| limit.key == key), "{key} has no limits");
        }
    }

    #[test]
    fn a_number_out_of_its_range_is_named_with_what_to_choose() {
        let error = Range::above(0.0, 1.0, "a number above 0 and at most 1").check("fraction", 0.0).unwrap_err();
        assert_eq!(error.to_string(), "`fraction` is 0; choose a number above 0 and at most 1");
        for range in [Range::new(0.0, 1.0, ""), Range::within(0.0, 1.0, ""), Range::one_of(&[1.0, 3.0], "")] {
            for value in [f64::NAN, -1.0, 2.0] {
                assert!(range.check("x", value).is_err(), "{range:?} {value}");
            }
        }
        assert!(DELTA.check("delta", 1.0).is_err() && EPSILON.check("epsilon", MAX_EPSILON).is_ok());
        assert_eq!(MAX_COMPONENTS, 64, "the words of `components` say so");
    }
}
