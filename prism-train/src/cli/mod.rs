//! The command line: what the flags mean, which command runs, and how its end is reported.

mod audit;
mod bench;
mod check;
mod encoder;
mod eval;
mod recipes;
mod report;
mod shell;
mod train;

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, Subcommand};
use prism_core::simd::Isa;

use crate::settings::flags;

const ABOUT: &str = "Train an image generator in a federation that agrees on a mask; --help explains every flag";
const LONG_ABOUT: &str = "Train an image generator in a federation that agrees on a mask, not on weights.\n\n\
    Without a command, trains: `prism-train` alone learns the embedded data set with ten clients in a few minutes.";

#[derive(Subcommand)]
enum Commands {
    /// List the built-in recipes
    Recipes(recipes::RecipesArgs),
    /// Measure how good a model's images are, against real ones
    Eval(eval::EvalArgs),
    /// Write one HTML file about one or several runs
    Report(report::ReportArgs),
    /// Attack this program's differential privacy, and planted faults
    Audit(audit::AuditArgs),
    /// Train the public encoder on a labelled folder of public images
    Encoder(encoder::EncoderArgs),
    /// Time one local training step on random data
    Bench(bench::BenchArgs),
    /// Write what a shell completes of prism-train, prism-infer and prism-export
    #[command(hide = true)]
    Completions(shell::CompletionsArgs),
    /// Write the manual pages of prism-train, prism-infer and prism-export
    #[command(hide = true)]
    Man(shell::ManArgs),
}

/// Parses the process's arguments, runs the command and returns the exit code: 0, 2 for the user's mistake, 1 for a
/// failure, 130 where Ctrl-C ended a run early (everything finished is then saved).
pub fn main() -> ExitCode {
    let mut command = command();
    command.build();
    let matches = command.get_matches_mut();
    let asked = matches.subcommand_name().and_then(|name| command.find_subcommand(name)).unwrap_or(&command);
    let result = Isa::chosen().map_err(Into::into).and_then(|_| run(&matches));
    result.unwrap_or_else(|error| {
        prism_core::errln!("error: {}", flags::spell(&error.to_string(), asked));
        ExitCode::from(error.exit_code())
    })
}

/// Does what was asked.
fn run(matches: &ArgMatches) -> prism_fl::Result<ExitCode> {
    match Commands::from_arg_matches(matches) {
        _ if matches.subcommand_name() == Some(check::NAME) => {
            matches.subcommand_matches(check::NAME).map_or(Ok(ExitCode::SUCCESS), check::run)
        }
        Ok(Commands::Recipes(args)) => recipes::run(&args).map_err(Into::into),
        Ok(Commands::Eval(args)) => eval::run(&args).map_err(Into::into),
        Ok(Commands::Report(args)) => report::run(&args).map_err(Into::into),
        Ok(Commands::Audit(args)) => audit::run(&args).map_err(Into::into),
        Ok(Commands::Encoder(args)) => encoder::run(&args).map_err(Into::into),
        Ok(Commands::Bench(args)) => bench::run(&args).map_err(Into::into),
        Ok(Commands::Completions(args)) => shell::completions(&args).map_err(Into::into),
        Ok(Commands::Man(args)) => shell::man(&args).map_err(Into::into),
        // The command line has been parsed, so that nothing is missing but a command.
        Err(_) => train::run(matches),
    }
}

/// The program, its flags and its commands.
fn command() -> Command {
    let program = Command::new("prism-train")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .override_usage("prism-train [FLAGS] | prism-train COMMAND")
        .help_template("{about}\n{usage-heading} {usage}\n\n{all-args}")
        .args_conflicts_with_subcommands(true)
        .args_override_self(true)
        .args(flags::arguments())
        .mut_arg("resume", |resume| resume.conflicts_with_all(["recipe", "config", "moments-from", "out"]))
        .mut_arg("quiet", |quiet| quiet.short('q'))
        // The first line of the short help names the long one; two flags more would not fit its page.
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .action(ArgAction::Help)
                .global(true)
                .hide_short_help(true)
                .help("Print help"),
        )
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .hide_short_help(true)
                .help("Print version"),
        );
    let program = program.subcommand(check::command());
    Commands::augment_subcommands(program).subcommand_required(false).disable_help_subcommand(true)
}

/// candle shares element-wise operations among threads of its own, which would spin against the kernels that already
/// occupy every core. Its results do not depend on it.
fn leave_parallelism_to_kernels() {
    const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(CANDLE_THREADS).is_none() {
        // SAFETY: this runs before the program's first thread starts, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var(CANDLE_THREADS, "1") };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_and_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn the_short_help_fits_a_page_and_the_long_one_has_every_flag() {
        let short = command().render_help().to_string();
        assert!(short.lines().count() <= 40, "{} lines:\n{short}", short.lines().count());
        for flag in ["recipe", "resume", "data-dir", "clients", "rounds", "image-size", "dp-epsilon", "out", "quiet"] {
            assert!(short.contains(&format!("--{flag} ")), "--{flag}:\n{short}");
        }
        let long = command().render_long_help().to_string();
        for flag in flags::all() {
            assert!(long.contains(&format!("--{} ", flag.name)) || flag.value.is_empty(), "--{}", flag.name);
        }
    }
}
