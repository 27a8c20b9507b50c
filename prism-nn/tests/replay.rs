//! Replays three local training steps that PyTorch took (golden file `tests/golden/replay.safetensors`, made by the script
//! beside it): same seeds, so same weights, masks and latents; then images, features, loss, score gradients and the scores
//! that Adam leaves must agree within 1e-4 of their size.

use candle_core::{DType, Device, Tensor, Var};
use prism_core::Architecture;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::adam::{Adam, AdamState};
use prism_nn::encoder::{Encoder, EncoderLayout, random};
use prism_nn::generator::{Generator, latents};
use prism_nn::ops::{self, MomentTargets};
use prism_nn::step::TrainingStep;
use safetensors::SafeTensors;

const SEED: u64 = 11;
const STEPS: u64 = 3;
const PER_CLASS: usize = 3;
const TARGETS_PER_CLASS: usize = 8;
const TOLERANCE: f32 = 1e-4;

fn arch() -> Architecture {
    Architecture { image_size: 16, channels: 1, ngf: 4, latent: 6, classes: 2, label_scale: 3.0 }
}

fn encoder() -> Encoder {
    let layout: EncoderLayout = "4,M,6".parse().unwrap();
    let mut weights = random::kaiming(&layout, SEED);
    for (index, conv) in weights.iter_mut().enumerate() {
        let mut stream = StreamId::new(SEED, Purpose::Test).layer(index as u64).open();
        conv.bias.iter_mut().for_each(|b| *b = (stream.normal() * 0.1) as f32);
    }
    Encoder::from_weights("replay", layout, &weights, None, &Device::Cpu).unwrap()
}

fn targets(encoder: &Encoder) -> Vec<MomentTargets> {
    let (arch, images) = (arch(), arch().classes * TARGETS_PER_CLASS);
    let mut stream = StreamId::new(SEED, Purpose::Test).index(1).open();
    let pixels: Vec<f32> = (0..images * arch.pixels()).map(|_| (stream.uniform() * 2.0 - 1.0) as f32).collect();
    let images =
        Tensor::from_vec(pixels, (images, arch.channels, arch.image_size, arch.image_size), &Device::Cpu).unwrap();
    let moments = |features: &Tensor| {
        let grouped = features.reshape((arch.classes, TARGETS_PER_CLASS, ())).unwrap();
        let variance = grouped.var(1).unwrap();
        let scale = variance.mean_keepdim(1).unwrap();
        MomentTargets::new(grouped.mean(1).unwrap(), variance, scale)
    };
    encoder.forward(&images).unwrap().iter().map(moments).collect()
}

/// Compares with the tensor `name` of the golden file, relative to the largest value there.
fn assert_close(golden: &SafeTensors<'_>, name: &str, ours: &Tensor) {
    let view = golden.tensor(name).unwrap();
    let theirs: Vec<f32> = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let ours = ours.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let size = theirs.iter().fold(0f32, |size, v| size.max(v.abs()));
    assert!(size > 0.0, "{name} is empty, so it would prove nothing");
    for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        assert!((a - b).abs() <= TOLERANCE * size, "{name}[{i}]: {a} instead of {b} (largest {size})");
    }
}

/// The golden file, and everything that both programs start from.
struct Replay {
    golden: SafeTensors<'static>,
    generator: Generator,
    encoder: Encoder,
    targets: Vec<MomentTargets>,
    scores: Vec<Var>,
    moments: Vec<AdamState>,
}

impl Replay {
    fn new() -> Self {
        let golden = SafeTensors::deserialize(include_bytes!("../../tests/golden/replay.safetensors")).unwrap();
        let generator = Generator::new(&arch(), SEED, &Device::Cpu).unwrap();
        let encoder = encoder();
        let targets = targets(&encoder);
        let scores = generator.initial_scores().unwrap();
        let moments = scores.iter().map(|s| AdamState::zeros_like(s).unwrap()).collect();
        Replay { golden, generator, encoder, targets, scores, moments }
    }

    fn latents(&self, step: u64) -> Tensor {
        let labels: Vec<usize> = (0..arch().classes).flat_map(|class| [class; PER_CLASS]).collect();
        latents(&arch(), stream(Purpose::TrainLatent, step), &labels, &Device::Cpu).unwrap()
    }

    fn assert_close(&self, name: &str, ours: &Tensor) {
        assert_close(&self.golden, name, ours);
    }

    /// Compares one step's gradients and lets Adam use them.
    fn descend(&mut self, step: u64, gradients: &[Tensor]) {
        for (i, gradient) in gradients.iter().enumerate() {
            self.assert_close(&format!("{step}.gradients.{i}"), gradient);
            Adam::new(0.1).update(&self.scores[i], gradient, &mut self.moments[i], step + 1).unwrap();
        }
    }

    fn assert_final_scores(&self) {
        for (i, score) in self.scores.iter().enumerate() {
            self.assert_close(&format!("scores.{i}"), score);
        }
    }
}

fn stream(purpose: Purpose, step: u64) -> StreamId {
    StreamId::new(SEED, purpose).round(3).client(2).index(step)
}

#[test]
fn three_steps_are_those_of_pytorch() {
    let mut replay = Replay::new();
    for step in 0..STEPS {
        let masks = stream(Purpose::TrainMask, step);
        let weights = replay.generator.masked_weights(&replay.scores, masks).unwrap();
        let images = replay.generator.forward(&replay.latents(step), &weights).unwrap();
        let features = replay.encoder.composed(&images).unwrap();
        let terms = features.iter().zip(&replay.targets).map(|(f, t)| ops::moment_loss(f, t).unwrap());
        let loss = terms.reduce(|a, b| (a + b).unwrap()).unwrap();

        replay.assert_close(&format!("{step}.images"), &images);
        for (i, (feature, measured)) in features.iter().zip(replay.encoder.forward(&images).unwrap()).enumerate() {
            replay.assert_close(&format!("{step}.features.{i}"), feature);
            replay.assert_close(&format!("{step}.features.{i}"), &measured);
        }
        replay.assert_close(&format!("{step}.loss"), &loss);
        let store = loss.backward().unwrap();
        let gradients: Vec<Tensor> = replay.scores.iter().map(|score| store.get(score).unwrap().clone()).collect();
        replay.descend(step, &gradients);
    }
    replay.assert_final_scores();
}

#[test]
fn three_fused_steps_are_those_of_pytorch() {
    let mut replay = Replay::new();
    let training = TrainingStep::new(replay.generator.clone(), replay.encoder.clone()).unwrap();
    for step in 0..STEPS {
        let (z, masks) = (replay.latents(step), stream(Purpose::TrainMask, step));
        let found = training.run(&replay.scores, &z, masks, &replay.targets).unwrap();
        replay.assert_close(&format!("{step}.loss"), &found.loss.to_dtype(DType::F32).unwrap().reshape(1).unwrap());
        replay.descend(step, &found.gradients);
    }
    replay.assert_final_scores();
}
