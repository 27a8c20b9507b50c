//! `prism-train`: a run from its flags to the paths that it prints.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ArgMatches;
use prism_core::console;
use prism_export::RunFolder;
use prism_fl::settings::TrainingMode;
use prism_fl::{Error, Result};

use crate::memory;
use crate::run::{self, Exported, Launch, Outcome, Start, interrupt};
use crate::settings::Settings;
use crate::settings::flags;
use crate::units::bytes;

/// Trains, then prints where everything is and what to try next.
pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let text = |flag: &str| matches.get_one::<String>(flag);
    let path = |flag: &str| text(flag).map(PathBuf::from);
    let given = flags::given(matches);
    let (settings, start) = match path("resume") {
        None => {
            let start = path("moments-from").map_or(Start::New, Start::MomentsOf);
            let (recipe, config) = (text("recipe").map(String::as_str), text("config").map(Path::new));
            (Settings::resolve(&given, recipe, config)?, start)
        }
        Some(folder) => {
            // Checked before the settings are read, so that a wrong folder is called that and not a missing file.
            let saved = RunFolder::open(&folder)?.settings();
            (Settings::resume(&given, &saved)?, Start::Resume(folder))
        }
    };
    if settings.privacy.epsilon.is_none() {
        let flag = ["dp-total-epsilon", "dp-ledger"].into_iter().find(|flag| text(flag).is_some());
        if let Some(flag) = flag {
            let why = "is about noise, and without --dp-epsilon there is none: nothing would be protected";
            return Err(Error::usage(format!("--{flag} {why}; give --dp-epsilon, or leave --{flag} out")));
        }
    }
    // Before the first thread starts, since their number is one of the settings.
    settings.validate()?;
    super::leave_parallelism_to_kernels();
    match settings.federation.mode {
        TrainingMode::Rounds => memory::return_large_buffers(),
        // A server that trains alone has one client's worth of everything.
        TrainingMode::OneShot => memory::keep_buffers(),
    }
    // Export and pictures compute on the global pool; it may have been set up already where this runs as a library.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(settings.run.threads).build_global();
    interrupt::listen()?;
    let quiet = matches.get_flag("quiet");
    let (out, ledger, skip_broken) = (path("out"), path("dp-ledger"), matches.get_flag("skip-broken"));
    let total_epsilon = text("dp-total-epsilon").map(|text| flags::total_epsilon(text)).transpose()?;
    let outcome = run::train(&settings, &Launch { start, out, ledger, total_epsilon, skip_broken, quiet })?;
    match matches.get_flag("json") {
        true => print_json(&outcome)?,
        false => print(&outcome, quiet),
    }
    Ok(ExitCode::from(if outcome.interrupted { interrupt::EXIT_CODE } else { 0 }))
}

fn print_json(outcome: &Outcome) -> Result<()> {
    let line = serde_json::to_string(outcome).map_err(|e| Error::usage(format!("no JSON can be written: {e}")))?;
    prism_core::outln!("{line}");
    Ok(())
}

fn print(outcome: &Outcome, quiet: bool) {
    let run = outcome.run.display();
    let (train, infer) = (console::command("prism-train"), console::command("prism-infer"));
    let Some(Exported { model, samples, model_bytes }) = &outcome.export else {
        prism_core::errln!("stopped after round {}; go on with: {train} --resume {run}", outcome.round);
        prism_core::outln!("{run}");
        return;
    };
    prism_core::outln!("{}", samples.display());
    if quiet {
        return;
    }
    let what = if outcome.dense { " of dense weights, a baseline that has no artifact" } else { "" };
    prism_core::errln!("model    {} ({}{what})", model.display(), bytes(*model_bytes as f64));
    if outcome.trained > 0 {
        prism_core::errln!("{}", outcome.traffic);
        prism_core::errln!("time     {}", outcome.phases);
    } else {
        let round = outcome.round;
        prism_core::errln!(
            "{run} had finished all of its {round} rounds, so nothing was trained; for more of them: {train} --resume {run} \
             --rounds {}",
            2 * round
        );
    }
    match outcome.dense {
        true => prism_core::errln!("next     {train} eval {run}"),
        false => {
            prism_core::errln!("next     {infer} -n 64 {}", model.display())
        }
    }
}
