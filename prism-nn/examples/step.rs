//! Times one local training step on random data: masks, generator, encoder, moment loss, gradients, Adam.
//!
//! `cargo run --release -p prism-nn --example step -- --ngf 16 --batch 64 --threads 2`
//!
//! Prints one JSON line with the median seconds of a step and of its parts.

use std::time::Instant;

use candle_core::{Device, Tensor};
use prism_core::Architecture;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::adam::{Adam, Moments};
use prism_nn::encoder::Encoder;
use prism_nn::generator::{Generator, latents};
use prism_nn::ops::{self, MomentTargets};

const PARTS: [&str; 6] = ["masks", "generator", "encoder", "loss", "gradients", "adam"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = flag("--threads", 0);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let (ngf, batch, steps) = (flag("--ngf", 16), flag("--batch", 64), flag("--steps", 10));
    let arch = Architecture { image_size: 32, channels: 3, ngf, latent: 128, classes: 0, label_scale: 1.0 };
    let device = Device::Cpu;
    let generator = Generator::new(&arch, 0, &device)?;
    let encoder = Encoder::open("random:0", &device)?;
    let scores = generator.initial_scores()?;
    let mut moments = scores.iter().map(|s| Moments::zeros_like(s)).collect::<Result<Vec<_>, _>>()?;
    let mut real = vec![0.0; batch * 3 * 32 * 32];
    StreamId::new(0, Purpose::Test).open().fill_normal(&mut real);
    let real = Tensor::from_vec(real, (batch, 3, 32, 32), &device)?.tanh()?;
    let targets = encoder.forward(&real)?.iter().map(measure).collect::<Result<Vec<_>, _>>()?;
    let adam = Adam::new(0.1);
    let mut seconds = vec![Vec::new(); PARTS.len() + 1];
    for step in 1..=steps as u64 + 2 {
        let mut marks = vec![Instant::now()];
        let mut mark = || marks.push(Instant::now());
        let weights = generator.masked_weights(&scores, StreamId::new(0, Purpose::TrainMask).index(step))?;
        let z = latents(&arch, StreamId::new(0, Purpose::TrainLatent).index(step), &vec![0; batch], &device)?;
        mark();
        let images = generator.forward(&z, &weights)?;
        mark();
        let features = encoder.forward(&images)?;
        mark();
        let mut loss = Tensor::zeros((), candle_core::DType::F32, &device)?;
        for (features, targets) in features.iter().zip(&targets) {
            loss = (loss + ops::moment_loss(features, targets)?)?;
        }
        mark();
        let gradients = loss.backward()?;
        mark();
        for (score, moments) in scores.iter().zip(&mut moments) {
            let gradient = gradients.get(score).ok_or("a layer without a gradient")?;
            adam.update(score, gradient, moments, step)?;
        }
        mark();
        drop((weights, images, features, loss, gradients));
        mark();
        if step > 2 {
            for (part, pair) in marks.windows(2).enumerate().take(PARTS.len()) {
                seconds[part].push((pair[1] - pair[0]).as_secs_f64());
            }
            seconds[PARTS.len()].push((marks[marks.len() - 1] - marks[0]).as_secs_f64());
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let medians: Vec<f64> = seconds.into_iter().map(median).collect();
    let parts: Vec<String> = PARTS.iter().zip(&medians).map(|(name, s)| format!("\"{name}\": {s:.5}")).collect();
    println!(
        "{{\"ngf\": {ngf}, \"batch\": {batch}, \"threads\": {}, {}, \"s_per_step\": {:.5}}}",
        rayon::current_num_threads(),
        parts.join(", "),
        medians[PARTS.len()]
    );
    Ok(())
}

fn measure(features: &Tensor) -> candle_core::Result<MomentTargets> {
    let features = features.flatten_from(1)?;
    let variance = features.var(0)?.unsqueeze(0)?;
    let scale = variance.mean_keepdim(1)?;
    Ok(MomentTargets { mean: features.mean(0)?.unsqueeze(0)?, variance, scale })
}

fn flag(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).and_then(|value| value.parse().ok()).unwrap_or(default)
}
