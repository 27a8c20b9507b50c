//! `prism-train completions` and `prism-train man`: what a shell and `man` know of all three programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use prism_core::Error;
use prism_nn::Result;

/// Flags of `prism-train completions`.
#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
    /// Folder in which it looks for completions, such as ~/.local/share/bash-completion/completions
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Flags of `prism-train man`.
#[derive(Args)]
pub struct ManArgs {
    /// Folder of the pages, such as ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes a file of completions for each program and prints their paths.
pub fn completions(args: &CompletionsArgs) -> Result<ExitCode> {
    make(&args.folder)?;
    for mut program in programs() {
        let name = program.get_name().to_string();
        let written = clap_complete::generate_to(args.shell, &mut program, name, &args.folder);
        let path = written.map_err(|e| Error::io("write into", &args.folder, e))?;
        prism_core::outln!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a page for each program and each of its commands.
pub fn man(args: &ManArgs) -> Result<ExitCode> {
    make(&args.folder)?;
    for program in programs() {
        let name = program.get_name().to_string();
        clap_mangen::generate_to(program, &args.folder).map_err(|e| Error::io("write into", &args.folder, e))?;
        prism_core::outln!("{}", args.folder.join(name + ".1").display());
    }
    Ok(ExitCode::SUCCESS)
}

fn programs() -> [Command; 3] {
    [super::command(), prism_export::cli::command(), prism_infer::cli::Cli::command()]
}

fn make(folder: &Path) -> Result<()> {
    Ok(fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?)
}
