//! The loss of variances without what chance adds: on average it is 0 where moments are those asked for.

use super::{Gradient, Targets, cells, exact};
use crate::SecondMoment;
use crate::cpu::map::Map;
use crate::cpu::source::Plain;
use crate::estimator::Estimator;
use prism_core::StreamId;
use prism_core::simd::Isa;
use prism_core::stream::Purpose;

fn exponential(count: usize) -> Vec<f32> {
    let mut stream = StreamId::new(4, Purpose::Test).open();
    (0..count).map(|_| -(1.0 - stream.uniform() as f32).ln()).collect()
}

fn targets<'a>(mean: &'a [f32], second: &'a [f32], scale: &'a [f32]) -> Targets<'a> {
    let (kind, estimator) = (SecondMoment::Variance, Estimator::Unbiased);
    Targets { mean, second, kind, scale, weights: None, estimator }
}

/// Two pixels an image, of a skewed distribution and one the sum of the other and half of a third: mean 1.25 and variance 1.1875 over
/// images and pixels.
#[test]
fn on_average_it_is_the_distance_of_the_true_moments_of_pixels_that_go_together() {
    const DRAWS: usize = 60_000;
    for (images, mean, variance) in [(4, 1.25, 1.1875), (4, 0.5, 2.0), (7, 1.5, 0.0)] {
        let pixels: Vec<f32> =
            exponential(2 * images * DRAWS).chunks_exact(2).flat_map(|x| [x[0], x[0] + x[1] / 2.0]).collect();
        let map = Map { batch: images, height: 1, width: 2, channels: 1, stride: 1 };
        let losses: Vec<f64> = pixels
            .chunks_exact(2 * images)
            .map(|values| {
                let (mean, second) = ([mean], [variance]);
                let targets = targets(&mean, &second, &[1.0]);
                cells::moment_loss(Isa::Portable, Plain { values, map }, 1, targets, &mut Gradient::default())
            })
            .collect();
        let found = losses.iter().sum::<f64>() / DRAWS as f64;
        let spread = losses.iter().map(|x| (x - found) * (x - found)).sum::<f64>() / DRAWS as f64;
        let error = (spread / DRAWS as f64).sqrt();
        let expected = f64::from((1.25 - mean) * (1.25 - mean) + (1.1875 - variance) * (1.1875 - variance));
        assert!((found - expected).abs() < 5.0 * error, "{images}: {found} +- {error}, not {expected}");
    }
}

#[test]
fn of_single_pixels_it_is_the_exact_loss_on_every_instruction_set() {
    let (images, width) = (5, 37);
    // Far from 0, where squares would lose their digits if they were not counted from the mean.
    let features: Vec<f32> = exponential(2 * images * width).into_iter().map(|x| 30.0 + x).collect();
    let (mean, second) = (vec![30.5; 2 * width], vec![2.0; 2 * width]);
    let targets = targets(&mean, &second, &[1.5, 0.7]);
    let mut expected = Gradient::default();
    let map = Map { batch: 2 * images, height: 1, width: 1, channels: width, stride: width };
    let samples = Plain { values: &features, map };
    let loss = exact::moment_loss(Isa::Portable, samples, targets, &mut expected);
    for isa in Isa::available() {
        let mut found = Gradient::default();
        let same = cells::moment_loss(isa, samples, 1, targets, &mut found);
        assert!((same / loss - 1.0).abs() < 1e-4, "{isa:?}: {same} against {loss}");
        found.evaluate(&features, 2);
        let largest = expected.shift.iter().fold(0f32, |most, x| most.max(x.abs()));
        let apart = found.shift.iter().zip(&expected.shift).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(apart < 1e-3 * largest, "{isa:?}: {apart} of {largest}");
    }
}
