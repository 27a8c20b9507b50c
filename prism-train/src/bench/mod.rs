//! Times a local training step on random data: latents, masks, generator, encoder, moment loss, gradients, Adam.

mod memory;

use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use clap::Args;
use prism_core::Architecture;
use prism_core::simd::Isa;
use prism_core::stream::{Purpose, StreamId};
use prism_fl::optimiser::OptimiserState;
use prism_nn::adam::Adam;
use prism_nn::cpu::peak;
use prism_nn::encoder::vgg::Vgg;
use prism_nn::encoder::{Encoder, EncoderLayout, precision, random};
use prism_nn::generator::{Generator, latents};
use prism_nn::ops::MomentTargets;
use prism_nn::step::{LossAndGradients, TrainingStep};
use prism_nn::{Error, Result, device};
use serde::Serialize;

use crate::settings::check_threads;

/// Steps before the first that is timed: they make the memory that later ones reuse.
const WARM_UP: u64 = 2;
/// How long the peak is measured, before and after the steps.
const PEAK_TIME: Duration = Duration::from_millis(150);
/// Where the first steps of a quick look took longer than this, they are all.
const QUICK_TIME: Duration = Duration::from_secs(2);

/// What to time.
#[derive(Args, Clone, Debug)]
pub struct Bench {
    /// Base width of the generator
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub ngf: usize,
    /// Images of a step
    #[arg(long, visible_alias = "batch-size", value_name = "N", default_value_t = 64)]
    pub batch: usize,
    /// Side of the images in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 32)]
    pub image_size: usize,
    /// 1 for grey, 3 for colour
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub channels: usize,
    /// Length of the latent vector
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub latent: usize,
    /// Steps to time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub steps: u64,
    /// public, random:SEED, file:PATH; vgg16, vgg19 or a layout such as 32,M,64 for random weights of that shape
    #[arg(long, value_name = "NAME", default_value = "public")]
    pub encoder: String,
    /// Threads to use; 0 for one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Where to compute: auto, cpu or cuda:N
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub device: String,
}

/// What was measured. The fields of its groups stand side by side in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// Where the step ran.
    #[serde(flatten)]
    pub machine: Machine,
    /// Base width of the generator.
    pub ngf: usize,
    /// Images of a step.
    pub batch: usize,
    /// The encoder.
    pub encoder: String,
    /// How fast it was.
    #[serde(flatten)]
    pub speed: Speed,
    /// The most memory that this process has held, in MiB; `null` where the system does not say.
    pub peak_mib: Option<f64>,
}

/// Where a step ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// `cpu` or `cuda`.
    pub device: &'static str,
    /// The CPU's instruction set that kernels run on.
    pub instructions: String,
    /// Threads on the CPU.
    pub threads: usize,
}

/// What an estimate of a run is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quick {
    /// Seconds of a step.
    pub s_per_step: f64,
    /// Seconds in which the encoder sees an image.
    pub s_per_image: f64,
    /// By how much a step raised the most memory that this process has held; none where the system does not say.
    pub work_bytes: Option<u64>,
}

/// How fast a step was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Median seconds of a step.
    pub s_per_step: f64,
    /// Images a second at that median.
    pub images_per_s: f64,
    /// Billions of floating-point operations a second, of convolutions as they are defined.
    pub direct_gflops: f64,
    /// The same of the products that are really computed; `null` on a GPU.
    pub done_gflops: Option<f64>,
    /// The CPU's measured peak on as many threads; `null` on a GPU.
    pub peak_gflops: Option<f64>,
}

impl Bench {
    /// Refuses numbers outside their limits.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] naming the flag, its value and its limit.
    pub fn validate(&self) -> Result<()> {
        if !(2..=65536).contains(&self.batch) {
            return Err(Error::usage(format!(
                "--batch is {}; choose 2 to 65536, since a variance needs two images",
                self.batch
            )));
        }
        check_threads(self.threads)
    }

    /// Times the step.
    ///
    /// # Errors
    /// If a size, the encoder or the device is refused, or the computation fails.
    pub fn run(&self) -> Result<Measurement> {
        let (step, device) = self.open()?;
        let before = peak_of(&device);
        let seconds = self.time(&step, &device)?;
        let peak_gflops = before.zip(peak_of(&device)).map(|(before, after)| before.max(after));
        let work = step.work(self.batch);
        let rate = |operations: u64| operations as f64 / seconds / 1e9;
        let machine = Machine {
            device: device::name(&device),
            instructions: format!("{:?}", Isa::detect()).to_lowercase(),
            threads: rayon::current_num_threads(),
        };
        let speed = Speed {
            s_per_step: seconds,
            images_per_s: self.batch as f64 / seconds,
            direct_gflops: rate(work.direct),
            done_gflops: device.is_cpu().then(|| rate(work.products)),
            peak_gflops,
        };
        let (ngf, batch, encoder) = (self.ngf, self.batch, self.encoder.clone());
        Ok(Measurement { machine, ngf, batch, encoder, speed, peak_mib: memory::peak_mib() })
    }

    /// The encoder asked for; by layout alone, one of random weights.
    fn encoder(&self, device: &Device) -> Result<Encoder> {
        let name = self.encoder.as_str();
        let plain = name.strip_prefix(precision::PREFIX).unwrap_or(name);
        let layout = match (Vgg::named(plain), plain.parse::<EncoderLayout>()) {
            (Some(vgg), _) => vgg.layout(),
            (None, Ok(layout)) => layout,
            (None, Err(_)) => return Encoder::open(name, device),
        };
        let weights = random::kaiming(&layout, 0);
        let encoder = Encoder::from_weights(plain, layout, &weights, None, device)?;
        if plain == name { Ok(encoder) } else { encoder.with_bf16() }
    }

