//! The moment loss and its gradient in one pass over the features.
//!
//! ```text
//! loss = sum over g, d of (a ((mu - mean)^2 - e) / scale + b ((var - variance)^2 - h) / scale^2) / (G D)
//! ```
//!
//! for `features [G, n, D]` with means `mu` and unbiased variances `var`, targets `mean, variance [G, D]`, `scale [G]` and weights a, b
//! of each feature's terms, 1 where none are given; e and h are what chance adds to the squares.
//!
//! | module | features | second moment | what chance adds |
//! |---|---|---|---|
//! | [`normal`] | one number an image | variance | nothing (biased), or that of normal numbers |
//! | [`exact`] | one number an image | variance | taken off whatever the distribution, from 4 images on |
//! | [`pooled`] | all pixels of a cell | variance | as [`normal`], but for the mean, by images |
//! | [`cells`] | one number or a cell of pixels an image | variance, mean square | taken off whatever the distribution |

pub mod cells;
pub mod exact;
mod image_means;
pub mod normal;
pub mod pooled;
mod rows;
mod square;
mod targets;
#[cfg(test)]
mod tests;
mod variance;

use prism_core::simd::Isa;

use super::map::Map;
use super::source::Plain;
use crate::estimator::Estimator;
use crate::second_moment::SecondMoment;

pub use targets::{Gradient, Targets};

/// Returns the loss and writes what its gradient needs. `features` holds n images of each group, group after group, and every
/// channel of every pixel is a feature. Channels that are only stored must be 0, and so must their targets.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes.
pub fn moment_loss(isa: Isa, features: Plain<'_>, targets: Targets<'_>, gradient: &mut Gradient) -> f64 {
    let (groups, width, images) = targets.sizes(features.map);
    assert_eq!(targets.second.len(), targets.mean.len(), "a second moment for every mean");
    assert_eq!(features.values.len(), groups * images * width, "n features for every target");
    if targets.kind == SecondMoment::Square {
        let channels = features.map.channels * features.map.pixels();
        let map = Map { batch: groups * images, height: 1, width: 1, channels, stride: width };
        return cells::moment_loss(isa, Plain { map, ..features }, 1, targets, gradient);
    }
    if targets.estimator == Estimator::Unbiased && images >= exact::LEAST_IMAGES {
        return exact::moment_loss(isa, features, targets, gradient);
    }
    normal::moment_loss(isa, features, targets, gradient)
}
