//! Times a training step on random data: masks, generator, encoder, moment loss, gradients, Adam.
//!
//! `cargo run --release -p prism-nn --example step -- --ngf 16 --batch 64 --threads 2`
//!
//! Prints one JSON line with the median seconds of a step, and of its parts: gradients and optimiser. `--composed 1` times
//! the composition of single operations instead of the fused step.

use std::time::Instant;

use candle_core::{Device, Tensor};
use prism_core::Architecture;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::adam::{Adam, Moments};
use prism_nn::encoder::Encoder;
use prism_nn::generator::{Generator, latents};
use prism_nn::ops::MomentTargets;
use prism_nn::step::TrainingStep;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = flag("--threads", 0);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let (ngf, batch, steps) = (flag("--ngf", 16), flag("--batch", 64), flag("--steps", 10));
    let composed = flag("--composed", 0) == 1;
    let arch = Architecture { image_size: 32, channels: 3, ngf, latent: 128, classes: 0, label_scale: 1.0 };
    let device = Device::Cpu;
    let step = TrainingStep::new(Generator::new(&arch, 0, &device)?, Encoder::open("random:0", &device)?)?;
    let scores = step.generator().initial_scores()?;
    let mut moments = scores.iter().map(|s| Moments::zeros_like(s)).collect::<Result<Vec<_>, _>>()?;
    let mut real = vec![0.0; batch * 3 * 32 * 32];
    StreamId::new(0, Purpose::Test).open().fill_normal(&mut real);
    let real = Tensor::from_vec(real, (batch, 3, 32, 32), &device)?.tanh()?;
    let targets = step.encoder().forward(&real)?.iter().map(measure).collect::<Result<Vec<_>, _>>()?;
    let adam = Adam::new(0.1);
    let mut seconds = [Vec::new(), Vec::new(), Vec::new()];
    for number in 1..=steps as u64 + 2 {
        let start = Instant::now();
        let masks = StreamId::new(0, Purpose::TrainMask).index(number);
        let z = latents(&arch, StreamId::new(0, Purpose::TrainLatent).index(number), &vec![0; batch], &device)?;
        let found = match composed {
            true => step.composed(&scores, &z, masks, &targets)?,
            false => step.run(&scores, &z, masks, &targets)?,
        };
        let middle = Instant::now();
        for ((score, gradient), moments) in scores.iter().zip(&found.gradients).zip(&mut moments) {
            adam.update(score, gradient, moments, number)?;
        }
        drop(found);
        let end = Instant::now();
        if number > 2 {
            let parts = [end - start, middle - start, end - middle];
            seconds.iter_mut().zip(parts).for_each(|(times, part)| times.push(part.as_secs_f64()));
        }
    }
    let [step, gradients, adam] = seconds.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "{{\"ngf\": {ngf}, \"batch\": {batch}, \"threads\": {}, \"fused\": {}, \"gradients\": {gradients:.5}, \
         \"adam\": {adam:.5}, \"s_per_step\": {step:.5}}}",
        rayon::current_num_threads(),
        !composed
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