    /// Median seconds of a step.
    fn time(&self, step: &TrainingStep, device: &Device) -> Result<f64> {
        let arch = step.generator().arch();
        let targets = self.targets(step, device)?;
        let scores = step.generator().initial_scores()?;
        let (adam, mut state) = (Adam::new(0.1), OptimiserState::new(arch, device)?);
        let labels = vec![0; self.batch];
        let mut seconds = Vec::new();
        for number in 0..WARM_UP + self.steps {
            let begun = Instant::now();
            let stream = |purpose| StreamId::new(0, purpose).index(number);
            let z = latents(arch, stream(Purpose::TrainLatent), &labels, device)?;
            let LossAndGradients { gradients, .. } = step.run(&scores, &z, stream(Purpose::TrainMask), &targets)?;
            state.step(&adam, &scores, &gradients)?;
            device.synchronize()?;
            drop(gradients);
            seconds.push(begun.elapsed().as_secs_f64());
        }
        Ok(median(seconds.split_off(WARM_UP as usize)))
    }

    /// The step, and the measuring of an image, timed in a few seconds.
    ///
    /// # Errors
    /// As for [`Bench::run`].
    pub fn quick(&self) -> Result<Quick> {
        let (step, device) = self.open()?;
        let before = memory::peak_mib();
        // The first step makes the memory that the others reuse.
        let first = Bench { steps: 1, ..self.clone() };
        let begun = Instant::now();
        let mut s_per_step = first.time(&step, &device)?;
        if begun.elapsed() < QUICK_TIME {
            s_per_step = self.time(&step, &device)?;
        }
        let begun = Instant::now();
        self.targets(&step, &device)?;
        let s_per_image = begun.elapsed().as_secs_f64() / self.batch as f64;
        let grown = |(before, after): (f64, f64)| ((after - before) * f64::from(1 << 20)) as u64;
        let work_bytes = before.zip(memory::peak_mib()).map(grown);
        Ok(Quick { s_per_step, s_per_image, work_bytes })
    }

    fn open(&self) -> Result<(TrainingStep, Device)> {
        self.validate()?;
        let device = device::open(&self.device)?;
        let arch = Architecture {
            image_size: self.image_size,
            channels: self.channels,
            ngf: self.ngf,
            latent: self.latent,
            classes: 0,
            label_scale: 1.0,
        };
        Ok((TrainingStep::new(Generator::new(&arch, 0, &device)?, self.encoder(&device)?)?, device))
    }

    /// The feature moments of random images.
    fn targets(&self, step: &TrainingStep, device: &Device) -> Result<Vec<MomentTargets>> {
        let (channels, side) = (self.channels, self.image_size);
        let mut images = vec![0.0; self.batch * channels * side * side];
        StreamId::new(0, Purpose::Test).open().fill_normal(&mut images);
        let images = Tensor::from_vec(images, (self.batch, channels, side, side), device)?.tanh()?;
        let measure = |features: &Tensor| -> candle_core::Result<MomentTargets> {
            let features = features.flatten_from(1)?;
            let variance = features.var(0)?.unsqueeze(0)?;
            let scale = (variance.mean_keepdim(1)? + 1e-8)?;
            Ok(MomentTargets::new(features.mean(0)?.unsqueeze(0)?, variance, scale))
        };
        Ok(step.encoder().forward(&images)?.iter().map(measure).collect::<candle_core::Result<_>>()?)
    }
}

/// The CPU's peak; of a GPU, nothing.
fn peak_of(device: &Device) -> Option<f64> {
    device.is_cpu().then(|| peak::gflops(Isa::detect(), PEAK_TIME))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(encoder: &str) -> Bench {
        Bench {
            ngf: 4,
            batch: 2,
            image_size: 16,
            channels: 1,
            latent: 8,
            steps: 1,
            encoder: encoder.into(),
            threads: 0,
            device: "cpu".into(),
        }
    }

    #[test]
    fn every_kind_of_encoder_is_timed() {
        for encoder in ["public", "random:3", "8,M,8"] {
            let speed = bench(encoder).run().unwrap().speed;
            assert!(speed.s_per_step > 0.0 && speed.direct_gflops > 0.0, "{speed:?}");
            assert!(speed.peak_gflops.is_some());
        }
    }

    #[test]
    fn a_quick_look_says_what_an_estimate_needs() {
        let quick = bench("8,M,8").quick().unwrap();
        assert!(quick.s_per_step > 0.0 && quick.s_per_image > 0.0, "{quick:?}");
        assert_eq!(quick.work_bytes.is_some(), memory::peak_mib().is_some());
    }

    #[test]
    fn what_cannot_be_timed_is_the_users_mistake() {
        assert_eq!(bench("resnet").run().unwrap_err().exit_code(), 2);
        for batch in [0, 1, 65537, usize::MAX] {
            assert_eq!(Bench { batch, ..bench("public") }.run().unwrap_err().exit_code(), 2, "{batch}");
        }
        assert_eq!(Bench { threads: 3000, ..bench("public") }.run().unwrap_err().exit_code(), 2);
        assert_eq!(Bench { image_size: 17, ..bench("public") }.run().unwrap_err().exit_code(), 2);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
