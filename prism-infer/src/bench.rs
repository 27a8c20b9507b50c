//! The command `bench`: how long an image takes, on one line.

use std::num::NonZeroUsize;
use std::time::Instant;

use prism_core::frozen::sign_bytes;
use prism_core::mixture::component_of_image;
use prism_core::sampler::{FoldedNorm, Isa, Mixture, Model};
use prism_core::{Architecture, Error, Mask, Result, latent, mask};
use serde::Serialize;

use crate::cli::{BenchFlags, PrecisionName};
use crate::model;
use crate::output::no_json;
use crate::plan::MAX_ARRAY;

/// Most runs.
const MAX_RUNS: usize = 1_000_000;

/// What was measured.
#[derive(Serialize)]
struct Report {
    ms_per_image: f64,
    /// The fastest of the runs.
    ms_per_image_least: f64,
    batch: usize,
    threads: usize,
    precision: PrecisionName,
    instruction_set: String,
    ngf: usize,
    image_size: usize,
    channels: usize,
    latent: usize,
    runs: usize,
}

/// A generator with random weights, of which half are kept: what it draws means nothing, how long it takes does.
struct Synthetic {
    arch: Architecture,
    mask: Mask,
    norms: Vec<FoldedNorm>,
}

impl Synthetic {
    fn new(flags: &BenchFlags) -> Result<Self> {
        let arch = Architecture {
            image_size: flags.image_size,
            channels: flags.channels,
            ngf: flags.ngf,
            latent: flags.latent,
            classes: 0,
            label_scale: 1.0,
        };
        arch.validate()?;
        // The signs of another seed serve as its mask; what a last byte has to spare is cut off.
        let bits = |(i, n): (usize, usize)| {
            let mut bits = mask::LayerBits::from_vec(sign_bytes(1, i, n));
            bits.truncate(n);
            bits
        };
        let mask = Mask::new(arch.layers().iter().map(|layer| layer.weights()).enumerate().map(bits).collect());
        let norm = |channels| FoldedNorm { scale: vec![2.0; channels], shift: vec![0.1; channels] };
        let norms = arch.norms().iter().map(|n| norm(n.channels)).collect();
        Ok(Synthetic { arch, mask, norms })
    }
}

/// Measures what `flags` ask for.
///
/// # Errors
/// If the model cannot be read, the sizes are outside their limits, or there is no standard output.
pub fn bench(flags: &BenchFlags) -> Result<()> {
    let precision = flags.precision.into();
    let (sampler, label) = match &flags.model {
        Some(path) => {
            let artifact = model::load(Some(path))?.artifact;
            (Mixture::with(&artifact.models(), precision, Isa::detect()), path.display().to_string())
        }
        None => {
            let synthetic = Synthetic::new(flags)?;
            let model = Model::new(&synthetic.arch, 0, &synthetic.mask, &synthetic.norms)?;
            (Mixture::with(&[model], precision, Isa::detect()), "random weights".into())
        }
    };
    let threads = flags.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let report = measure(flags, &sampler, threads)?;
    let text = match flags.json {
        true => serde_json::to_string(&report).map_err(no_json)?,
        false => format!(
            "{:.3} ms an image ({label}, batch {}, {} threads, {} on {}; median of {} runs)",
            report.ms_per_image, report.batch, report.threads, report.precision, report.instruction_set, report.runs
        ),
    };
    prism_core::outln!("{text}");
    Ok(())
}

/// Refuses more runs than anybody waits for, and batches whose numbers fill the memory.
fn check(flags: &BenchFlags, arch: &Architecture) -> Result<()> {
    let (runs, batch) = (flags.runs.get(), flags.batch.get());
    if runs > MAX_RUNS {
        return Err(Error::usage(format!("--runs is {runs}; choose 1 to {MAX_RUNS}, such as 15")));
    }
    let most = MAX_ARRAY / arch.pixels().max(arch.inputs()) as u64;
    if batch as u64 > most {
        return Err(Error::usage(format!(
            "--batch is {batch}; choose 1 to {most} for images of this size, such as 64"
        )));
    }
    Ok(())
}

fn measure(flags: &BenchFlags, sampler: &Mixture, threads: NonZeroUsize) -> Result<Report> {
    let arch = sampler.arch();
    check(flags, arch)?;
    let input = |k| latent::input(arch, &latent::latent(arch, 0, k), latent::default_label(arch, k));
    let inputs = (0..flags.batch.get() as u64).map(input).collect::<Result<Vec<_>>>()?.concat();
    let images = 0..flags.batch.get() as u64;
    let components: Vec<usize> = images.map(|k| component_of_image(sampler.components(), 0, k)).collect();
    let mut times = Vec::new();
    for run in 0..flags.runs.get() + WARM_UP {
        let start = Instant::now();
        std::hint::black_box(sampler.images(std::hint::black_box(&inputs), &components, threads));
        if run >= WARM_UP {
            times.push(start.elapsed().as_secs_f64() * 1e3 / flags.batch.get() as f64);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(Report {
        ms_per_image: times[times.len() / 2],
        ms_per_image_least: times[0],
        batch: flags.batch.get(),
        threads: threads.get(),
        precision: flags.precision,
        instruction_set: format!("{:?}", Isa::detect()),
        ngf: arch.ngf,
        image_size: arch.image_size,
        channels: arch.channels,
        latent: arch.latent,
        runs: times.len(),
    })
}

/// Runs that are not counted: they set memory aside and wake the processor.
const WARM_UP: usize = 3;
