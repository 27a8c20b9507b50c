//! The kernel distance of two sets of features (Binkowski et al. 2018), for sets too small for a covariance.
//!
//! ```text
//! d = mean of k(x, x') + mean of k(y, y') - 2 mean of k(x, y),   k(a, b) = (a b / width + 1)^3,   x != x', y != y'
//! ```
//!
//! It is unbiased at any number of images, so figures of sets of different sizes compare; of few images it is noisy, and
//! may come out a little below 0.

use prism_nn::{Error, Result};

use super::features::Features;

/// The squared kernel distance of two sets, all pairs at once.
///
/// # Errors
/// [`prism_core::Error::Usage`] if the widths differ, or a set has a single image.
pub fn distance(real: &Features, generated: &Features) -> Result<f64> {
    real.check_same_width(generated)?;
    if real.len().min(generated.len()) < 2 {
        return Err(Error::usage("a kernel distance of a single image is none; use at least 2 images of each kind"));
    }
    Ok(mean_within(real) + mean_within(generated) - 2.0 * mean(real, generated))
}

/// Mean over all pairs of one set's different images.
fn mean_within(features: &Features) -> f64 {
    let own: f64 = rows(features).map(|row| kernel(row, row)).sum();
    let count = features.len() as f64;
    (mean(features, features) * count * count - own) / (count * (count - 1.0))
}

fn mean(a: &Features, b: &Features) -> f64 {
    let sum: f64 = rows(a).map(|x| rows(b).map(|y| kernel(x, y)).sum::<f64>()).sum();
    sum / (a.len() * b.len()) as f64
}

fn rows(features: &Features) -> impl Iterator<Item = &[f64]> {
    features.values().chunks_exact(features.width())
}

fn kernel(a: &[f64], b: &[f64]) -> f64 {
    let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    (product / a.len() as f64 + 1.0).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f64]) -> Features {
        Features::new("x", 1, values.to_vec()).unwrap()
    }

    #[test]
    fn small_sets_have_the_distance_that_one_can_count() {
        // k(0, 1) = 1, k(0, 2) = 1, k(1, 2) = 27: 1 + 1 - 2 (1 + 1 + 1 + 27) / 4 of {0, 1} and {0, 2}.
        let found = distance(&line(&[0.0, 1.0]), &line(&[0.0, 2.0])).unwrap();
        assert!((found - -13.0).abs() < 1e-12, "{found}");
        assert!(distance(&line(&[0.0]), &line(&[0.0, 2.0])).is_err());
    }

    #[test]
    fn it_is_nothing_between_two_halves_of_one_set_and_more_to_another() {
        let values = |shift: f64| (0..60).map(|k| libm::sin(k as f64 * 2.3) + shift).collect::<Vec<_>>();
        let (a, b) = (values(0.0), values(1.0));
        assert!(distance(&line(&a[..30]), &line(&a[30..])).unwrap().abs() < 0.2);
        assert!(distance(&line(&a), &line(&b)).unwrap() > 1.0);
    }
}
