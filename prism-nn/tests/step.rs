//! The fused training step against its composition of candle's operations; the same bits at any thread count and whatever
//! ran before.

mod support;

use candle_core::{Device, Tensor, Var};
use prism_core::Architecture;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::encoder::{Encoder, EncoderLayout, random};
use prism_nn::generator::{Generator, latents};
use prism_nn::ops::{MomentTargets, composed};
use prism_nn::step::{LossAndGradients, StepRule, TrainingStep};
use prism_nn::{Estimator, SecondMoment, StepMask};
use support::{check_threads, distance, random as numbers, values};

const MASKS: StreamId = StreamId::new(5, Purpose::TrainMask);

fn arch(image_size: usize, channels: usize, ngf: usize, classes: usize) -> Architecture {
    Architecture { image_size, channels, ngf, latent: 9, classes, label_scale: 3.0 }
}

fn training_step(arch: &Architecture) -> TrainingStep {
    let device = Device::Cpu;
    TrainingStep::new(Generator::new(arch, 3, &device).unwrap(), Encoder::open("random:1", &device).unwrap()).unwrap()
}

/// Moments of random images, a group each of `groups`, pooled over `grid` cells a side if any; pooled ones count differently.
fn targets_on(step: &TrainingStep, groups: usize, grid: Option<usize>) -> Vec<MomentTargets> {
    let side = step.generator().arch().image_size;
    let real = numbers(&[groups * 5, 3, side, side], 8).tanh().unwrap();
    let (encoder, convs) = (step.encoder(), step.encoder().layout().convs().len());
    let measure = |(output, features): (usize, &Tensor)| {
        // Sketches are never pooled.
        let grid = grid.filter(|_| output < convs);
        let features = match grid {
            Some(grid) => composed::cell_samples(features, groups, grid).unwrap(),
            None => features.reshape((groups, 5, ())).unwrap(),
        };
        let variance = features.var(1).unwrap();
        let scale = (variance.mean_keepdim(1).unwrap() + 1e-8).unwrap();
        let weight = |number| numbers(variance.dims(), number).sqr().unwrap();
        let weights = grid.map(|_| [weight(1), weight(2)]);
        MomentTargets { weights, grid, ..MomentTargets::new(features.mean(1).unwrap(), variance, scale) }
    };
    encoder.forward(&real).unwrap().iter().enumerate().map(measure).collect()
}

fn targets(step: &TrainingStep, groups: usize) -> Vec<MomentTargets> {
    targets_on(step, groups, None)
}

fn inputs(step: &TrainingStep, groups: usize, images: usize) -> Tensor {
    let arch = step.generator().arch();
    let labels: Vec<usize> = (0..groups * images).map(|i| (i / images) % arch.classes.max(1)).collect();
    latents(arch, StreamId::new(6, Purpose::Test), &labels, &Device::Cpu).unwrap()
}

fn run(step: &TrainingStep, scores: &[Var], groups: usize, images: usize) -> LossAndGradients {
    step.run(scores, &inputs(step, groups, images), MASKS, &targets(step, groups)).unwrap()
}

/// The largest difference of any layer's gradient, in units of its largest element.
fn error(step: &TrainingStep, groups: usize, grid: Option<usize>, images: usize, tanh_grad_bias: f32) -> f32 {
    let scores = step.generator().initial_scores().unwrap();
    let (z, mut targets) = (inputs(step, groups, images), targets_on(step, groups, grid));
    // Every way to choose a mask comes into play, and every one to compare moments.
    let mask = [StepMask::Threshold, StepMask::Drawn(MASKS), StepMask::Dense][images % 3];
    let rule = StepRule { mask, tanh_grad_bias };
    let estimator = if images.is_multiple_of(2) { Estimator::Unbiased } else { Estimator::Biased };
    targets.iter_mut().for_each(|t| t.estimator = estimator);
    let of_variances = disagreement(step, &scores, (&z, rule), &targets);
    targets.iter_mut().for_each(|t| t.kind = SecondMoment::Square);
    of_variances.max(disagreement(step, &scores, (&z, rule), &targets))
}

