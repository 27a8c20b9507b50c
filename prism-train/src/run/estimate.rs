//! What a run would take on this machine, before there is one: a few local steps are timed on random images.

use prism_data::Dataset;
use prism_fl::settings::{TrainingMode, UpdateCodec};
use prism_fl::{Result, RunContext};

use crate::bench::{Bench, Quick};
use crate::settings::Settings;
use crate::units::{bytes, estimate};

/// What `settings` would take with the training images `set`, in lines.
///
/// # Errors
/// If a step cannot be computed.
pub fn lines(settings: &Settings, set: &Dataset, context: &RunContext) -> Result<Vec<String>> {
    let (weights, components) = (context.architecture().weights(), settings.model.components);
    let mask = (weights * components).div_ceil(8);
    let several = if components > 1 { "s" } else { "" };
    Ok(vec![
        format!("model: at most {} ({weights} weights, {components} generator{several})", bytes(mask as f64)),
        format!("sent: {}", sent(settings, weights)),
        on_this_machine(settings, set, weights)?,
    ])
}

/// Time and memory.
fn on_this_machine(settings: &Settings, set: &Dataset, weights: usize) -> Result<String> {
    let (model, training, federation) = (&settings.model, &settings.training, &settings.federation);
    let bench = Bench {
        ngf: model.ngf,
        batch: training.batch_size,
        image_size: model.image_size,
        channels: set.channels(),
        latent: model.latent,
        steps: 3,
        encoder: training.encoder.clone(),
        threads: settings.run.threads,
        device: settings.run.device.clone(),
    };
    let Quick { s_per_step, s_per_image, work_bytes } = bench.quick()?;
    let (trained, at_once) = match federation.mode {
        TrainingMode::OneShot => (components(settings), 1),
        TrainingMode::Rounds => (u64::from(federation.cohort_size()), side_by_side(settings)),
    };
    let steps = u64::from(federation.rounds) * trained * federation.local_steps;
    let measuring = s_per_image * set.len() as f64;
    // Scores and both moments of Adam.
    let state = 3 * 4 * weights as u64;
    let pixels = (set.len() * set.pixels_per_image()) as u64;
    let memory = pixels + at_once * (work_bytes.unwrap_or(0) + state);
    let unknown = if work_bytes.is_none() { ", without the work of a step" } else { "" };
    Ok(format!(
        "on this machine, as busy as it is: about {} for {steps} local steps, after {} for measuring the images; about {} of \
         memory{unknown}",
        estimate(s_per_step * steps as f64),
        estimate(measuring),
        bytes(memory as f64)
    ))
}

fn components(settings: &Settings) -> u64 {
    settings.model.components as u64
}

/// Clients that train at the same time.
fn side_by_side(settings: &Settings) -> u64 {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if settings.run.threads == 0 { cores() } else { settings.run.threads };
    (threads as u64).min(settings.federation.cohort_size().into())
}

/// What would cross the wire.
fn sent(settings: &Settings, weights: usize) -> String {
    let federation = &settings.federation;
    if federation.mode == TrainingMode::OneShot {
        let most = match settings.privacy.epsilon {
            None => format!(", of at most {}", bytes(settings.wire.message_size.bytes() as f64)),
            Some(_) => String::new(),
        };
        return format!("one message of moments up a client{most}, and nothing after it");
    }
    let clients = federation.cohort_size();
    let messages = f64::from(clients) * f64::from(federation.rounds);
    let [up, down] = bits(settings).map(|bits| bits * weights as f64 / 8.0);
    format!(
        "about {} up and {} down a client and round, {} in {} rounds of {clients} clients",
        bytes(up),
        bytes(down),
        bytes(messages * (up + down)),
        federation.rounds
    )
}

/// Bits a weight and client, up and down, as they were measured with handwritten digits.
fn bits(settings: &Settings) -> [f64; 2] {
    let clients = f64::from(settings.federation.cohort_size());
    // Sums of more clients take more values.
    let sums = 0.36 + 0.25 * libm::log2(clients);
    let [up, down] = match settings.wire.codec {
        UpdateCodec::Flips => [0.24, sums],
        UpdateCodec::Raw => [1.0, 32.0],
        UpdateCodec::Mrc => [0.02, 0.019 * clients],
        UpdateCodec::Sums => [libm::ceil(libm::log2(clients + 1.0)), sums],
    };
    // What crosses as scores has 32 bits.
    let share = settings.wire.alpha;
    [up, down].map(|bits| share * 32.0 + (1.0 - share) * bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crosses_is_close_to_what_was_measured() {
        let mut settings = Settings::default();
        settings.federation.clients = 10;
        for (codec, measured) in [
            (UpdateCodec::Flips, [0.24, 1.2]),
            (UpdateCodec::Raw, [1.0, 32.0]),
            (UpdateCodec::Mrc, [0.02, 0.19]),
            (UpdateCodec::Sums, [4.0, 1.2]),
        ] {
            settings.wire.codec = codec;
            for (bits, measured) in bits(&settings).into_iter().zip(measured) {
                assert!((bits / measured - 1.0).abs() < 0.05, "{codec}: {bits} beside {measured}");
            }
        }
        assert!(sent(&settings, 80_000).contains("a client and round"));
        settings.federation.mode = TrainingMode::OneShot;
        assert!(sent(&settings, 80_000).contains("one message of moments up a client, of at most 2.0 MB"));
    }
}
