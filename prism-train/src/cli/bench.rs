//! `prism-train bench`: times one local training step.

use std::process::ExitCode;

use clap::Args;
use prism_nn::{Error, Result};

use crate::bench::{Bench, Measurement};

/// Flags of `prism-train bench`.
#[derive(Args)]
pub struct BenchArgs {
    #[command(flatten)]
    bench: Bench,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// Times the step and prints what was measured.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    args.bench.validate()?;
    super::leave_parallelism_to_kernels();
    let threads = args.bench.threads;
    // Where this runs as a library, the pool may have been set up already.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    let measured = args.bench.run()?;
    match args.json {
        true => prism_core::outln!("{}", json(&measured)?),
        false => prism_core::outln!("{}", line(&measured)),
    }
    Ok(ExitCode::SUCCESS)
}

fn json(measured: &Measurement) -> Result<String> {
    serde_json::to_string(measured).map_err(|e| Error::usage(format!("no JSON can be written: {e}")))
}

fn line(Measurement { machine, speed, peak_mib, .. }: &Measurement) -> String {
    let of_peak = match (speed.done_gflops, speed.peak_gflops) {
        (Some(done), Some(peak)) => format!(", {done:.0} done of a peak of {peak:.0} ({})", machine.instructions),
        _ => String::new(),
    };
    let memory = peak_mib.map_or(String::new(), |mib| format!(", peak memory {mib:.0} MiB"));
    format!(
        "{:.4} s a step, {:.1} images/s; {:.0} GFLOP/s of direct convolution{of_peak}{memory}",
        speed.s_per_step, speed.images_per_s, speed.direct_gflops
    )
}
