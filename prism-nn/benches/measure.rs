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

fn random_encoder(name: &str, layout: EncoderLayout) -> prism_nn::Result<Encoder> {
    let weights = random::kaiming(&layout, 1);
    Encoder::from_weights(name, layout, &weights, None, &Device::Cpu)
}

fn measure(c: &mut Criterion, encoder: &Encoder, side: usize) -> prism_nn::Result<()> {
    let mut pixels = vec![0.0; IMAGES * 3 * side * side];
    StreamId::new(1, Purpose::Test).open().fill_normal(&mut pixels);
    let images = Tensor::from_vec(pixels, (IMAGES, 3, side, side), &Device::Cpu)?.tanh()?;
    let mut sums = vec![FeatureSums::default(); encoder.feature_shapes(side)?.len()];

    let mut group = c.benchmark_group(format!("measure/{encoder}"));
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
        let layouts = [("public", random::LAYOUT.parse().expect("a layout"))];
        let vggs = [Vgg::Vgg16, Vgg::Vgg19].map(|vgg| (vgg.name(), vgg.layout()));
        for (name, layout) in layouts.into_iter().chain(vggs) {
            let encoder = random_encoder(name, layout).expect("an encoder that can be made ready");
            measure(c, &encoder, side).expect("features of fitting images");
            // Not every machine multiplies bf16.
            if let Ok(encoder) = encoder.with_bf16() {
                measure(c, &encoder, side).expect("features of fitting images");
            }
        }
    }
}

criterion_group!(benches, encoders);
criterion_main!(benches);
