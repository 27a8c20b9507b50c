//! Every other operation against its composition of candle's operations, in value and gradient; finite differences; the
//! same bits at any thread count.

mod support;

use candle_core::{DType, Device, Result, Tensor, Var};
use prism_core::score;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::adam::{Adam, AdamState};
use prism_nn::ops::{self, MomentTargets, composed};
use prism_nn::{Estimator, SecondMoment, StepMask};
use proptest::prelude::*;
use support::{check_gradient, check_threads, clear_of_zero, disagreement, distance, random, run, values, variable};

const STREAM: StreamId = StreamId::new(3, Purpose::Test);

fn norm(t: &[Tensor]) -> Result<Tensor> {
    ops::batch_norm_relu(&t[0])
}

fn up(t: &[Tensor]) -> Result<Tensor> {
    ops::upsample2x(&t[0])
}

fn pool(t: &[Tensor]) -> Result<Tensor> {
    ops::max_pool2x2(&t[0])
}

fn first(t: &[Tensor]) -> Result<Tensor> {
    ops::first_layer(&t[0], &t[1])
}

/// Targets whose terms count differently.
fn weighted(groups: usize, width: usize) -> MomentTargets {
    let weight = |number| random(&[groups, width], number).sqr().unwrap();
    MomentTargets { weights: Some([weight(8), weight(9)]), ..targets(groups, width) }
}

fn targets(groups: usize, width: usize) -> MomentTargets {
    let variance = random(&[groups, width], 6).sqr().unwrap();
    let scale = variance.mean_keepdim(1).unwrap();
    MomentTargets::new(random(&[groups, width], 5), variance, scale)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn image_operations_agree_with_candle(
        batch in 1usize..5, channels in 1usize..9, height in 2usize..20, width in 2usize..20,
    ) {
        let x = variable(&[batch, channels, height, width], 0);
        prop_assume!(clear_of_zero(&x.broadcast_sub(&x.mean_keepdim((0, 2, 3)).unwrap()).unwrap()));
        // The composed norm loses digits where a channel has few pixels.
        let error = disagreement(norm, |t: &[Tensor]| composed::batch_norm_relu(&t[0]), &[&x]);
        prop_assert!(error < 1e-4, "norm {error}");
        let error = disagreement(up, |t: &[Tensor]| composed::upsample2x(&t[0]), &[&x]);
        prop_assert!(error < 1e-6, "upsample {error}");
        let error = disagreement(pool, |t: &[Tensor]| composed::max_pool2x2(&t[0]), &[&x]);
        prop_assert!(error == 0.0, "pool {error}");
    }

    #[test]
    fn first_layer_agrees_with_candle(batch in 1usize..20, inputs in 1usize..40, outputs in 1usize..40) {
        let (z, w) = (variable(&[batch, inputs], 0), variable(&[inputs, outputs, 4, 4], 1));
        let error = disagreement(first, |t: &[Tensor]| composed::first_layer(&t[0], &t[1]), &[&z, &w]);
        prop_assert!(error < 1e-5, "{error}");
    }

    #[test]
    fn moment_loss_agrees_with_candle(groups in 1usize..4, images in 2usize..9, width in 1usize..1100) {
        let x = variable(&[groups * images, width], 0);
        for targets in [targets(groups, width), weighted(groups, width)] {
            for (estimator, kind) in [
                (Estimator::Biased, SecondMoment::Variance),
                (Estimator::Unbiased, SecondMoment::Variance),
                (Estimator::Biased, SecondMoment::Square),
                (Estimator::Unbiased, SecondMoment::Square),
            ] {
                let targets = MomentTargets { estimator, kind, ..targets.clone() };
                let fast = |t: &[Tensor]| ops::moment_loss(&t[0], &targets);
                let error = disagreement(fast, |t: &[Tensor]| composed::moment_loss(&t[0], &targets), &[&x]);
                prop_assert!(error < 2e-4, "{estimator} {kind:?}: {error}");
            }
        }
    }
}

#[test]
fn masked_weights_are_exactly_the_draws_of_the_stream() {
    // Longer than one task, so that tasks must seek to their own part of the stream.
    let shape = [130, 20, 3, 3];
    let (scores, frozen) = (variable(&shape, 0), random(&shape, 1));
    let weight = ops::masked_weight(&scores, &frozen, STREAM).unwrap();
    let mut expected = values(&frozen);
    score::draw(values(&scores).into_iter().map(score::sigmoid), &mut STREAM.open(), |i, kept| {
        expected[i] *= f32::from(u8::from(kept));
    });
    assert!(values(&weight).iter().zip(&expected).all(|(a, b)| a == b));
    let fast = |t: &[Tensor]| ops::masked_weight(&t[0], &frozen, STREAM);
    assert!(disagreement(fast, |t: &[Tensor]| composed::masked_weight(&t[0], &frozen, STREAM), &[&scores]) < 1e-5);
}

