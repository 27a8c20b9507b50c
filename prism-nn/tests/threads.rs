//! One training step, fused or composed of single operations, gives the same bits at any number of threads.

use candle_core::{Device, Tensor};
use prism_core::Architecture;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::encoder::Encoder;
use prism_nn::generator::{Generator, latents};
use prism_nn::ops::MomentTargets;
use prism_nn::step::TrainingStep;

/// The bits of every score's gradient, computed by `threads` threads.
fn gradients(threads: usize, fused: bool) -> Vec<u32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let arch = Architecture { image_size: 16, channels: 3, ngf: 8, latent: 16, classes: 2, label_scale: 3.0 };
        let generator = Generator::new(&arch, 5, &Device::Cpu).unwrap();
        let encoder = Encoder::open("random:5", &Device::Cpu).unwrap();
        let scores = generator.initial_scores().unwrap();
        let stream = StreamId::new(5, Purpose::Test);
        let labels: Vec<usize> = (0..16).map(|image| image / 8).collect();
        let z = latents(&arch, stream.index(1), &labels, &Device::Cpu).unwrap();
        let targets = targets(&encoder, arch.image_size);
        let step = TrainingStep::new(generator, encoder).unwrap();
        let found = match fused {
            true => step.run(&scores, &z, stream, &targets).unwrap(),
            false => step.composed(&scores, &z, stream, &targets).unwrap(),
        };
        let bits = |gradient: &Tensor| -> Vec<u32> {
            gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
        };
        found.gradients.iter().flat_map(bits).collect()
    })
}

fn targets(encoder: &Encoder, image_size: usize) -> Vec<MomentTargets> {
    let target = |shape: [usize; 3]| {
        let constant = |value: f32, width| Tensor::full(value, (2, width), &Device::Cpu).unwrap();
        let width = shape.iter().product();
        MomentTargets::new(constant(0.5, width), constant(0.25, width), constant(0.25, 1))
    };
    encoder.feature_shapes(image_size).unwrap().into_iter().map(target).collect()
}

#[test]
fn a_step_is_bit_identical_at_any_number_of_threads() {
    for fused in [true, false] {
        let one = gradients(1, fused);
        assert!(one.iter().any(|bits| *bits << 1 != 0));
        for threads in [2, 5] {
            assert!(one == gradients(threads, fused), "{threads} threads round differently (fused: {fused})");
        }
    }
}
