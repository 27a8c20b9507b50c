//! `prism-export`: from a run folder to a verified artifact.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use prism_core::Error;
use prism_core::artifact::{Artifact, MaskRule};
use prism_nn::Result;

use crate::card::TITLE;
use crate::run_folder::MODEL;
use crate::{Options, Report, RunFolder, card, export, input};

/// Freeze a trained mask into one small artifact that `prism-infer` draws from.
///
/// The mask is fixed, batch norms are measured on generated images and folded, and the artifact is read back and compared
/// with the trained generator before success is reported.
#[derive(Parser)]
#[command(name = "prism-export", version, args_override_self = true)]
struct Cli {
    /// Run folder, or a checkpoint file
    run: PathBuf,
    /// Where to write the artifact; by default model.safetensors.zst in the run folder
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How the mask is made from the probabilities: threshold or sampled; by default what the run asked for
    #[arg(long, value_name = "RULE")]
    mask: Option<MaskRule>,
    /// Generated images over which batch norms are measured
    #[arg(long, value_name = "N", default_value_t = Options::CALIBRATION_IMAGES)]
    calibration_images: usize,
    /// Print the report as one line of JSON
    #[arg(long)]
    json: bool,
    /// Also write a model card for the Hugging Face hub, such as README.md; of a finished model in place of RUN, the card
    /// alone
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
}

/// The program and its flags, for what describes them elsewhere.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Most calibration images that may be asked for.
const MAX_CALIBRATION: usize = 1 << 20;

/// Parses the process's arguments, exports, and returns the exit code: 0, 2 for the user's mistake, 1 for a failure.
pub fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            prism_core::errln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if cli.calibration_images == 0 || cli.calibration_images > MAX_CALIBRATION {
        return Err(prism_nn::Error::usage(format!(
            "--calibration-images is {}; choose 1 to {MAX_CALIBRATION}, such as 1024",
            cli.calibration_images
        )));
    }
    if let Some(card) = &cli.card
        && let Some(model) = input::finished(&cli.run)?
    {
        return write_only_card(cli, &model, card);
    }
    let (checkpoint, out) = (input::read(&cli.run)?, out_path(cli)?);
    if cli.card.as_ref() == Some(&out) {
        let why = format!("--card and the model are both {}; give each a path of its own", out.display());
        return Err(prism_nn::Error::usage(why));
    }
    check_out(&out)?;
    cli.card.as_deref().map_or(Ok(()), check_card)?;
    let options = Options {
        mask_rule: cli.mask.unwrap_or(checkpoint.description.model.mask_rule),
        calibration_images: cli.calibration_images,
    };
    let report = export(&checkpoint, options, &out)?;
    if let Some(card) = &cli.card {
        write_card(&report.artifact, card)?;
    }
    print(&report, cli.json)
}

/// Refuses to write the model over what is none, such as another file of its run.
fn check_out(path: &Path) -> Result<()> {
    match path.is_file() && !input::begins_as_model(path) {
        true => Err(prism_nn::Error::usage(format!(
            "--out {} is there and is no model; name another file, or move it away",
            path.display()
        ))),
        false => Ok(()),
    }
}

/// Refuses to write a card over what is none.
fn check_card(path: &Path) -> Result<()> {
    let is_card = |text: String| text.starts_with("---\n") && text.contains(TITLE);
    match path.is_file() && !std::fs::read_to_string(path).is_ok_and(is_card) {
        true => Err(prism_nn::Error::usage(format!(
            "--card {} is there and is no model card; name another file, or move it away",
            path.display()
        ))),
        false => Ok(()),
    }
}

/// The card of a model that needs no export.
fn write_only_card(cli: &Cli, model: &Artifact, card: &Path) -> Result<()> {
    if cli.out.is_some() || cli.mask.is_some() || cli.json {
        let why = format!(
            "{} is a finished model, of which --card writes the card alone; leave out --out, --mask and --json",
            cli.run.display()
        );
        return Err(prism_nn::Error::usage(why));
    }
    check_card(card)?;
    write_card(model, card)?;
    prism_core::outln!("{}", card.display());
    Ok(())
}

fn write_card(model: &Artifact, path: &Path) -> Result<()> {
    let text = card(model, MODEL)?;
    Ok(prism_core::file::write_atomic(path, |out| out.write_all(text.as_bytes()))?)
}

/// Where the artifact goes; its folder is made.
fn out_path(cli: &Cli) -> Result<PathBuf> {
    let folder = if cli.run.is_dir() { Some(cli.run.as_path()) } else { cli.run.parent() };
    let path = cli.out.clone().unwrap_or_else(|| RunFolder::new(folder.unwrap_or(Path::new("."))).model());
    if path.is_dir() {
        let inside = RunFolder::new(&path).model();
        let why = format!("--out {} is a folder; name a file, such as {}", path.display(), inside.display());
        return Err(prism_nn::Error::usage(why));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
    }
    Ok(path)
}

fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        let line = serde_json::to_string(report).map_err(|e| Error::corrupt("the report", e.to_string()))?;
        prism_core::outln!("{line}");
        return Ok(());
    }
    // What is no file may be standard output itself, which then holds the artifact and nothing else.
    if report.path.is_file() {
        prism_core::outln!("{}", report.path.display());
    }
    prism_core::errln!("{} bytes for {} weights", report.file_bytes, report.mask.weights);
    prism_core::errln!("{:<16} {:>9} {:>8} {:>11} {:>13}", "layer", "weights", "kept", "bit/weight", "entropy bound");
    for layer in &report.mask.layers {
        prism_core::errln!(
            "{:<16} {:>9} {:>7.2}% {:>11.4} {:>13.4}",
            layer.name,
            layer.weights,
            100.0 * layer.density,
            layer.bits_per_weight,
            layer.entropy_bits_per_weight
        );
    }
    let mask = &report.mask;
    prism_core::errln!(
        "{:<16} {:>9} {:>7.2}% {:>11.4} {:>13.4}",
        "all",
        mask.weights,
        100.0 * mask.density,
        mask.bits_per_weight,
        mask.entropy_bits_per_weight
    );
    prism_core::errln!("read back and compared: largest difference of a pixel {:.1e}", report.largest_difference);
    Ok(())
}
