//! The generator's inputs, image by image: from the seed or from a file, each by itself or on the way between two; and
//! which component of a mixture draws each.

use std::path::Path;

use prism_core::artifact::Description;
use prism_core::mixture::component_of_image;
use prism_core::{Architecture, Error, Result, file, latent, npy};

use crate::cli::DrawFlags;
use crate::labels;

/// Images where nothing says how many.
const DEFAULT_IMAGES: u64 = 64;
/// Latents of an interpolation where nothing says how many: eight rows.
const DEFAULT_STOPS: u64 = 9;
/// Most bytes of a file of latents.
const MAX_LATENTS: u64 = 1 << 28;

/// The inputs of a plan's images. Image k's is computed when it is asked for.
#[derive(Debug)]
pub struct Inputs {
    arch: Architecture,
    source: Source,
    /// Who draws.
    drawn_by: Drawn,
    /// Labels that take turns; empty for the default rule.
    labels: Vec<usize>,
    /// Number of latents.
    stops: u64,
    /// Images from each latent to the next; none to draw the latents themselves.
    steps: Option<u64>,
}

/// Which components of a model draw its images.
#[derive(Clone, Copy, Debug)]
enum Drawn {
    /// This one all of them.
    By(usize),
    /// Each those that fall to it, among so many components under a seed.
    InTurn(usize, u64),
}

#[derive(Debug)]
enum Source {
    Seed(u64),
    /// Rows of `width` numbers: latents, or whole inputs.
    Rows {
        values: Vec<f32>,
        width: usize,
    },
}

impl Inputs {
    /// Resolves the flags that say what is drawn.
    ///
    /// # Errors
    /// If a label does not exist, the file of latents cannot be used, or there is nothing to draw between.
    pub fn new(description: &Description, flags: &DrawFlags) -> Result<Self> {
        let arch = &description.architecture;
        let labels = labels::resolve(description, &flags.label)?;
        let (source, rows) = match &flags.latents {
            None => (Source::Seed(flags.seed), None),
            Some(path) => read_rows(arch, path, !flags.label.is_empty()).map(|(source, rows)| (source, Some(rows)))?,
        };
        let default = rows.unwrap_or(if flags.interpolate.is_some() { DEFAULT_STOPS } else { DEFAULT_IMAGES });
        let stops = flags.n.map_or(default, |n| n.get());
        if rows.is_some_and(|rows| stops > rows) {
            return Err(Error::usage(format!(
                "--n is {stops} and the file of latents has {default} rows; ask for fewer"
            )));
        }
        if let Some(steps) = flags.interpolate
            && (steps < 2 || stops < 2)
        {
            return Err(Error::usage(format!(
                "there is no way of {steps} images between {stops} latents; --interpolate and --n take at least 2"
            )));
        }
        let drawn_by = drawn_by(description.components, flags)?;
        let steps = flags.interpolate;
        Ok(Inputs { arch: arch.clone(), source, drawn_by, labels, stops, steps })
    }

    /// Number of images.
    ///
    /// # Errors
    /// If it is beyond all counting.
    pub fn count(&self) -> Result<u64> {
        let count = self.steps.map_or(Some(self.stops), |steps| (self.stops - 1).checked_mul(steps));
        count.ok_or_else(|| Error::usage("--n times --interpolate is beyond all counting; ask for fewer"))
    }

    /// The input of image `index`.
    ///
    /// # Errors
    /// If a latent or label does not fit the model, which [`Inputs::new`] has ruled out.
    pub fn get(&self, index: u64) -> Result<Vec<f32>> {
        let Some(steps) = self.steps else { return self.stop(index) };
        let (pair, step) = (index / steps, index % steps);
        let t = step as f64 / (steps - 1) as f64;
        Ok(latent::interpolate(&self.stop(pair)?, &self.stop(pair + 1)?, self.arch.latent, t))
    }

    /// The component that draws image `index`. All images of a way between latents are drawn by one, that of image 0:
    /// another would break the way.
    pub fn component(&self, index: u64) -> usize {
        match self.drawn_by {
            Drawn::By(component) => component,
            Drawn::InTurn(components, seed) => {
                component_of_image(components, seed, if self.steps.is_some() { 0 } else { index })
            }
        }
    }

    /// The input of latent `index`.
    fn stop(&self, index: u64) -> Result<Vec<f32>> {
        match &self.source {
            Source::Seed(seed) => {
                latent::input(&self.arch, &latent::latent(&self.arch, *seed, index), self.label(index))
            }
            Source::Rows { values, width } => {
                let row = &values[index as usize * width..][..*width];
                if *width == self.arch.latent {
                    latent::input(&self.arch, row, self.label(index))
                } else {
                    Ok(row.to_vec())
                }
            }
        }
    }

    fn label(&self, index: u64) -> Option<usize> {
        let chosen = index.checked_rem(self.labels.len() as u64).map(|turn| self.labels[turn as usize]);
        chosen.or_else(|| latent::default_label(&self.arch, index))
    }
}

/// The component that the flags ask for, if it exists; else each draws its share. Rows of a file count as images of
/// seed 0.
fn drawn_by(components: usize, flags: &DrawFlags) -> Result<Drawn> {
    match flags.component {
        None => Ok(Drawn::InTurn(components, flags.seed)),
        Some(component) if component < components => Ok(Drawn::By(component)),
        Some(component) => Err(Error::usage(match components {
            1 => format!("--component is {component} and this model is a single generator; leave it out"),
            _ => format!("--component is {component}; this model has the components 0 to {}", components - 1),
        })),
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
    if width != arch.latent && width != arch.inputs() || rows == 0 {
        return Err(Error::usage(format!(
            "the latents have the shape {shape:?}; this model takes rows of {} numbers, or of {} with the label in \
             them",
            arch.latent,
            arch.inputs()
        )));
    }
    if width != arch.latent && labelled {
        return Err(Error::usage("the rows of --latents already hold labels; leave out --label"));
    }
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        return Err(Error::usage(format!(
            "row {} of the latents holds {}; latents are finite",
            at / width,
            values[at]
        )));
    }
    Ok((Source::Rows { values, width }, rows as u64))
}
