//! `prism-train report`: one HTML file about one or several runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use prism_nn::Result;

use crate::report;

/// Flags of `prism-train report`.
#[derive(Args)]
pub struct ReportArgs {
    /// Run folders; several are compared
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// File to write; by default report.html in the first run's folder
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes the report and prints its path.
pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    let runs: Vec<&Path> = args.runs.iter().map(PathBuf::as_path).collect();
    let beside = || runs.first().map_or_else(PathBuf::new, |run| run.to_path_buf()).join("report.html");
    let out = args.out.clone().unwrap_or_else(beside);
    report::write(&runs, &out)?;
    prism_core::outln!("{}", out.display());
    Ok(ExitCode::SUCCESS)
}
