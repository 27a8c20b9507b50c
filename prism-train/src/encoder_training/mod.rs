//! Training of an encoder on a public set of photographs: the command that made the embedded one.
//!
//! ```text
//! image folder -> shuffle -> flip, shift, grey -> VGG-shaped net with batch norm -> mean over pixels -> linear -> classes
//!              -> fold the batch norms -> round to f16 -> measure the test set again -> FILE.safetensors
//! ```
//!
//! Plain supervised classification (SGD with Nesterov's momentum, one-cycle learning rate). Only the convolutions are kept;
//! the classifier serves to measure them. Every draw comes from streams of the seed, and no sum depends on the number of
//! threads, so the same settings give the same file. It computes on the CPU.

mod augment;
mod descent;
mod evaluate;
mod network;
mod norm;
mod sgd;

use std::path::{Path, PathBuf};

use clap::Args;
use prism_data::{Dataset, LoadOptions, Source};
use prism_nn::encoder::{EncoderLayout, file, random};
use prism_nn::{Error, Result};

pub use augment::Views;
pub use descent::{Descent, Progress};
pub use evaluate::{accuracy, class_scores, highest};
pub use network::{Head, HeadShape, Network};

/// How an encoder is trained.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct EncoderTraining {
    /// Folder with train/ and, to measure accuracy, test/; each with one sub-folder of PNG or JPEG images a class
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// File to write, a safetensors file that --encoder file:FILE takes
    #[arg(long, value_name = "FILE", default_value = "encoder.safetensors")]
    pub out: PathBuf,
    /// Name of the training set, for the file's card; by default the folder's name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub epochs: usize,
    /// Root of initial weights, order and augmentation
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Convolution widths and pools (M), in order
    #[arg(long, value_name = "LAYOUT", default_value = random::LAYOUT)]
    pub layout: String,
    /// Side to which images are resized: a power of two from 8 to 256
    #[arg(long, value_name = "PIXELS", default_value_t = 32)]
    pub image_size: usize,
    /// Images in a step
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub batch_size: usize,
    /// Highest learning rate of the cycle
    #[arg(long, value_name = "RATE", default_value_t = 0.1)]
    pub lr: f64,
    /// Use at most this many training images
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// What training gave.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedEncoder {
    /// Where the weights come from, as written into the file.
    pub card: file::Card,
    /// The file's content.
    pub bytes: Vec<u8>,
    /// SHA-256 of what the encoder computes with.
    pub digest: String,
}

impl EncoderTraining {
    /// Refuses settings outside their limits.
    fn validate(&self) -> Result<EncoderLayout> {
        let refuse =
            |flag: &str, value: String, limit: &str| Err(Error::usage(format!("--{flag} is {value}; choose {limit}")));
        if !(1..=10_000).contains(&self.epochs) {
            return refuse("epochs", self.epochs.to_string(), "1 to 10000");
        }
        if !(2..=65_536).contains(&self.batch_size) {
            return refuse("batch-size", self.batch_size.to_string(), "2 to 65536");
        }
        if !(self.lr > 0.0 && self.lr <= 10.0) {
            return refuse("lr", self.lr.to_string(), "a rate above 0 and at most 10, such as 0.1");
        }
        let layout: EncoderLayout = self.layout.parse()?;
        if self.image_size < layout.smallest_side() {
            let limit = format!("at least {}, or a layout with fewer pools", layout.smallest_side());
            return refuse("image-size", self.image_size.to_string(), &limit);
        }
        Ok(layout)
    }

    fn descent(&self) -> Descent {
        Descent {
            epochs: self.epochs,
            batch_size: self.batch_size,
            lr: self.lr,
            seed: self.seed,
            views: Views::PHOTOGRAPHS,
            residual: false,
            cells: 1,
        }
    }

    /// Loads `split`, a sub-folder of the data folder.
    fn load(&self, split: &str, limit: Option<usize>) -> Result<Dataset> {
        let options = LoadOptions {
            data_dir: Some(self.data_dir.join(split)),
            image_size: self.image_size,
            channels: Some(3),
            limit,
            ..LoadOptions::default()
        };
        Ok(prism_data::load(Source::Folder, &options)?)
    }