fn disagreement(step: &TrainingStep, scores: &[Var], (z, rule): (&Tensor, StepRule), targets: &[MomentTargets]) -> f32 {
    let arch = step.generator().arch();
    let found = step.run(scores, z, rule, targets).unwrap();
    let reference = step.composed(scores, z, rule, targets).unwrap();
    let losses = [found.read_loss().unwrap(), reference.read_loss().unwrap()];
    assert!((losses[0] / losses[1] - 1.0).abs() < 1e-5, "{arch:?}: losses {losses:?}");
    assert_eq!(found.gradients.len(), scores.len());
    found.gradients.iter().zip(&reference.gradients).map(|(a, b)| distance(a, b)).fold(0.0, f32::max)
}

/// Where an activation lies within rounding of 0, or two of a square within rounding of each other, the gradient jumps. One
/// such place among the hundreds of thousands moves a small gradient by some percent, so of a few batches some must agree to
/// rounding, and all must to that.
fn check(arch: Architecture, groups: usize, grid: Option<usize>, batches: [usize; 3]) {
    check_step(&training_step(&arch), groups, grid, batches, 0.0);
}

fn check_step(step: &TrainingStep, groups: usize, grid: Option<usize>, batches: [usize; 3], tanh_grad_bias: f32) {
    let errors = batches.map(|images| error(step, groups, grid, images, tanh_grad_bias));
    let (least, most) = errors.iter().fold((f32::MAX, 0f32), |(l, m), &e| (l.min(e), m.max(e)));
    assert!(least < 5e-5 && most < 0.1, "{:?}: gradients differ by {errors:?}", step.generator().arch());
}

#[test]
fn so_it_is_with_a_tanh_gradient_bias_which_changes_gradients_alone() {
    let step = training_step(&arch(16, 3, 8, 2));
    check_step(&step, 2, None, [2, 3, 4], 0.1);
    let scores = step.generator().initial_scores().unwrap();
    let (z, targets) = (inputs(&step, 2, 4), targets(&step, 2));
    let biased = |tanh_grad_bias| {
        let rule = StepRule { mask: StepMask::Drawn(MASKS), tanh_grad_bias };
        step.run(&scores, &z, rule, &targets).unwrap()
    };
    let [plain, biased] = [0.0, 0.1].map(biased);
    assert_eq!(plain.read_loss().unwrap().to_bits(), biased.read_loss().unwrap().to_bits());
    assert!(plain.gradients.iter().zip(&biased.gradients).all(|(a, b)| values(a) != values(b)));
}

/// A step whose encoder has two convolutions, of channels that fill no register, and sketches over `grids`.
fn sketching_step(arch: &Architecture, grids: &str) -> TrainingStep {
    let (device, layout) = (Device::Cpu, "5,M,19".parse::<EncoderLayout>().unwrap());
    let encoder = Encoder::from_weights("small", layout.clone(), &random::kaiming(&layout, 2), None, &device).unwrap();
    let encoder = encoder.with_sketches(&grids.parse().unwrap(), &device).unwrap();
    TrainingStep::new(Generator::new(arch, 3, &device).unwrap(), encoder).unwrap()
}

#[test]
fn the_fused_step_is_the_composed_one() {
    check(arch(8, 1, 16, 0), 1, None, [2, 3, 9]);
    check(arch(16, 3, 8, 2), 2, None, [2, 3, 4]);
    check(arch(16, 3, 5, 0), 1, None, [2, 3, 7]);
    check(arch(32, 1, 4, 3), 2, None, [2, 3, 4]);
}

#[test]
fn so_it_is_for_pooled_features_whose_terms_count_differently() {
    check(arch(8, 1, 16, 0), 1, Some(2), [2, 3, 9]);
    check(arch(16, 3, 8, 2), 2, Some(1), [2, 3, 4]);
    check(arch(16, 1, 5, 3), 2, Some(8), [2, 3, 4]);
}

#[test]
fn so_it_is_for_sketches() {
    // A grid as fine as the second map, one finer than both, and one of a single cell.
    check_step(&sketching_step(&arch(8, 1, 16, 0), "4"), 1, None, [2, 3, 9], 0.0);
    check_step(&sketching_step(&arch(16, 3, 8, 2), "1,2,32"), 2, None, [2, 3, 4], 0.0);
    check_step(&sketching_step(&arch(16, 1, 5, 3), "1,4"), 2, Some(8), [2, 3, 4], 0.0);
    let encoder = Encoder::open("random:1", &Device::Cpu).unwrap();
    let encoder = encoder.with_sketches(&"1,2,4".parse().unwrap(), &Device::Cpu).unwrap();
    let generator = Generator::new(&arch(16, 3, 8, 2), 3, &Device::Cpu).unwrap();
    check_step(&TrainingStep::new(generator, encoder).unwrap(), 2, None, [4, 5, 8], 0.0);
}

