//! Times of the parts of a training step on the CPU, named by shape: `cargo bench -p prism-nn`.
//!
//! * `conv/SCHEME/SIDExSIDE IN->OUT x BATCH/PASS/cpu`: one convolution on channels-last maps
//! * `mask/OPERATION/WEIGHTS/cpu`: draws and their straight-through gradient
//! * `step/ngf N x BATCH/ENCODER/DEVICE`: the whole step without the optimiser, on every device of this build and machine

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prism_core::Architecture;
use prism_core::simd::Isa;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::StepMask;
use prism_nn::cpu::conv::ConvLayer;
use prism_nn::cpu::map::Map;
use prism_nn::cpu::masking::{drawn, masked_gradient};
use prism_nn::cpu::packed::{Packed, WeightShape};
use prism_nn::cpu::scheme::{Doubled, Pointwise, Scheme, Winograd};
use prism_nn::cpu::share::Disjoint;
use prism_nn::cpu::source::{Plain, Store};
use prism_nn::encoder::Encoder;
use prism_nn::generator::{Generator, latents};
use prism_nn::ops::MomentTargets;
use prism_nn::step::TrainingStep;

fn random(len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    StreamId::new(1, Purpose::Test).open().fill_normal(&mut values);
    values
}

fn convolution<C: Scheme>(c: &mut Criterion, name: &str, side: usize, inputs: usize, outputs: usize) {
    const BATCH: usize = 64;
    let isa = Isa::detect();
    let layer = ConvLayer::<C>::new(isa, Map::new(BATCH, (side, side), inputs, isa.lanes()), outputs);
    let shape = WeightShape { outputs, inputs, taps: C::TAPS * C::TAPS };
    let (x, g) = (random(layer.input.len()), random(layer.output.len()));
    let mut packed = Packed::default();
    packed.pack::<C>(isa, &random(shape.len()), shape);
    let (mut y, mut dx) = (vec![0.0; layer.output.len()], vec![0.0; layer.input.len()]);
    let mut pieces = vec![0.0; layer.pieces_len()];
    let (x, g) = (Plain { values: &x, map: layer.input }, Plain { values: &g, map: layer.output });

    let mut group = c.benchmark_group(format!("conv/{name}/{side}x{side} {inputs}->{outputs} x {BATCH}"));
    let direct = 2 * layer.output.batch * layer.output.pixels() * shape.len();
    group.throughput(Throughput::Elements(direct as u64));
    group.bench_function("forward/cpu", |b| {
        let sink = Store { values: Disjoint::new(&mut y), map: layer.output };
        b.iter(|| layer.forward(x, &packed, sink, |_| ()));
    });
    group.bench_function("input gradient/cpu", |b| {
        b.iter(|| layer.backward((x, g), &packed, &mut dx, None, |_, _| ()));
    });
    group.throughput(Throughput::Elements(2 * direct as u64));
    group.bench_function("both gradients/cpu", |b| {
        b.iter(|| layer.backward((x, g), &packed, &mut dx, Some(&mut pieces), |_, _| ()));
    });
}

fn convolutions(c: &mut Criterion) {
    convolution::<Doubled>(c, "doubled", 8, 256, 128);
    convolution::<Winograd>(c, "winograd", 8, 256, 256);
    convolution::<Winograd>(c, "winograd", 32, 64, 64);
    convolution::<Winograd>(c, "winograd", 32, 32, 32);
    convolution::<Pointwise>(c, "pointwise", 8, 256, 128);
}

fn masks(c: &mut Criterion) {
    const WEIGHTS: usize = 1 << 20;
    let (isa, scores, frozen) = (Isa::detect(), random(WEIGHTS), vec![0.1; WEIGHTS]);
    let mut out = vec![0.0; WEIGHTS];
    let mut group = c.benchmark_group("mask");
    group.throughput(Throughput::Elements(WEIGHTS as u64));
    group.bench_function(format!("draw/{WEIGHTS}/cpu"), |b| {
        b.iter(|| drawn(isa, &scores, &frozen, StreamId::new(0, Purpose::Test), &mut out));
    });
    group.bench_function(format!("gradient/{WEIGHTS}/cpu"), |b| {
        b.iter(|| masked_gradient(isa, [&scores, &frozen, &scores], StepMask::Threshold, &mut out));
    });
}

/// Moments that no image has, which is as good for the time.
fn targets(encoder: &Encoder, side: usize, device: &Device) -> candle_core::Result<Vec<MomentTargets>> {
    let target = |shape: [usize; 3]| {
        let constant = |value: f32, width: usize| Tensor::full(value, (1, width), device);
        let width = shape.iter().product();
        Ok(MomentTargets::new(constant(0.5, width)?, constant(0.25, width)?, constant(0.25, 1)?))
    };
    let shapes = encoder.feature_shapes(side).map_err(candle_core::Error::wrap)?;
    shapes.into_iter().map(target).collect()
}

fn step(c: &mut Criterion, ngf: usize, batch: usize, device: &Device) -> prism_nn::Result<()> {
    let arch = Architecture { image_size: 32, channels: 3, ngf, latent: 128, classes: 0, label_scale: 1.0 };
    let step = TrainingStep::new(Generator::new(&arch, 0, device)?, Encoder::open("public", device)?)?;
    let scores = step.generator().initial_scores()?;
    let targets = targets(step.encoder(), arch.image_size, device)?;
    let z = latents(&arch, StreamId::new(0, Purpose::Test), &vec![0; batch], device)?;
    let mut number = 0;
    let mut group = c.benchmark_group(format!("step/ngf {ngf} x {batch}"));
    group.sample_size(10).throughput(Throughput::Elements(batch as u64));
    group.bench_function(format!("public/{}", prism_nn::device::name(device)), |b| {
        b.iter(|| {
            number += 1;
            let found = step.run(&scores, &z, StreamId::new(0, Purpose::TrainMask).index(number), &targets);
            device.synchronize().expect("the device has finished");
            found.expect("a step of fitting shapes")
        });
    });
    Ok(())
}

fn steps(c: &mut Criterion) {
    let mut devices = vec![Device::Cpu];
    devices.extend(prism_nn::device::open("auto").ok().filter(|device| !device.is_cpu()));
    for device in devices {
        for ngf in [16, 64] {
            step(c, ngf, 64, &device).expect("a step that can be made ready");
        }
    }
}

criterion_group!(benches, convolutions, masks, steps);
criterion_main!(benches);
