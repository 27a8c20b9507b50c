//! Data sets: from a name such as `mnist` to images in memory at the model's size.
//!
//! ```text
//! name + LoadOptions  ->  files or the procedural set  ->  decode, crop, resize  ->  Dataset (u8 [N, C, S, S])
//! ```
//!
//! Every source gives the same images in the same order at any thread count. What is read is treated as hostile:
//! lengths are bounded before memory is taken, and each refusal is one sentence that names the file and the remedy.

pub mod dataset;
pub mod strokes;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use prism_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub use dataset::Dataset;

/// Where images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The embedded procedural set of pen-stroke digits: no files, any number of images ([`strokes`]).
    Strokes,
    /// Handwritten digits: IDX files, grey, 28x28, ten classes (LeCun, Cortes and Burges).
    Mnist,
    /// Articles of clothing: IDX files, grey, 28x28, ten classes (Xiao, Rasul and Vollgraf 2017).
    FashionMnist,
    /// Small photographs: binary batches or class folders, colour, 32x32, ten classes (Krizhevsky 2009).
    Cifar10,
    /// Any folder of PNG or JPEG files: one sub-folder a class, or flat and unlabelled.
    Folder,
}

impl Source {
    /// Every source, in the order in which help lists them.
    pub const ALL: [Source; 5] =
        [Source::Strokes, Source::Mnist, Source::FashionMnist, Source::Cifar10, Source::Folder];

    /// The name that `--dataset` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Strokes => "strokes",
            Source::Mnist => "mnist",
            Source::FashionMnist => "fashion-mnist",
            Source::Cifar10 => "cifar10",
            Source::Folder => "folder",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Source::name).join(", ");
            Error::usage(format!(
                "data set '{name}' is unknown; choose one of {known} (for images of your own: folder, with --data-dir)"
            ))
        })
    }
}

/// Which part of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What the federation trains on.
    #[default]
    Train,
    /// What only metrics read.
    Test,
}

/// How to load a [`Source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Where the files lie. Unused by `strokes`.
    pub data_dir: Option<PathBuf>,
    /// Side of the images in memory, a power of two from 8 to 256; every image is resized to it.
    pub image_size: usize,
    /// 1 for grey, 3 for colour; `None` keeps what the set is (a folder: colour).
    pub channels: Option<usize>,
    /// Only the first so many images, for quick runs. For `strokes` the number of images itself, without a limit.
    pub limit: Option<usize>,
    /// Which part of the set.
    pub split: Split,
    /// Root seed. Only `strokes` draws anything.
    pub seed: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { data_dir: None, image_size: 32, channels: None, limit: None, split: Split::Train, seed: 0 }
    }
}

impl LoadOptions {
    fn validate(&self) -> Result<()> {
        if !self.image_size.is_power_of_two() || !(8..=256).contains(&self.image_size) {
            return Err(Error::usage(format!(
                "image size is {}; choose a power of two from 8 to 256, such as 32",
                self.image_size
            )));
        }
        if !matches!(self.channels, None | Some(1 | 3)) {
            let channels = self.channels.unwrap_or(0);
            return Err(Error::usage(format!("channels is {channels}; choose 1 (grey) or 3 (colour)")));
        }
        if self.limit == Some(0) {
            return Err(Error::usage("the limit on images is 0; choose at least 1, or none"));
        }
        Ok(())
    }
}

/// Loads `source` as `options` ask.
///
/// # Errors
/// [`Error::Usage`] if an option is out of its limits or the files are not there, [`Error::Corrupt`] if a file is not
/// what it claims to be, [`Error::Io`] if one cannot be read.
pub fn load(source: Source, options: &LoadOptions) -> Result<Dataset> {
    options.validate()?;
    match source {
        Source::Strokes => strokes::load(options),
        Source::Mnist | Source::FashionMnist | Source::Cifar10 | Source::Folder => Err(Error::usage(format!("data set {source} cannot be read yet"))),
    }
}

/// Bytes of pixels that one data set may take: 32 GiB.
const MAX_PIXEL_BYTES: usize = 1 << 35;

/// Zeroed pixels for `images` images, or a sentence instead of an aborted process where they would not fit.
fn blank_images(name: &str, images: usize, channels: usize, image_size: usize) -> Result<Vec<u8>> {
    let refuse = || {
        let per_image = channels * image_size * image_size;
        Error::usage(format!(
            "{images} images of data set '{name}' at {per_image} bytes each do not fit in memory; choose fewer images or \
             a smaller image size"
        ))
    };
    let bytes = images.checked_mul(channels * image_size * image_size).ok_or_else(refuse)?;
    let mut pixels = Vec::new();
    if bytes > MAX_PIXEL_BYTES || images > Dataset::MAX_IMAGES || pixels.try_reserve_exact(bytes).is_err() {
        return Err(refuse());
    }
    pixels.resize(bytes, 0);
    Ok(pixels)
}
