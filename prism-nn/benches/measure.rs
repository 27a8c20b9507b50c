//! Time of measuring images through a frozen encoder, features and their sums in `f64`: `cargo bench -p prism-nn --bench measure`.
//! The peer is `bench/measure.py`. Weights are random, since only the time counts.
//!
//! * `measure/ENCODER/SIDExSIDE/cpu`: images a second

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prism_core::stream::{Purpose, StreamId};
use prism_nn::encoder::vgg::Vgg;
use prism_nn::encoder::{Encoder, EncoderLayout, FeatureSums, random};

/// Images that are measured at once, as a client does.
const IMAGES: usize = 256;

fn measure(c: &mut Criterion, name: &str, layout: EncoderLayout, side: usize) -> prism_nn::Result<()> {
    let weights = random::kaiming(&layout, 1);
    let encoder = Encoder::from_weights(name, layout, &weights, None, &Device::Cpu)?;
    let mut pixels = vec![0.0; IMAGES * 3 * side * side];
    StreamId::new(1, Purpose::Test).open().fill_normal(&mut pixels);
    let images = Tensor::from_vec(pixels, (IMAGES, 3, side, side), &Device::Cpu)?.tanh()?;
    let mut sums = vec![FeatureSums::default(); encoder.feature_shapes(side)?.len()];

    let mut group = c.benchmark_group(format!("measure/{name}"));
    group.sample_size(10).throughput(Throughput::Elements(IMAGES as u64));
    group.bench_function(format!("{side}x{side}/cpu"), |b| {
        b.iter(|| {
            let done = encoder.visit(&images, |features| {
                sums[features.output].add(&features, 0..IMAGES);
                Ok(())
            });
            done.expect("features of fitting images");
        });
    });
    Ok(())
}

fn encoders(c: &mut Criterion) {
    for side in [32, 64] {
        measure(c, "public", random::LAYOUT.parse().expect("a layout"), side)
            .expect("an encoder that can be made ready");
        for vgg in [Vgg::Vgg16, Vgg::Vgg19] {
            measure(c, vgg.name(), vgg.layout(), side).expect("an encoder that can be made ready");
        }
    }
}

criterion_group!(benches, encoders);
criterion_main!(benches);
