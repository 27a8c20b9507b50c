//! How moments of a sample stand for those of the generator.

use prism_core::text_enum;
use serde::{Deserialize, Serialize};

/// How the squared distances of true moments are estimated from those of n images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// By the squared distances of the sample's moments. These are too large by the moments' own variance, so a generator
    /// gains by making its images alike: at 8 images a class, by a quarter less variance than is asked for. Where targets are
    /// noisy that keeps it from following the noise with variety (PRIVACY.md has figures).
    #[default]
    Biased,
    /// With that variance taken off, whatever the distribution of a feature, where there are at least
    /// [`LEAST_IMAGES`](crate::cpu::moments::exact::LEAST_IMAGES) images: see [`exact`](crate::cpu::moments::exact) and, of
    /// pooled features, [`cells`](crate::cpu::moments::cells). Of fewer images a variance's is taken off as if pixels were normal
    /// and independent.
    Unbiased,
}

text_enum!("the estimator", Estimator { Unbiased = "unbiased", Biased = "biased" });
