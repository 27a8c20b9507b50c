//! One training step gives the same bits at any number of threads.

use candle_core::Device;
use prism_core::Architecture;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::encoder::Encoder;
use prism_nn::generator::{Generator, latents};
use prism_nn::ops::{self, MomentTargets};

/// The bits of every score's gradient, computed by `threads` threads.
fn gradients(threads: usize) -> Vec<u32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let arch = Architecture { image_size: 16, channels: 3, ngf: 8, latent: 16, classes: 2, label_scale: 3.0 };
        let generator = Generator::new(&arch, 5, &Device::Cpu).unwrap();
        let encoder = Encoder::open("random:5", &Device::Cpu).unwrap();
        let scores = generator.initial_scores().unwrap();
        let stream = StreamId::new(5, Purpose::Test);
        let weights = generator.masked_weights(&scores, stream).unwrap();
        let labels: Vec<usize> = (0..16).map(|image| image / 8).collect();
        let z = latents(&arch, stream.index(1), &labels, &Device::Cpu).unwrap();
        let features = encoder.forward(&generator.forward(&z, &weights).unwrap()).unwrap();
        let terms = features.iter().map(|feature| {
            let grouped = feature.detach().reshape((2, 8, ())).unwrap();
            let mean = (grouped.mean(1).unwrap() + 0.5).unwrap();
            let variance = grouped.var(1).unwrap();
            let scale = variance.mean_keepdim(1).unwrap();
            ops::moment_loss(feature, &MomentTargets { mean, variance, scale }).unwrap()
        });
        let store = terms.reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap();
        let bits = |score| -> Vec<u32> {
            let gradient = store.get(score).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            gradient.into_iter().map(f32::to_bits).collect()
        };
        scores.iter().flat_map(|score| bits(score)).collect()
    })
}

#[test]
fn a_step_is_bit_identical_at_any_number_of_threads() {
    let one = gradients(1);
    assert!(one.iter().any(|bits| *bits << 1 != 0));
    for threads in [2, 5] {
        assert!(one == gradients(threads), "{threads} threads round differently");
    }
}
