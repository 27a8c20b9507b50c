//! What messages of moments lose at each size: ten clients, each of an even tenth of a data set, eight subclasses a class.
//!
//! ```sh
//! cargo run --release -p prism-fl --example message_size -- mnist DIR
//! ```
//!
//! The error is what rounding adds to the loss: over all layers the mean over groups and features of the squared difference of
//! means in units of the group's variance v, plus that of variances in units of v squared. First by one client's own moments,
//! then by those of all ten together, which are what a server trains on. Most of what rounding drops is chance of the very
//! images, so last how far those of all are from the moments of the test images, which no client has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use prism_data::{Dataset, LoadOptions, Source, Split};
use prism_fl::moments::statistics::{GroupStatistics, Statistics, measure};
use prism_fl::{Agreement, ClientData, DataDescription, Error, Randomness, Result, RunContext, Settings};

const CLIENTS: usize = 10;
const MEGABYTES: [f64; 6] = [16.0, 8.0, 4.0, 2.0, 1.0, 0.5];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let source: Source = arguments.next().ok_or_else(|| Error::usage("name a data set, such as mnist"))?.parse()?;
    let data_dir = arguments.next().map(PathBuf::from);
    let load = |split| -> Result<Arc<Dataset>> {
        let options = LoadOptions { image_size: 32, data_dir: data_dir.clone(), split, ..LoadOptions::default() };
        Ok(Arc::new(prism_data::load(source, &options)?))
    };
    let (images, test) = (load(Split::Train)?, load(Split::Test)?);
    let context = context(&images)?;
    let members = |client: usize| (client..images.len()).step_by(CLIENTS).collect();
    let clients: Vec<ClientData> =
        (0..CLIENTS).map(|client| ClientData { members: members(client), dataset: images.clone() }).collect();
    let test = ClientData { members: (0..test.len()).collect(), dataset: test };
    let (exact, test) = measure_all(&context, &clients, &test)?;
    let numbers: usize = exact[0].values().flatten().map(|layer| 2 * layer.mean.len()).sum();
    println!("{} images in {} groups, {} bytes as f32", clients[0].members.len(), exact[0].len(), 4 * numbers);
    let together = add_up(&exact);
    println!("moments of one client from those of all {:.4}", error(&together, &exact[0]));
    println!("moments of all from those of test images {:.4}", error(&test, &together));

    let form = context.moments_form()?;
    for most in MEGABYTES {
        let begun = Instant::now();
        let encode = |own: &GroupStatistics| Ok(form.encode(own.clone(), (most * 1e6) as u64)?);
        let messages = exact.iter().map(encode).collect::<Result<Vec<_>>>()?;
        let encoded = begun.elapsed().as_secs_f64();
        let found = messages.iter().map(|message| Ok(form.decode(message)?)).collect::<Result<Vec<_>>>()?;
        let seconds = [encoded, begun.elapsed().as_secs_f64() - encoded].map(|seconds| seconds / CLIENTS as f64);
        let sum = add_up(&found);
        println!(
            "{:>9} bytes  error of one {:.4}, of all {:.4}, from test images {:.4}  coded in {:.1} s, read in {:.1} s",
            messages[0].len(),
            error(&exact[0], &found[0]),
            error(&together, &sum),
            error(&test, &sum),
            seconds[0],
            seconds[1]
        );
    }
    Ok(())
}

fn context(images: &Dataset) -> Result<Arc<RunContext>> {
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
    Ok(RunContext::new(Agreement { settings, data }, Device::Cpu, Randomness::Seed)?)
}

/// The moments of each client, and those of `test` by the same thresholds.
fn measure_all(
    context: &RunContext,
    clients: &[ClientData],
    test: &ClientData,
) -> Result<(Vec<GroupStatistics>, GroupStatistics)> {
    let histograms = context.histograms().ok_or_else(|| Error::usage("there are no subclasses"))?;
    let mut sum = histograms.empty();
    for client in clients {
        sum.add(&histograms.message(client)?)?;
    }
    let thresholds = histograms.thresholds(sum);
    let of = |data: &ClientData| -> Result<GroupStatistics> {
        Ok(measure(context.encoder(), data, &context.strata(data, &thresholds)?, context.device(), &())?)
    };
    Ok((clients.iter().map(of).collect::<Result<_>>()?, of(test)?))
}

fn add_up(clients: &[GroupStatistics]) -> GroupStatistics {
    let mut all = GroupStatistics::new();
    for (&group, layers) in clients.iter().flatten() {
        let sums = all.entry(group).or_insert_with(|| vec![Statistics::default(); layers.len()]);
        sums.iter_mut().zip(layers).for_each(|(sum, layer)| sum.merge(layer));
    }
    all.values_mut().flatten().for_each(Statistics::clip_variance);
    all
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
