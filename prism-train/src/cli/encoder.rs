//! `prism-train encoder`: trains the public encoder, with progress on stderr.

use std::process::ExitCode;

use clap::Args;
use prism_nn::Result;

use crate::encoder_training::{self, EncoderTraining, Progress};
use crate::run::progress::Bar;

/// Flags of `prism-train encoder`.
#[derive(Args)]
pub struct EncoderArgs {
    #[command(flatten)]
    training: EncoderTraining,
    /// Print no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Trains an encoder and prints the path of its file.
pub fn run(args: &EncoderArgs) -> Result<ExitCode> {
    crate::memory::keep_buffers();
    let bar = Bar::new(args.quiet, "encoder", "steps");
    let trained = encoder_training::train(&args.training, &mut |p: Progress| {
        bar.to(p.step as u64, p.steps as u64);
        if p.step.is_multiple_of(p.steps_per_epoch) && !args.quiet {
            let epoch = p.step / p.steps_per_epoch;
            bar.say(&format!("epoch {epoch}: loss {:.3}, accuracy {:.3} in the last step", p.loss, p.accuracy));
        }
    })?;
    drop(bar);
    prism_core::outln!("{}", args.training.out.display());
    if !args.quiet {
        prism_core::errln!("{} bytes, sha256 of the weights {}", trained.bytes.len(), trained.digest);
        prism_core::errln!("{:#?}", trained.card);
    }
    Ok(ExitCode::SUCCESS)
}
