//! Replays three local training steps that PyTorch took (golden file `tests/golden/replay.safetensors`, made by the script
//! beside it): same seeds, so same weights, masks and latents; then images, features, loss, score gradients and the scores
//! that Adam leaves must agree within 1e-4 of their size.

use candle_core::{Device, Tensor};
use prism_core::Architecture;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::adam::{Adam, Moments};
use prism_nn::encoder::{Encoder, Layout, random};
use prism_nn::generator::{Generator, latents};
use prism_nn::ops::{self, MomentTargets};
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
    let layout: Layout = "4,M,6".parse().unwrap();
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
        MomentTargets { mean: grouped.mean(1).unwrap(), variance, scale }
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

#[test]
fn three_steps_are_those_of_pytorch() {
    let golden = SafeTensors::deserialize(include_bytes!("../../tests/golden/replay.safetensors")).unwrap();
    let generator = Generator::new(&arch(), SEED, &Device::Cpu).unwrap();
    let scores = generator.initial_scores().unwrap();
    let encoder = encoder();
    let targets = targets(&encoder);
    let adam = Adam::new(0.1);
    let mut moments: Vec<Moments> = scores.iter().map(|s| Moments::zeros_like(s).unwrap()).collect();
    let labels: Vec<usize> = (0..arch().classes).flat_map(|class| [class; PER_CLASS]).collect();
    let stream = |purpose, step| StreamId::new(SEED, purpose).round(3).client(2).index(step);

    for step in 0..STEPS {
        let z = latents(&arch(), stream(Purpose::TrainLatent, step), &labels, &Device::Cpu).unwrap();
        let weights = generator.masked_weights(&scores, stream(Purpose::TrainMask, step)).unwrap();
        let images = generator.forward(&z, &weights).unwrap();
        let features = encoder.forward(&images).unwrap();
        let terms = features.iter().zip(&targets).map(|(f, t)| ops::moment_loss(f, t).unwrap());
        let loss = terms.reduce(|a, b| (a + b).unwrap()).unwrap();
        let gradients = loss.backward().unwrap();

        assert_close(&golden, &format!("{step}.images"), &images);
        for (i, feature) in features.iter().enumerate() {
            assert_close(&golden, &format!("{step}.features.{i}"), feature);
        }
        assert_close(&golden, &format!("{step}.loss"), &loss);
        for (i, (score, moments)) in scores.iter().zip(&mut moments).enumerate() {
            let gradient = gradients.get(score).unwrap();
            assert_close(&golden, &format!("{step}.gradients.{i}"), gradient);
            adam.update(score, gradient, moments, step + 1).unwrap();
        }
    }
    for (i, score) in scores.iter().enumerate() {
        assert_close(&golden, &format!("scores.{i}"), score);
    }
}
