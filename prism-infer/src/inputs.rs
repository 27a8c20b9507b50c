//! The inputs that the flags ask for.

use std::path::Path;

use prism_core::artifact::Description;
use prism_core::inputs::{Inputs, Source};
use prism_core::{Architecture, Error, Result, file, labels, npy};

use crate::cli::DrawFlags;

/// Images where nothing says how many.
const DEFAULT_IMAGES: u64 = 64;
/// Latents of an interpolation where nothing says how many: eight rows.
const DEFAULT_STOPS: u64 = 9;
/// Most bytes of a file of latents.
const MAX_LATENTS: u64 = 1 << 28;

/// Resolves the flags that say what is drawn.
///
/// # Errors
/// If a label does not exist, the file of latents cannot be used, or there is nothing to draw between.
pub fn inputs(description: &Description, flags: &DrawFlags) -> Result<Inputs> {
    let arch = &description.architecture;
    let labels = labels::resolve(description, &flags.label)?;
    let (source, rows) = match &flags.latents {
        None => (Source::Seed(flags.seed), None),
        Some(path) => read_rows(arch, path, !flags.label.is_empty()).map(|(source, rows)| (source, Some(rows)))?,
    };
    let default = rows.unwrap_or(if flags.interpolate.is_some() { DEFAULT_STOPS } else { DEFAULT_IMAGES });
    let stops = flags.n.map_or(default, |n| n.get());
    if rows.is_some_and(|rows| stops > rows) {
        return Err(Error::usage(format!("--n is {stops} and the file of latents has {default} rows; ask for fewer")));
    }
    let mut inputs = Inputs::new(description, source, stops)?.with_labels(labels)?;
    if let Some(steps) = flags.interpolate {
        inputs = inputs.with_steps(steps)?;
    }
    match flags.component {
        None => Ok(inputs),
        Some(component) => inputs.with_component(component),
    }
}

fn read_rows(arch: &Architecture, path: &Path, labelled: bool) -> Result<(Source, u64)> {
    let bytes = file::read_bounded(path, MAX_LATENTS)?;
    let refuse = |refusal| match refusal {
        npy::Refusal::Damaged(why) => Error::corrupt(format!("latents {}", path.display()), why),
        npy::Refusal::Unsuited(why) => Error::usage(format!("latents {} cannot be used: {why}", path.display())),
    };
    let (shape, values) = npy::read(&bytes).map_err(refuse)?;
    let [rows, width] = shape[..] else {
        return Err(Error::usage(format!("the latents have the shape {shape:?}; write an array of 2 axes")));
    };
    let source = Source::rows(arch, values, width)?;
    if width != arch.latent && labelled {
        return Err(Error::usage("the rows of --latents already hold labels; leave out --label"));
    }
    Ok((source, rows as u64))
}
