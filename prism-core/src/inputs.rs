//! The generator's inputs, image by image: from the seed or from given rows, each by itself or on the way between two;
//! and which component of a mixture draws each. The program and every binding ask here, so that they draw the same
//! images.

use std::ops::Range;

use crate::arch::Architecture;
use crate::artifact::Description;
use crate::error::{Error, Result};
use crate::latent;
use crate::mixture::component_of_image;

/// The inputs of some images. Image k's is computed when it is asked for.
#[derive(Debug)]
pub struct Inputs {
    arch: Architecture,
    source: Source,
    /// Number of generators that the model is a mixture of.
    components: usize,
    /// The one that draws all images; none where each draws its share.
    drawn_by: Option<usize>,
    /// Labels that take turns; empty for the default rule.
    labels: Vec<usize>,
    /// Number of latents.
    stops: u64,
    /// Images from each latent to the next; none to draw the latents themselves.
    steps: Option<u64>,
}

/// Where latents come from.
#[derive(Debug)]
pub enum Source {
    /// From the streams of this seed.
    Seed(u64),
    /// From [`Source::rows`]; they count as images of seed 0.
    Rows(Rows),
}

/// Given latents, or whole inputs with the label in them.
#[derive(Debug)]
pub struct Rows {
    /// `[rows, width]`, row-major.
    values: Vec<f32>,
    width: usize,
}

/// The `count` images from number `first` on.
///
/// # Errors
/// [`Error::Usage`] if there are no such numbers.
pub fn range(first: u64, count: u64) -> Result<Range<u64>> {
    let end = first.checked_add(count);
    let end =
        end.ok_or_else(|| Error::usage(format!("first is {first}; there are no {count} images from there on")))?;
    Ok(first..end)
}

impl Source {
    /// Rows of `width` numbers each: latents, or latents with the label behind them.
    ///
    /// # Errors
    /// [`Error::Usage`] if the model of shape `arch` takes no such rows, there is none, or one holds what is no finite
    /// number.
    pub fn rows(arch: &Architecture, values: Vec<f32>, width: usize) -> Result<Self> {
        if width != arch.latent && width != arch.inputs() || values.is_empty() || !values.len().is_multiple_of(width) {
            return Err(Error::usage(format!(
                "the latents are {} numbers in rows of {width}; this model takes rows of {} numbers, or of {} with the \
                 label in them",
                values.len(),
                arch.latent,
                arch.inputs()
            )));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let (row, value) = (at / width, values[at]);
            return Err(Error::usage(format!("row {row} of the latents holds {value}; latents are finite")));
        }
        Ok(Source::Rows(Rows { values, width }))
    }
}

impl Inputs {
    /// The inputs of `latents` latents of `source`, for a model of this description.
    ///
    /// # Errors
    /// [`Error::Usage`] if the source has fewer.
    pub fn new(description: &Description, source: Source, latents: u64) -> Result<Self> {
        if let Source::Rows(Rows { values, width }) = &source
            && latents > (values.len() / width) as u64
        {
            let rows = values.len() / width;
            return Err(Error::usage(format!("{latents} latents are asked for and {rows} rows given; ask for fewer")));
        }
        let (arch, components) = (description.architecture.clone(), description.components);
        Ok(Inputs { arch, source, components, drawn_by: None, labels: Vec::new(), stops: latents, steps: None })
    }

    /// Gives these labels to the latents in turn; none leaves the default, all classes in turn.
    ///
    /// # Errors
    /// [`Error::Usage`] if the model does not have one of them.
    pub fn with_labels(mut self, labels: Vec<usize>) -> Result<Self> {
        labels.iter().try_for_each(|&label| latent::check_label(&self.arch, label))?;
        self.labels = labels;
        Ok(self)
    }

    /// In place of the latents, `steps` images on the way from each to the next. One component draws all of them, that
    /// of image 0: another would break the way.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no way, or more images than can be counted.
    pub fn with_steps(mut self, steps: u64) -> Result<Self> {
        let stops = self.stops;
        if steps < 2 || stops < 2 {
            return Err(Error::usage(format!(
                "there is no way of {steps} images between {stops} latents; both are at least 2"
            )));
        }
        if (stops - 1).checked_mul(steps).is_none() {
            return Err(Error::usage(format!(
                "{steps} images between each two of {stops} latents are beyond all counting; ask for fewer"
            )));
        }
        self.steps = Some(steps);
        Ok(self)
    }

    /// Has all images drawn by this component of a mixture.
    ///
    /// # Errors
    /// [`Error::Usage`] if the model does not have it.
    pub fn with_component(mut self, component: usize) -> Result<Self> {
        match self.components {
            components if component < components => self.drawn_by = Some(component),
            1 => {
                return Err(Error::usage(format!(
                    "component {component} is asked for and this model is a single generator; leave it out"
                )));
            }
            components => {
                return Err(Error::usage(format!(
                    "component {component} does not exist; this model has the components 0 to {}",
                    components - 1
                )));
            }
        }
        Ok(self)
    }

    /// Number of images.
    pub fn count(&self) -> u64 {
        self.steps.map_or(self.stops, |steps| (self.stops - 1) * steps)
    }

    /// The input of image `index`, which is below [`Inputs::count`] where rows are given.
    ///
    /// # Errors
    /// If a latent does not fit the model, which the constructors have ruled out.
    pub fn get(&self, index: u64) -> Result<Vec<f32>> {
        let Some(steps) = self.steps else { return self.stop(index) };
        let (pair, step) = (index / steps, index % steps);
        let t = step as f64 / (steps - 1) as f64;
        Ok(latent::interpolate(&self.stop(pair)?, &self.stop(pair + 1)?, self.arch.latent, t))
    }

    /// The component that draws image `index`.
    pub fn component(&self, index: u64) -> usize {
        let seed = match self.source {
            Source::Seed(seed) => seed,
            Source::Rows(_) => 0,
        };
        let index = if self.steps.is_some() { 0 } else { index };
        self.drawn_by.unwrap_or_else(|| component_of_image(self.components, seed, index))
    }

    /// What the file of image `index` is called: its number, the seed, and its class, of which `names` has the names.
    pub fn file_name(&self, index: u64, names: &[String]) -> String {
        let (seed, whole) = match &self.source {
            Source::Seed(seed) => (format!("-seed-{seed}"), false),
            Source::Rows(Rows { width, .. }) => (String::new(), *width != self.arch.latent),
        };
        // Between two latents an image is of no one class, and rows of a file may hold mixtures of classes.
        let label = self.label(index).filter(|_| self.steps.is_none() && !whole);
        let class = label.map_or(String::new(), |label| {
            let name = names.get(label).cloned().unwrap_or_else(|| label.to_string());
            let plain = |c: char| if c.is_alphanumeric() { c } else { '_' };
            format!("-{}", name.chars().map(plain).collect::<String>())
        });
        format!("image-{index:05}{seed}{class}.png")
    }

    /// The input of latent `index`.
    fn stop(&self, index: u64) -> Result<Vec<f32>> {
        match &self.source {
            Source::Seed(seed) => {
                latent::input(&self.arch, &latent::latent(&self.arch, *seed, index), self.label(index))
            }
            Source::Rows(Rows { values, width }) => {
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