#[test]
fn a_threshold_keeps_what_ships() {
    let (scores, frozen) = (variable(&[130, 20, 3, 3], 0), random(&[130, 20, 3, 3], 1));
    let weight = ops::masked_weight(&scores, &frozen, StepMask::Threshold).unwrap();
    let expected = values(&scores).into_iter().zip(values(&frozen)).map(|(s, w)| if s > 0.0 { w } else { 0.0 });
    assert!(values(&weight).into_iter().eq(expected));
    let fast = |t: &[Tensor]| ops::masked_weight(&t[0], &frozen, StepMask::Threshold);
    let plain = |t: &[Tensor]| composed::masked_weight(&t[0], &frozen, StepMask::Threshold);
    assert!(disagreement(fast, plain, &[&scores]) < 1e-5);
}

#[test]
fn dense_scores_are_weights_in_units_of_the_frozen_ones() {
    let (scores, frozen) = (variable(&[130, 20, 3, 3], 0), random(&[130, 20, 3, 3], 1));
    let fast = |t: &[Tensor]| ops::masked_weight(&t[0], &frozen, StepMask::Dense);
    assert!(disagreement(fast, |t: &[Tensor]| &t[0] * &frozen, &[&scores]) < 1e-6);
}

#[test]
fn the_straight_through_gradient_is_that_of_the_expected_weight() {
    let (scores, frozen) = (variable(&[4, 3, 3, 3], 0), random(&[4, 3, 3, 3], 1));
    let found = run(|t: &[Tensor]| ops::masked_weight(&t[0], &frozen, STREAM), &[&scores]);
    let expected = |t: &[Tensor]| candle_nn::ops::sigmoid(&t[0])? * &frozen;
    assert!(distance(&found[1], &run(expected, &[&scores])[1]) < 1e-5);
    check_gradient(expected, &[&scores], 1e-2, 1e-3);
}

#[test]
fn gradients_are_finite_differences() {
    let x = variable(&[3, 2, 4, 6], 0);
    check_gradient(norm, &[&x], 1e-3, 2e-2);
    check_gradient(up, &[&x], 1e-2, 1e-3);
    check_gradient(pool, &[&x], 1e-3, 1e-3);
    check_gradient(first, &[&variable(&[3, 5], 0), &variable(&[5, 2, 4, 4], 1)], 1e-2, 1e-3);
    let targets = targets(2, 7);
    check_gradient(|t: &[Tensor]| ops::moment_loss(&t[0], &targets), &[&variable(&[8, 7], 0)], 1e-2, 1e-3);
    let unbiased = MomentTargets { estimator: Estimator::Unbiased, ..weighted(2, 7) };
    check_gradient(|t: &[Tensor]| ops::moment_loss(&t[0], &unbiased), &[&variable(&[8, 7], 0)], 1e-2, 1e-3);
    let squares = MomentTargets { kind: SecondMoment::Square, ..unbiased };
    check_gradient(|t: &[Tensor]| ops::moment_loss(&t[0], &squares), &[&variable(&[8, 7], 0)], 1e-2, 1e-3);
    let pooled = MomentTargets { grid: Some(2), ..weighted(2, 12) };
    check_gradient(|t: &[Tensor]| ops::moment_loss(&t[0], &pooled), &[&variable(&[4, 3, 4, 4], 0)], 1e-2, 1e-3);
    let unbiased = MomentTargets { estimator: Estimator::Unbiased, ..pooled };
    check_gradient(|t: &[Tensor]| ops::moment_loss(&t[0], &unbiased), &[&variable(&[4, 3, 4, 4], 0)], 1e-2, 1e-3);
    // Of so many images everything that chance adds is taken off.
    check_gradient(|t: &[Tensor]| ops::moment_loss(&t[0], &unbiased), &[&variable(&[10, 3, 4, 4], 0)], 1e-2, 2e-3);
}

