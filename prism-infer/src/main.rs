//! `prism-infer`: draws images from a finished model. The work is in the library; this maps errors to exit codes.

use std::process::ExitCode;

use clap::Parser;
use prism_core::simd::Isa;
use prism_infer::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = Isa::chosen().and_then(|_| match &cli.command {
        Some(Command::Info(flags)) => prism_infer::info(flags),
        Some(Command::Bench(flags)) => prism_infer::bench(flags),
        None => prism_infer::draw(&cli.draw),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            prism_core::errln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
