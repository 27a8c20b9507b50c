//! What a client's message of moments loses at each size: one client of an even tenth of a data set, eight subclasses a class.
//!
//! ```sh
//! cargo run --release -p prism-fl --example message_size -- mnist DIR
//! ```
//!
//! The error is what rounding adds to the loss of the client's own moments: over all layers the mean over groups and features of
//! the squared difference of means in units of the group's variance v, plus that of variances in units of v squared.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use prism_data::{LoadOptions, Source};
use prism_fl::moments::statistics::{GroupStatistics, Statistics, measure};
use prism_fl::{Agreement, ClientData, DataDescription, Error, Randomness, Result, RunContext, Settings};

const CLIENTS: usize = 10;
const MEGABYTES: [f64; 6] = [16.0, 8.0, 4.0, 2.0, 1.0, 0.5];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let source: Source = arguments.next().ok_or_else(|| Error::usage("name a data set, such as mnist"))?.parse()?;
    let data_dir = arguments.next().map(PathBuf::from);
    let images = prism_data::load(source, &LoadOptions { image_size: 32, data_dir, ..LoadOptions::default() })?;
    let data = DataDescription {
        name: images.name().into(),
        channels: images.channels(),
        class_names: images.class_names().to_vec(),
        images: images.len(),
        partition: "every tenth".into(),
    };
    let mut settings = Settings::default();
    settings.federation.mode = "one-shot".parse()?;
    settings.training.subclasses = 8;
    let context = RunContext::new(Agreement { settings, data }, Device::Cpu, Randomness::Seed)?;

    let client = ClientData { members: (0..images.len()).step_by(CLIENTS).collect(), dataset: Arc::new(images) };
    let histograms = context.histograms().ok_or_else(|| Error::usage("there are no subclasses"))?;
    let mut sum = histograms.empty();
    sum.add(&histograms.message(&client)?)?;
    let strata = context.strata(&client, &histograms.thresholds(sum))?;
    let exact = measure(context.encoder(), &client, &strata, context.device(), &())?;
    let numbers: usize = exact.values().flatten().map(|layer| 2 * layer.mean.len()).sum();
    println!("{} images in {} groups, {} bytes as f32", client.members.len(), exact.len(), 4 * numbers);

    let form = context.moments_form()?;
    for most in MEGABYTES {
        let begun = Instant::now();
        let message = form.encode(exact.clone(), (most * 1e6) as u64)?;
        let encoded = begun.elapsed().as_secs_f64();
        let found = form.decode(&message)?;
        let seconds = [encoded, begun.elapsed().as_secs_f64() - encoded];
        println!(
            "{:>9} bytes  error {:.4}  coded in {:.1} s, read in {:.1} s",
            message.len(),
            error(&exact, &found),
            seconds[0],
            seconds[1]
        );
    }
    Ok(())
}

fn error(exact: &GroupStatistics, found: &GroupStatistics) -> f64 {
    let squares = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / x.len() as f64
    };
    let of_layer = |(a, b): (&Statistics, &Statistics)| {
        let unit = a.mean_variance();
        // A layer that is dead on a group's images has no unit.
        if unit > 0.0 {
            squares(&a.mean, &b.mean) / unit + squares(&a.variance, &b.variance) / (unit * unit)
        } else {
            0.0
        }
    };
    let layers = exact.values().flatten().zip(found.values().flatten());
    layers.map(of_layer).sum::<f64>() / exact.len() as f64
}