/// Over many batches of normal numbers whose moments are the targets, the unbiased loss is 0 on average and the plain one is
/// what chance adds: `1 / n + 2 / (n - 1)`, or `1 / n + 2 / n` by mean squares.
#[test]
fn chance_adds_nothing_to_an_unbiased_distance() {
    let (n, width) = (4, 100_000);
    let ones = || Tensor::ones((1, width), DType::F32, &Device::Cpu).unwrap();
    let exact = MomentTargets::new(
        ones().zeros_like().unwrap(),
        ones(),
        Tensor::ones((1, 1), DType::F32, &Device::Cpu).unwrap(),
    );
    for (kind, of_second) in [(SecondMoment::Variance, 2.0 / (n as f64 - 1.0)), (SecondMoment::Square, 2.0 / n as f64)]
    {
        let loss = |estimator| {
            let targets = MomentTargets { estimator, kind, ..exact.clone() };
            f64::from(ops::moment_loss(&random(&[n, width], 3), &targets).unwrap().to_scalar::<f32>().unwrap())
        };
        let chance = 1.0 / n as f64 + of_second;
        assert!((loss(Estimator::Biased) - chance).abs() < 0.02, "{kind:?}: {}", loss(Estimator::Biased));
        assert!(loss(Estimator::Unbiased).abs() < 0.02, "{kind:?}: {}", loss(Estimator::Unbiased));
    }
}

/// The pixels of a cell may all be alike; then pooled moments move by chance as much as those of single pixels do.
#[test]
fn chance_adds_nothing_to_an_unbiased_distance_of_pooled_moments() {
    let (n, width) = (4, 100_000);
    let full = |value: f64, shape: (usize, usize)| Tensor::full(value as f32, shape, &Device::Cpu).unwrap();
    let exact = MomentTargets::new(full(0.0, (1, width)), full(1.0, (1, width)), full(1.0, (1, 1)));
    let alike = random(&[n, width, 1, 1], 3).broadcast_as((n, width, 2, 2)).unwrap().contiguous().unwrap();
    let loss = |estimator, [of_mean, of_second]: [f64; 2]| {
        let weights = Some([full(of_mean, (1, width)), full(of_second, (1, width))]);
        let targets = MomentTargets { estimator, weights, grid: Some(1), ..exact.clone() };
        f64::from(ops::moment_loss(&alike, &targets).unwrap().to_scalar::<f32>().unwrap())
    };
    assert!((loss(Estimator::Biased, [1.0, 0.0]) - 1.0 / n as f64).abs() < 0.01);
    assert!(loss(Estimator::Unbiased, [1.0, 0.0]).abs() < 0.01, "{}", loss(Estimator::Unbiased, [1.0, 0.0]));
    // The variance over 16 pixels, of which only four are independent, has a mean of 0.8 and a variance of 0.43.
    assert!(loss(Estimator::Biased, [0.0, 1.0]) > 0.4);
    assert!(loss(Estimator::Unbiased, [0.0, 1.0]).abs() < 0.03, "{}", loss(Estimator::Unbiased, [0.0, 1.0]));
}

/// Pooling to a grid is what averaging over the pixels of each cell says it is.
#[test]
fn pooled_moments_run_over_images_and_pixels_of_a_cell() {
    let x = random(&[4, 3, 4, 4], 0);
    let samples = composed::cell_samples(&x, 2, 2).unwrap();
    assert_eq!(samples.dims(), [2, 8, 12]);
    for (group, channel, row, column) in [(0, 0, 0, 0), (1, 2, 1, 0), (0, 1, 0, 1), (1, 0, 1, 1)] {
        let cell = x.narrow(0, 2 * group, 2).unwrap().narrow(1, channel, 1).unwrap();
        let cell = cell.narrow(2, 2 * row, 2).unwrap().narrow(3, 2 * column, 2).unwrap();
        let expected = cell.mean_all().unwrap().to_scalar::<f32>().unwrap();
        let found = samples.mean(1).unwrap().to_vec2::<f32>().unwrap()[group][channel * 4 + row * 2 + column];
        assert!((found - expected).abs() < 1e-6, "{found} against {expected}");
    }
    assert!(composed::cell_samples(&x, 2, 3).is_err(), "3 cells do not divide 4 pixels");
}

#[test]
fn the_first_of_equal_maxima_receives_the_gradient() {
    let image = Tensor::from_vec(vec![1f32, 5., 5., 0., 5., 0., 0., 5.], (1, 1, 2, 4), &Device::Cpu).unwrap();
    let x = Var::from_tensor(&image).unwrap();
    let y = ops::max_pool2x2(&x).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(values(&y), [5., 5.]);
    assert_eq!(values(gradients.get(&x).unwrap()), [0., 1., 1., 0., 0., 0., 0., 0.]);
}