#[test]
fn sketches_change_what_an_encoder_is_and_what_it_gives() {
    let plain = Encoder::open("random:1", &Device::Cpu).unwrap();
    let sketching = |grids: &str| plain.clone().with_sketches(&grids.parse().unwrap(), &Device::Cpu).unwrap();
    assert_eq!(sketching("none").digest(), plain.digest());
    assert_ne!(sketching("1").digest(), plain.digest());
    assert_ne!(sketching("1").digest(), sketching("1,2").digest());
    let shapes = sketching("1,8").feature_shapes(16).unwrap();
    assert_eq!(shapes.len(), 3 * 7);
    assert_eq!(
        (shapes[6], shapes[7], shapes[13], shapes[14], shapes[20]),
        ([256, 2, 2], [32, 1, 1], [256, 1, 1], [32, 8, 8], [256, 2, 2])
    );
    let images = numbers(&[2, 3, 16, 16], 1);
    let dims: Vec<Vec<usize>> =
        sketching("1,8").forward(&images).unwrap().iter().map(|f| f.dims()[1..].to_vec()).collect();
    assert_eq!(dims, shapes);
}

#[test]
fn memory_of_earlier_steps_leaves_no_trace() {
    let arch = arch(16, 1, 6, 2);
    for step in [training_step(&arch), sketching_step(&arch, "1,4")] {
        let scores = step.generator().initial_scores().unwrap();
        let once = run(&step, &scores, 2, 4);
        run(&step, &scores, 2, 3);
        run(&step, &scores, 1, 8);
        let again = run(&step, &scores, 2, 4);
        assert_eq!(once.read_loss().unwrap().to_bits(), again.read_loss().unwrap().to_bits());
        for (once, again) in once.gradients.iter().zip(&again.gradients) {
            assert_eq!(values(once), values(again));
        }
    }
}

/// Targets are known again by their tensors; others of the same shape, and weights that come and go, must not be taken for them.
#[test]
fn targets_of_an_earlier_step_are_not_taken_for_others() {
    let arch = arch(16, 1, 6, 2);
    let step = training_step(&arch);
    let (scores, z) = (step.generator().initial_scores().unwrap(), inputs(&step, 2, 4));
    let some = targets(&step, 2);
    let scaled = |t: &MomentTargets| MomentTargets { mean: (&t.mean * 2.0).unwrap(), ..t.clone() };
    let others: Vec<MomentTargets> = some.iter().map(scaled).collect();
    let weighed = |t: &MomentTargets| MomentTargets { weights: Some([t.mean.clone(), t.mean.clone()]), ..t.clone() };
    let weighed: Vec<MomentTargets> = some.iter().map(weighed).collect();
    for targets in [&some, &some, &others, &weighed, &some] {
        let fresh = training_step(&arch).run(&scores, &z, MASKS, targets).unwrap();
        let found = step.run(&scores, &z, MASKS, targets).unwrap();
        assert_eq!(found.read_loss().unwrap().to_bits(), fresh.read_loss().unwrap().to_bits());
        for (found, fresh) in found.gradients.iter().zip(&fresh.gradients) {
            assert_eq!(values(found), values(fresh));
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let arch = arch(16, 3, 8, 2);
    for step in [training_step(&arch), sketching_step(&arch, "1,4")] {
        let scores = step.generator().initial_scores().unwrap();
        check_threads(|| run(&step, &scores, 2, 9).gradients);
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let step = training_step(&arch(16, 3, 8, 0));
    let scores = step.generator().initial_scores().unwrap();
    let (z, moments) = (inputs(&step, 1, 4), targets(&step, 1));
    let refused = |scores: &[Var], z: &Tensor, targets: &[MomentTargets]| step.run(scores, z, MASKS, targets).is_err();
    assert!(!refused(&scores, &z, &moments));
    assert!(refused(&scores[1..], &z, &moments));
    assert!(refused(&scores, &numbers(&[4, 3], 0), &moments));
    assert!(refused(&scores, &inputs(&step, 1, 1), &moments));
    assert!(refused(&scores, &z, &moments[1..]));
    assert!(refused(&scores, &inputs(&step, 1, 5), &targets(&step, 2)));
    assert!(refused(&scores, &z, &targets(&training_step(&arch(8, 3, 8, 0)), 1)));
}
