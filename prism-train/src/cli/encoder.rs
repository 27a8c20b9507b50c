//! `prism-train encoder`: trains the public encoder, with progress on stderr.

use std::process::ExitCode;

use clap::Args;
use prism_nn::Result;

use crate::encoder_training::{self, EncoderTraining, Progress};
use crate::run::progress;

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
    let bar = progress::steps(args.quiet);
    let trained = encoder_training::train(&args.training, &mut |p: Progress| {
        bar.set_length(p.steps as u64);
        bar.set_position(p.step as u64);
        if p.step.is_multiple_of(p.steps_per_epoch) && !args.quiet {
            let epoch = p.step / p.steps_per_epoch;
            bar.suspend(|| {
                prism_core::errln!("epoch {epoch}: loss {:.3}, accuracy {:.3} in the last step", p.loss, p.accuracy)
            });
        }
    })?;
    bar.finish_and_clear();
    prism_core::outln!("{}", args.training.out.display());
    if !args.quiet {
        prism_core::errln!("{} bytes, sha256 of the weights {}", trained.bytes.len(), trained.digest);
        prism_core::errln!("{:#?}", trained.card);
    }
    Ok(ExitCode::SUCCESS)
}