    fn dataset_name(&self) -> String {
        let folder = || self.data_dir.file_name().map(|name| name.to_string_lossy().into_owned());
        self.name.clone().or_else(folder).unwrap_or_else(|| "images".into())
    }
}

/// Loads the images, trains, and writes the file.
///
/// `progress` is called after every step.
///
/// # Errors
/// [`prism_core::Error::Usage`] if a setting is outside its limits or images are missing, [`prism_core::Error::Io`] if
/// the file cannot be written.
pub fn train(settings: &EncoderTraining, progress: &mut dyn FnMut(Progress)) -> Result<TrainedEncoder> {
    settings.validate()?;
    refuse_folder(&settings.out)?;
    let training = settings.load("train", settings.limit)?;
    let test = if settings.data_dir.join("test").is_dir() { Some(settings.load("test", None)?) } else { None };
    let trained = fit(settings, &training, test.as_ref(), progress)?;
    file::write(&settings.out, &trained.bytes)?;
    Ok(trained)
}

/// Trains on images in memory; nothing is written.
///
/// # Errors
/// [`prism_core::Error::Usage`] if a setting is outside its limits or the sets do not fit.
pub fn fit(
    settings: &EncoderTraining,
    training: &Dataset,
    test: Option<&Dataset>,
    progress: &mut dyn FnMut(Progress),
) -> Result<TrainedEncoder> {
    let layout = settings.validate()?;
    check_sets(training, test)?;
    let training = &by_class(training);
    let network = settings.descent().run(&layout, training, progress)?;

    let convs = network.folded()?;
    let mut card = file::Card {
        version: file::VERSION,
        layout: layout.to_string(),
        dataset: settings.dataset_name(),
        dataset_digest: training.digest().to_owned(),
        images: training.len(),
        epochs: settings.epochs,
        seed: settings.seed,
        test_accuracy: None,
    };
    // Accuracy is that of the very weights that are kept: folded, rounded and read back.
    let draft = file::to_bytes(&card, &convs)?;
    let (encoder, _) = file::from_bytes("file", "the trained encoder", &draft, network.device())?;
    if let Some(test) = test {
        card.test_accuracy = Some(accuracy(test, |images| network.head().classify(&encoder.last(images)?))?);
    }
    Ok(TrainedEncoder { bytes: file::to_bytes(&card, &convs)?, digest: encoder.digest().to_owned(), card })
}

/// The images class by class, so that the file does not depend on how a loader mixes the classes.
fn by_class(set: &Dataset) -> Dataset {
    let mut rows: Vec<usize> = (0..set.len()).collect();
    if let Some(labels) = set.labels() {
        rows.sort_by_key(|&row| labels[row]);
    }
    set.subset(&rows)
}

fn check_sets(training: &Dataset, test: Option<&Dataset>) -> Result<()> {
    let refuse =
        |why: String| Err(Error::usage(format!("an encoder cannot be trained on '{}': {why}", training.name())));
    if training.classes() < 2 {
        return refuse(format!(
            "it has {} classes; give a folder with at least 2 sub-folders of images",
            training.classes()
        ));
    }
    if training.channels() != 3 {
        return refuse(format!("its images have {} channel; load them with 3", training.channels()));
    }
    if training.len() < 2 {
        return refuse("it has a single image; give at least 2".into());
    }
    match test {
        Some(test) if test.class_names() != training.class_names() => {
            refuse(format!("the test set '{}' has other classes; give both the same sub-folders", test.name()))
        }
        Some(test) if (test.channels(), test.image_size()) != (3, training.image_size()) => {
            refuse(format!("the test set '{}' has images of another size; load both alike", test.name()))
        }
        _ => Ok(()),
    }
}

/// Refuses before hours of work what could not be written after them.
fn refuse_folder(out: &Path) -> Result<()> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    if out.is_dir() || out.file_name().is_none() {
        return Err(Error::usage(format!("--out {} is a folder; give the name of a file", out.display())));
    }
    match folder {
        Some(folder) if !folder.is_dir() => Err(Error::usage(format!(
            "--out {}: there is no folder {}; create it first",
            out.display(),
            folder.display()
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
