//! The model under evaluation: from a run folder, a checkpoint or an artifact to the images that it draws.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use prism_core::artifact::{Artifact, Description};
use prism_core::mixture::component_of_image;
use prism_core::sampler::{Mixture, pixel};
use prism_core::{Error, file, latent};
use prism_export::cli::kept_checkpoint;
use prism_export::{Checkpoint, Dense, Options, freeze};
use prism_nn::Result;
use serde::Deserialize;

use crate::data::Dataset;
use crate::run::RunFolder;

/// The first bytes of an artifact, which is a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Most bytes of a settings file.
const MAX_SETTINGS: u64 = 1 << 20;

/// Images that are drawn between two reports of progress.
const CHUNK: usize = 256;

/// A finished generator and where it came from.
pub struct Subject {
    /// What the user gave.
    pub path: PathBuf,
    /// What is known of the model.
    pub description: Description,
    /// The generator.
    model: Model,
    /// Where the real images of the run are, where a run folder was given.
    pub origin: Option<Origin>,
}

enum Model {
    /// As it would be shipped.
    Artifact(Box<Artifact>),
    /// A baseline.
    Dense(Box<Dense>),
}

/// From inputs, and the component that draws each, to images in [-1, 1].
type Draw<'a> = dyn Fn(&[f32], &[usize]) -> Result<Vec<f32>> + 'a;

/// The settings of a run that name its images. The others are not read, so that runs of other versions can be evaluated.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Origin {
    /// Name of the data set.
    pub dataset: String,
    /// Folder of its files.
    pub data_dir: Option<PathBuf>,
    /// Root seed.
    pub seed: u64,
    /// At most so many training images were used.
    pub limit: Option<usize>,
}

impl Subject {
    /// Reads a run folder (the checkpoint that it keeps, frozen as `prism-export` does), a checkpoint, or an artifact.
    ///
    /// # Errors
    /// If there is no such file, or it is neither.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return match starts_as_artifact(path)? {
                true => Ok(Subject::shipped(path, Artifact::read(path)?)),
                false => Subject::trained(path, &Checkpoint::read(path)?),
            };
        }
        let origin = origin(&RunFolder::settings_of(path)?)?;
        let checkpoint = kept_checkpoint(path)?;
        if !checkpoint.exists() {
            return Err(Error::usage(format!(
                "{} has no checkpoint.safetensors, since no round is finished; let the run finish one, by --resume {0}",
                path.display()
            ))
            .into());
        }
        Ok(Subject { origin: Some(origin), ..Subject::trained(path, &Checkpoint::read(&checkpoint)?)? })
    }

    /// The model in an artifact.
    pub fn shipped(path: &Path, artifact: Artifact) -> Self {
        let description = artifact.meta().description.clone();
        Subject { path: path.to_path_buf(), description, model: Model::Artifact(Box::new(artifact)), origin: None }
    }

    /// The model of a checkpoint, frozen as `prism-export` does.
    ///
    /// # Errors
    /// If the computation fails.
    pub fn trained(path: &Path, checkpoint: &Checkpoint) -> Result<Self> {
        Subject::trained_with(path, checkpoint, Options::of(checkpoint))
    }

    /// The model of a checkpoint, frozen with these options.
    ///
    /// # Errors
    /// If the computation fails.
    pub fn trained_with(path: &Path, checkpoint: &Checkpoint, options: Options) -> Result<Self> {
        if !checkpoint.description.dense {
            return Ok(Subject::shipped(path, freeze(checkpoint, options)?.artifact));
        }
        let model = Model::Dense(Box::new(Dense::of(checkpoint, options)?));
        Ok(Subject { path: path.to_path_buf(), description: checkpoint.description.model.clone(), model, origin: None })
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
        let draw: Box<Draw<'_>> = match &self.model {
            Model::Artifact(artifact) => {
                let mixture = Mixture::new(&artifact.models());
                Box::new(move |inputs, components| Ok(mixture.images(inputs, components, threads)))
            }
            Model::Dense(dense) => Box::new(|inputs, _| dense.images(inputs)),
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
        let names = if given.is_some() { names(arch.classes) } else { Vec::new() };
        Ok(Dataset::new("generated", arch.image_size, arch.channels, names, pixels, given)?)
    }
}

fn origin(settings: &Path) -> Result<Origin> {
    let text = file::read_bounded(settings, MAX_SETTINGS)?;
    let refuse = |e: toml::de::Error| Error::corrupt(settings.display().to_string(), e.message().to_string());
    Ok(toml::from_str(&String::from_utf8_lossy(&text)).map_err(refuse)?)
}

fn starts_as_artifact(path: &Path) -> prism_core::Result<bool> {
    let mut start = [0; 4];
    let mut file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    match file.read_exact(&mut start) {
        Ok(()) => Ok(start == ZSTD_MAGIC),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(Error::io("read", path, e)),
    }
}