/// The gradient of `sum(direction * tanh(u))` for a gradient bias of 0.1.
fn through_tanh(u: [f32; 3], direction: f32) -> Vec<f32> {
    let u = Var::from_tensor(&Tensor::new(&u, &Device::Cpu).unwrap()).unwrap();
    let images = ops::tanh(&u, 0.1).unwrap();
    assert_eq!(values(&images), values(&u.tanh().unwrap()));
    let gradients = (images.sum_all().unwrap() * f64::from(direction)).unwrap().backward().unwrap();
    let gradient = values(gradients.get(&u).unwrap());
    let slopes =
        values(&images).into_iter().map(|t| direction * ops::tanh_slope(t, direction, 0.1)).collect::<Vec<_>>();
    assert_eq!(gradient, slopes);
    gradient
}

#[test]
fn a_white_pixel_comes_back_but_is_pushed_no_further() {
    let darker = through_tanh([20.0, 0.0, -20.0], 2.0);
    assert_eq!(darker, [0.2, 2.2, 0.0]);
    let lighter = through_tanh([20.0, 0.0, -20.0], -2.0);
    assert_eq!(lighter, [0.0, -2.2, -0.2]);
}

#[test]
fn a_constant_channel_is_normalised_to_zero() {
    let x = Tensor::full(1e4f32, (3, 1, 4, 4), &Device::Cpu).unwrap();
    assert!(values(&ops::batch_norm_relu(&x).unwrap()).iter().all(|&y| y == 0.0));
}

#[test]
fn a_large_mean_does_not_spoil_the_variance() {
    let x = variable(&[4, 2, 8, 8], 0);
    let shifted = (x.as_tensor() + 1000.0).unwrap();
    let (plain, shifted) = (ops::batch_norm_relu(&x).unwrap(), ops::batch_norm_relu(&shifted).unwrap());
    assert!(distance(&shifted, &plain) < 1e-3);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let x = variable(&[7, 9, 12, 12], 0);
    let (z, w) = (variable(&[7, 20], 1), variable(&[20, 33, 4, 4], 2));
    let targets = targets(1, 9 * 144);
    check_threads(|| run(norm, &[&x]));
    check_threads(|| run(up, &[&x]));
    check_threads(|| run(pool, &[&x]));
    check_threads(|| run(first, &[&z, &w]));
    check_threads(|| run(|t: &[Tensor]| ops::moment_loss(&t[0], &targets), &[&x]));
    check_threads(|| run(|t: &[Tensor]| ops::masked_weight(&t[0], &t[0], STREAM), &[&x]));
}

/// Adam as in Kingma and Ba's algorithm 1, in f64.
#[test]
fn adam_follows_its_paper() {
    let adam = Adam::new(0.1);
    let parameter = variable(&[7, 3], 0);
    let mut moments = AdamState::zeros_like(&parameter).unwrap();
    let (mut p, mut m, mut v) =
        (values(&parameter).iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), [0f64; 21], [0f64; 21]);
    for step in 1..=5 {
        let gradient = random(&[7, 3], 10 + step);
        adam.update(&parameter, &gradient, &mut moments, step).unwrap();
        for (i, &g) in values(&gradient).iter().enumerate() {
            let g = f64::from(g);
            m[i] = adam.beta1 * m[i] + (1.0 - adam.beta1) * g;
            v[i] = adam.beta2 * v[i] + (1.0 - adam.beta2) * g * g;
            let first = m[i] / (1.0 - adam.beta1.powi(step as i32));
            let second = v[i] / (1.0 - adam.beta2.powi(step as i32));
            p[i] -= adam.lr * first / (second.sqrt() + adam.epsilon);
        }
    }
    assert!(values(&parameter).iter().zip(&p).all(|(found, p)| (f64::from(*found) - p).abs() < 1e-5));
    assert!(values(&moments.second).iter().zip(&v).all(|(found, v)| (f64::from(*found) - v).abs() < 1e-6));
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let x = random(&[4, 6], 0);
    assert!(ops::moment_loss(&x, &targets(2, 7)).is_err());
    assert!(ops::moment_loss(&random(&[2, 7], 0), &targets(2, 7)).is_err());
    assert!(ops::first_layer(&x, &random(&[5, 2, 4, 4], 0)).is_err());
    assert!(ops::masked_weight(&x, &random(&[6, 4], 0), STREAM).is_err());
    assert!(ops::batch_norm_relu(&x).is_err());
    let parameter = variable(&[4, 6], 0);
    let mut moments = AdamState::zeros_like(&parameter).unwrap();
    assert!(Adam::new(0.1).update(&parameter, &random(&[4, 5], 0), &mut moments, 1).is_err());
}
