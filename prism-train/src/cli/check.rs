//! `prism-train check`: what a data set holds and what a run on it would take, before there is one.

use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use prism_fl::Result;

use crate::run;
use crate::settings::{Settings, flags};

/// What the command is called.
pub const NAME: &str = "check";

/// Flags of a training run that say nothing here.
const OF_RUNS: [&str; 7] = ["resume", "out", "moments-from", "dp-ledger", "skip-broken", "quiet", "json"];

/// The command, which takes the settings of a run.
pub fn command() -> Command {
    let settings = flags::arguments().filter(|flag| !OF_RUNS.contains(&flag.get_id().as_str()));
    Command::new(NAME)
        .about("Show what a data set holds and what a run on it would take; takes a run's settings")
        .override_usage("prism-train check --data-dir DIR [--sheet FILE.png] [SETTINGS]")
        .args_override_self(true)
        .arg(
            Arg::new("sheet")
                .long("sheet")
                .value_name("FILE.png")
                .default_value("contact-sheet.png")
                .help("Picture of the first images of each class"),
        )
        .args(settings)
}

/// Prints what was found.
pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let text = |flag: &str| matches.get_one::<String>(flag).map(String::as_str);
    let settings = Settings::resolve(&flags::given(matches), text("recipe"), text("config").map(Path::new))?;
    settings.validate()?;
    super::leave_parallelism_to_kernels();
    // Where this runs as a library, the pool may have been set up already.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(settings.run.threads).build_global();
    let sheet = Path::new(text("sheet").unwrap_or("contact-sheet.png"));
    run::check(&settings, sheet)?.iter().for_each(|line| prism_core::outln!("{}", flags::spell_of_run(line)));
    Ok(ExitCode::SUCCESS)
}
