//! Whether generated images reveal which images the model was trained on: two figures from nearest neighbours, and no proof.
//!
//! ```text
//! nearest_is_member   share of generated images whose nearest real image was trained on, among as many that were not
//! auc                 chance that a training image lies nearer to some generated image than an unseen image does
//! ```
//!
//! Both are 1/2 where nothing is revealed, with an error of about `1 / (2 sqrt(n))`. Distances are Euclidean in an encoder's
//! features.

use prism_nn::Result;
use rayon::prelude::*;
use serde::Serialize;

use crate::metrics::features::Features;

/// What generated images say about membership.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Membership {
    /// Generated images.
    pub generated: usize,
    /// Training images, and as many unseen ones.
    pub real: usize,
    /// See the module.
    pub nearest_is_member: f64,
    /// See the module.
    pub auc: f64,
    /// Standard error of either figure where nothing is revealed.
    pub error: f64,
}

/// Compares `generated` images with `members`, which were trained on, and `others`, which were not; as many of each.
///
/// # Errors
/// If the features are of different lengths.
pub fn measure(generated: &Features, members: &Features, others: &Features) -> Result<Membership> {
    generated.check_same_width(members)?;
    generated.check_same_width(others)?;
    let real = members.len().min(others.len());
    let (of_members, of_others) = (distances(generated, members, real), distances(generated, others, real));
    let least = |row: &[f64]| row.iter().copied().fold(f64::INFINITY, f64::min);
    let nearer = of_members.chunks_exact(real).zip(of_others.chunks_exact(real));
    let nearest_is_member = nearer.map(|(m, o)| share(least(m), least(o))).sum::<f64>() / generated.len() as f64;
    let to_nearest = |rows: &[f64]| -> Vec<f64> {
        (0..real).map(|i| rows.iter().skip(i).step_by(real).copied().fold(f64::INFINITY, f64::min)).collect()
    };
    let (member, other) = (to_nearest(&of_members), to_nearest(&of_others));
    let pairs = member.iter().flat_map(|m| other.iter().map(move |o| share(*m, *o)));
    let auc = pairs.sum::<f64>() / (real * real) as f64;
    // The Mann-Whitney statistic of two samples of n has variance (2 n + 1) / (12 n^2), below that of n coins.
    let error = 0.5 / (real.min(generated.len()) as f64).sqrt();
    Ok(Membership { generated: generated.len(), real, nearest_is_member, auc, error })
}

/// 1 if `a` is the smaller, a half if they are equal.
fn share(a: f64, b: f64) -> f64 {
    if a < b { 1.0 } else { f64::from(u8::from(a == b)) / 2.0 }
}

/// Square distances, `[generated, real]`.
fn distances(generated: &Features, real: &Features, count: usize) -> Vec<f64> {
    let width = generated.width();
    let real = &real.values()[..count * width];
    let row = |from: &[f64]| -> Vec<f64> {
        real.chunks_exact(width).map(|to| from.iter().zip(to).map(|(a, b)| (a - b) * (a - b)).sum()).collect()
    };
    generated.values().par_chunks_exact(width).map(row).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_core::stream::{Purpose, StreamId};

    fn random(rows: usize, index: u64) -> Features {
        let mut stream = StreamId::new(1, Purpose::Test).index(index).open();
        Features::new("test", 5, (0..rows * 5).map(|_| stream.normal()).collect()).unwrap()
    }

    #[test]
    fn copies_of_training_images_are_noticed_and_unrelated_images_are_not() {
        let (members, others) = (random(400, 1), random(400, 2));
        let unrelated = measure(&random(400, 3), &members, &others).unwrap();
        assert!((unrelated.nearest_is_member - 0.5).abs() < 4.0 * unrelated.error, "{unrelated:?}");
        assert!((unrelated.auc - 0.5).abs() < 4.0 * unrelated.error, "{unrelated:?}");
        let copied = measure(&members, &members, &others).unwrap();
        assert_eq!((copied.nearest_is_member, copied.auc), (1.0, 1.0));
    }
}
