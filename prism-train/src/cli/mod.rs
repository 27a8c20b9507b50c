//! The command line: what the flags mean, which command runs, and how its end is reported.

mod audit;
mod bench;
mod encoder;
mod eval;
mod report;
mod train;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use prism_nn::Result;

/// Train an image generator in a federation that agrees on a mask, not on weights.
///
/// Without a command, trains: `prism-train` alone learns the embedded data set with ten clients in a few minutes.
#[derive(Parser)]
#[command(name = "prism-train", version, args_conflicts_with_subcommands = true, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: train::TrainArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Attack the differential privacy of this very program, and planted faults that the attacks must catch
    Audit(audit::AuditArgs),
    /// Train the public encoder on a labelled folder of public images
    Encoder(encoder::EncoderArgs),
    /// Time one local training step on random data
    Bench(bench::BenchArgs),
    /// Measure how good a model's images are, against real ones
    Eval(eval::EvalArgs),
    /// Write one HTML file about one or several runs
    Report(report::ReportArgs),
}

/// Parses the process's arguments, runs the command and returns the exit code: 0, 2 for the user's mistake, 1 for a
/// failure, 130 where Ctrl-C ended a run early (everything finished is then saved).
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let result = match Cli::from_arg_matches(&matches) {
        Ok(Cli { command: Some(Command::Audit(args)), .. }) => audit::run(&args),
        Ok(Cli { command: Some(Command::Encoder(args)), .. }) => encoder::run(&args),
        Ok(Cli { command: Some(Command::Bench(args)), .. }) => bench::run(&args),
        Ok(Cli { command: Some(Command::Eval(args)), .. }) => eval::run(&args),
        Ok(Cli { command: Some(Command::Report(args)), .. }) => report::run(&args),
        Ok(Cli { command: None, train }) => train::run(&train, &matches),
        Err(error) => error.exit(),
    };
    exit_code(result)
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

fn exit_code(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        prism_core::errln!("error: {error}");
        ExitCode::from(error.exit_code())
    })
}
