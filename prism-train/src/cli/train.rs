//! `prism-train`: a run from its flags to the paths that it prints.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args};
use prism_nn::{Error, Result};

use crate::federation::Regime;
use crate::memory;
use crate::run::{self, Outcome, Start, interrupt};
use crate::settings::Settings;

/// Flags of a training run that are not settings of it.
#[derive(Args)]
pub struct TrainArgs {
    /// Read settings from a TOML file; flags win over it
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// Go on with the run in this folder, to the very bytes that it would have reached uninterrupted
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Begin a new run on the moments that the run in this folder has drawn, in place of drawing again: other generators, trainings
    /// or --components under the one promise. Images, clients, encoder, styles and privacy must be the same
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    moments_from: Option<PathBuf>,
    /// Print no progress
    #[arg(long, short)]
    quiet: bool,
    /// Print the outcome as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    _settings: Settings,
}

/// Trains, then prints where everything is and what to try next.
pub fn run(args: &TrainArgs, matches: &ArgMatches) -> Result<ExitCode> {
    let (settings, start) = match &args.resume {
        None => {
            let start = args.moments_from.clone().map_or(Start::New, Start::MomentsOf);
            (Settings::resolve(matches, args.config.as_deref())?, start)
        }
        Some(folder) => {
            // Checked before the settings are read, so that a wrong folder is called that and not a missing file.
            let saved = run::RunFolder::settings_of(folder)?;
            (Settings::resume(matches, &saved)?, Start::Resume(folder.clone()))
        }
    };
    // Before the first thread starts, since their number is one of the settings.
    settings.validate()?;
    super::leave_parallelism_to_kernels();
    match settings.federation {
        Regime::Rounds => memory::return_large_buffers(),
        // A server that trains alone has one client's worth of everything.
        Regime::OneShot => memory::keep_buffers(),
    }
    // Export and pictures compute on the global pool; it may have been set up already where this runs as a library.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(settings.threads).build_global();
    interrupt::listen()?;
    let outcome = run::train(&settings, &start, args.quiet)?;
    print(&outcome, args)?;
    Ok(ExitCode::from(if outcome.interrupted { interrupt::EXIT_CODE } else { 0 }))
}

fn print(outcome: &Outcome, args: &TrainArgs) -> Result<()> {
    if args.json {
        let line = serde_json::to_string(outcome).map_err(|e| Error::usage(format!("no JSON can be written: {e}")))?;
        prism_core::outln!("{line}");
        return Ok(());
    }
    let run = outcome.run.display();
    let (Some(model), Some(samples), Some(bytes)) = (&outcome.model, &outcome.samples, outcome.model_bytes) else {
        prism_core::errln!("stopped after round {}; go on with: prism-train --resume {run}", outcome.round);
        prism_core::outln!("{run}");
        return Ok(());
    };
    prism_core::outln!("{}", samples.display());
    if !args.quiet {
        let what = if outcome.dense { " of dense weights, a baseline that has no artifact" } else { "" };
        prism_core::errln!("model    {} ({bytes} bytes{what})", model.display());
        prism_core::errln!("{}", outcome.traffic);
        prism_core::errln!("time     {}", outcome.phases);
        match outcome.dense {
            true => prism_core::errln!("next     cargo run --release --bin prism-train -- eval {run}"),
            false => {
                prism_core::errln!(
                    "next     cargo run --release --bin prism-infer -- --n 64 --model {}",
                    model.display()
                )
            }
        }
    }
    Ok(())
}
