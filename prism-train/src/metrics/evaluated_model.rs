//! The model under evaluation: from a run folder, a checkpoint or an artifact to the images that it draws.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use prism_core::artifact::{Artifact, Description};
use prism_core::mixture::component_of_image;
use prism_core::sampler::{Mixture, pixel};
use prism_core::{Error, latent};
use prism_data::Dataset;
use prism_export::{Checkpoint, Dense, Options, RunFolder, freeze};
use prism_nn::Result;

use crate::settings::Settings;

/// The first bytes of an artifact, which is a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Images that are drawn between two calls of `each`.
const CHUNK: usize = 256;

/// A finished generator, and where it came from.
pub struct EvaluatedModel {
    /// The path as the user gave it.
    pub path: PathBuf,
    /// Its architecture, training and data set.
    pub description: Description,
    /// The generator.
    generator: Generator,
    /// The settings of the run, where a run folder was given.
    pub origin: Option<Settings>,
}

enum Generator {
    /// As it would be shipped.
    Artifact(Box<Artifact>),
    /// A baseline.
    Dense(Box<Dense>),
}

/// From inputs, and the component that draws each, to images in [-1, 1].
type Draw<'a> = dyn Fn(&[f32], &[usize]) -> Result<Vec<f32>> + 'a;

impl EvaluatedModel {
    /// Reads a run folder (the checkpoint that it keeps, frozen as `prism-export` does), a checkpoint, or an artifact.
    ///
    /// # Errors
    /// If there is no such file, or it is none of these.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return match starts_as_artifact(path)? {
                true => Ok(EvaluatedModel::shipped(path, Artifact::read(path)?)),
                false => EvaluatedModel::trained(path, &Checkpoint::read(path)?),
            };
        }
        let run = RunFolder::open(path)?;
        let origin = Settings::read(&run.settings())?;
        Ok(EvaluatedModel { origin: Some(origin), ..EvaluatedModel::trained(path, &run.last_checkpoint()?)? })
    }

    /// The model in an artifact.
    pub fn shipped(path: &Path, artifact: Artifact) -> Self {
        let description = artifact.meta().description.clone();
        EvaluatedModel {
            path: path.to_path_buf(),
            description,
            generator: Generator::Artifact(Box::new(artifact)),
            origin: None,
        }
    }

    /// The model of a checkpoint, frozen as `prism-export` does.
    ///
    /// # Errors
    /// If the computation fails.
    pub fn trained(path: &Path, checkpoint: &Checkpoint) -> Result<Self> {
        EvaluatedModel::trained_with(path, checkpoint, Options::of(checkpoint))
    }

    /// The model of a checkpoint, frozen with these options.
    ///
    /// # Errors
    /// If the computation fails.
    pub fn trained_with(path: &Path, checkpoint: &Checkpoint, options: Options) -> Result<Self> {
        if !checkpoint.description.dense {
            return Ok(EvaluatedModel::shipped(path, freeze(checkpoint, options)?.artifact));
        }
        let generator = Generator::Dense(Box::new(Dense::of(checkpoint, options)?));
        Ok(EvaluatedModel {
            path: path.to_path_buf(),
            description: checkpoint.description.model.clone(),
            generator,
            origin: None,
        })
    }

    /// Number of classes; 0 where the model is unconditional.
    pub fn classes(&self) -> usize {
        self.description.architecture.classes
    }

    /// One image for each of `labels` under `seed`, as bytes; image k is that of `prism-infer --seed SEED` with that label.
    ///
    /// `each` is called with the number of images after each chunk.
    ///
    /// # Errors
    /// If a label does not exist.
    pub fn draw(
        &self,
        seed: u64,
        labels: &[Option<usize>],
        threads: NonZeroUsize,
        each: &dyn Fn(u64),
    ) -> Result<Dataset> {
        let description = &self.description;
        let arch = &description.architecture;
        let draw: Box<Draw<'_>> = match &self.generator {
            Generator::Artifact(artifact) => {
                let mixture = Mixture::new(&artifact.models());
                Box::new(move |inputs, components| Ok(mixture.images(inputs, components, threads)))
            }
            Generator::Dense(dense) => Box::new(|inputs, _| dense.images(inputs)),
        };
        let mut pixels = Vec::with_capacity(labels.len() * arch.pixels());
        let numbered: Vec<(u64, Option<usize>)> = (0..).zip(labels.iter().copied()).collect();
        for chunk in numbered.chunks(CHUNK) {
            let input = |&(k, label): &(u64, Option<usize>)| latent::input(arch, &latent::latent(arch, seed, k), label);
            let inputs = chunk.iter().map(input).collect::<prism_core::Result<Vec<_>>>()?.concat();
            let component = |&(k, _): &(u64, Option<usize>)| component_of_image(description.components, seed, k);
            let components: Vec<usize> = chunk.iter().map(component).collect();
            pixels.extend(pixel::bytes(&draw(&inputs, &components)?));
            each(chunk.len() as u64);
        }
        let given: Option<Vec<u16>> = labels.iter().map(|label| label.map(|l| l as u16)).collect();
        let names = |count: usize| match &description.class_names {
            names if names.len() == count => names.clone(),
            _ => (0..count).map(|class| class.to_string()).collect(),
        };
        let images = Dataset::new("generated", arch.image_size, arch.channels, pixels)?;
        Ok(match given {
            Some(given) => images.with_labels(names(arch.classes), given)?,
            None => images,
        })
    }
}

fn starts_as_artifact(path: &Path) -> prism_core::Result<bool> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        // Such as a pipe, which nobody may ever write into.
        return Err(Error::usage(format!("{} is no regular file; name a model's file", path.display())));
    }
    let mut start = [0; 4];
    let mut file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    match file.read_exact(&mut start) {
        Ok(()) => Ok(start == ZSTD_MAGIC),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(Error::io("read", path, e)),
    }
}
