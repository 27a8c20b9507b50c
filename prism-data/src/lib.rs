//! Data sets: from a name such as `mnist` to images in memory at the model's size.
//!
//! ```text
//! name + LoadOptions  ->  files or the procedural set  ->  decode, crop, resize  ->  Dataset (u8 [N, C, S, S])
//! ```
//!
//! Every source gives the same images in the same order at any thread count. What is read is treated as hostile:
//! lengths are bounded before memory is taken, and each refusal is one sentence that names the file and the remedy.

mod cifar;
pub mod dataset;
mod decode;
mod duplicates;
mod folder;
#[cfg(feature = "hub")]
mod hub;
mod idx;
mod idx_folder;
mod locate;
mod mnist;
pub mod partition;
mod resize;
mod sites;
pub mod strokes;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use prism_core::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use dataset::{Dataset, MAX_CLASS_NAME};
pub use decode::Intensity;
pub use duplicates::Duplicates;
pub use folder::{Broken, PassedOver, People, Pictures, Survey};
pub use locate::DATA_VARIABLE;

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
    /// Any folder of image files: one sub-folder a class, or flat and unlabelled; or one of IDX files.
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

/// Is told of each file that was read how many there are.
pub type Watch<'a> = dyn Fn(usize) + Sync + 'a;

/// How to load a [`Source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Where the files lie. `strokes` have none.
    pub data_dir: Option<PathBuf>,
    /// Side of the images in memory, a power of two from 8 to 256; every image is resized to it.
    pub image_size: usize,
    /// 1 for grey, 3 for colour; `None` keeps what the set is (a folder: grey where all its images are).
    pub channels: Option<usize>,
    /// What is black and what is white in a folder's images of 16-bit grey or DICOM.
    pub intensity: Intensity,
    /// Whether files of a folder that cannot be read are passed over, or refused.
    pub skip_broken: bool,
    /// Only the first so many images, for quick runs. For `strokes` the number of images itself, without a limit.
    pub limit: Option<usize>,
    /// Which part of the set.
    pub split: Split,
    /// Root seed. Only `strokes` draws anything.
    pub seed: u64,
    /// What the sub-folders of a folder are.
    pub layout: FolderLayout,
}

/// What the sub-folders of a folder are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FolderLayout {
    /// Its classes, or parts of a split with its classes.
    #[default]
    Classes,
    /// The same, where all classes are agreed on beforehand; it may lack some of these.
    Agreed(Vec<String>),
    /// Sites: each is what one client of a fleet holds.
    Sites,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            data_dir: None,
            image_size: 32,
            channels: None,
            intensity: Intensity::FULL,
            skip_broken: false,
            limit: None,
            split: Split::Train,
            seed: 0,
            layout: FolderLayout::Classes,
        }
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

    /// Refuses what `source` would not obey, so that nobody trains on other images than they think.
    fn check_source(&self, source: Source) -> Result<()> {
        let refuse = |what: String| {
            let remedy = "leave it out, or add `dataset` folder for images of your own";
            Err(Error::usage(format!("{what}, which data set '{source}' does not read; {remedy}")))
        };
        match (source, &self.data_dir) {
            (Source::Folder, _) => Ok(()),
            (Source::Strokes, Some(folder)) => refuse(format!("`data-dir` is {}", folder.display())),
            _ if self.intensity != Intensity::FULL => refuse(format!("`intensity` is {}", self.intensity)),
            _ if self.skip_broken => refuse("`skip-broken` is for broken files".into()),
            _ => Ok(()),
        }
    }
}

/// Loads `source` as `options` ask.
///
/// # Errors
/// [`Error::Usage`] if an option is out of its limits, is one that the source does not know, or the files are not there;
/// [`Error::Corrupt`] if a file is not what it claims to be, [`Error::Io`] if one cannot be read.
pub fn load(source: Source, options: &LoadOptions) -> Result<Dataset> {
    Ok(load_surveyed(source, options, &|_| ())?.0)
}

/// Loads `source` as `options` ask, and says what it saw in a folder. Each file of a folder that was read calls `watch` with the
/// number of all.
///
/// # Errors
/// As [`load`].
pub fn load_surveyed(source: Source, options: &LoadOptions, watch: &Watch<'_>) -> Result<(Dataset, Survey)> {
    options.validate()?;
    options.check_source(source)?;
    let unseen = |images: Dataset| (images, Survey::default());
    match source {
        Source::Strokes => strokes::load(options).map(unseen),
        Source::Mnist | Source::FashionMnist => mnist::load(source, options).map(unseen),
        Source::Cifar10 => cifar::load(options, watch).map(unseen),
        Source::Folder => {
            let folder = locate::data_dir(options)?;
            if options.layout == FolderLayout::Classes
                && let Some(images) = idx_folder::load(folder, options)?
            {
                return Ok(unseen(images));
            }
            let read = if options.layout == FolderLayout::Sites { sites::load } else { folder::load };
            read((&folder::name_of(folder), folder), options, watch)
        }
    }
}

const DIGIT_NAMES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

const FASHION_NAMES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

const CIFAR_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Everything about a data set but its pixels.
struct Blueprint {
    name: String,
    /// Images that there are, before any limit.
    images: usize,
    /// What the set is, before [`LoadOptions::channels`].
    channels: usize,
    class_names: Vec<String>,
    labels: Option<Vec<u16>>,
}

impl Blueprint {
    /// Takes memory for all images up to the limit and has `fill(index, image)` fill them, in parallel. Of several errors
    /// the one of the lowest index is returned, at any thread count.
    fn build(self, options: &LoadOptions, fill: impl Fn(usize, &mut [u8]) -> Result<()> + Sync) -> Result<Dataset> {
        let images = options.limit.map_or(self.images, |limit| limit.min(self.images));
        let (channels, size) = (options.channels.unwrap_or(self.channels), options.image_size);
        let mut pixels = blank_images(&self.name, images, channels, size)?;
        let failed = pixels
            .par_chunks_mut(channels * size * size)
            .enumerate()
            .find_map_first(|(index, image)| fill(index, image).err());
        if let Some(error) = failed {
            return Err(error);
        }
        let labels = self.labels.map(|mut labels| {
            labels.truncate(images);
            labels
        });
        let images = Dataset::new(self.name, size, channels, pixels)?;
        match labels {
            Some(labels) => images.with_labels(self.class_names, labels),
            None => Ok(images),
        }
    }
}

/// Bytes of pixels that one data set may take: 32 GiB.
const MAX_PIXEL_BYTES: usize = 1 << 35;

/// The number of bytes of `images` images, or a sentence where no data set may be so large.
fn pixel_bytes(name: &str, images: usize, channels: usize, image_size: usize) -> Result<usize> {
    let bytes = images.checked_mul(channels * image_size * image_size);
    bytes.filter(|&bytes| bytes <= MAX_PIXEL_BYTES && images <= Dataset::MAX_IMAGES).ok_or_else(|| {
        Error::usage(format!(
            "{images} images of data set '{name}' at {channels}x{image_size}x{image_size} bytes are more than \
             {MAX_PIXEL_BYTES} bytes; choose fewer images with a limit, or a smaller image size"
        ))
    })
}

/// Zeroed pixels for `images` images, or a sentence instead of an aborted process where memory is short.
fn blank_images(name: &str, images: usize, channels: usize, image_size: usize) -> Result<Vec<u8>> {
    let bytes = pixel_bytes(name, images, channels, image_size)?;
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(bytes).map_err(|_| {
        Error::usage(format!(
            "there is no memory for the {bytes} bytes of data set '{name}'; choose fewer images with a limit, or a smaller \
             image size"
        ))
    })?;
    pixels.resize(bytes, 0);
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_through_text_and_settings_alike() {
        for source in Source::ALL {
            assert_eq!(source.to_string().parse::<Source>().unwrap(), source);
            assert_eq!(serde_json::to_string(&source).unwrap(), format!("\"{source}\""));
        }
        let error = "mnits".parse::<Source>().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("fashion-mnist, cifar10, folder"), "{error}");
    }

    #[test]
    fn options_outside_their_limits_are_refused() {
        let options = LoadOptions { limit: Some(3), ..LoadOptions::default() };
        assert_eq!(load(Source::Strokes, &options).unwrap().len(), 3);
        for (broken, part) in [
            (LoadOptions { image_size: 24, ..options.clone() }, "image size is 24"),
            (LoadOptions { image_size: 4, ..options.clone() }, "image size is 4"),
            (LoadOptions { image_size: 512, ..options.clone() }, "image size is 512"),
            (LoadOptions { channels: Some(2), ..options.clone() }, "channels is 2"),
            (LoadOptions { limit: Some(0), ..options.clone() }, "limit on images is 0"),
            (LoadOptions { data_dir: Some("photos".into()), ..options.clone() }, "`data-dir` is photos"),
            (LoadOptions { intensity: "0-9".parse().unwrap(), ..options.clone() }, "`intensity` is 0-9"),
            (LoadOptions { skip_broken: true, ..options.clone() }, "`skip-broken` is for"),
        ] {
            let error = load(Source::Strokes, &broken).unwrap_err();
            assert!(error.to_string().contains(part) && error.exit_code() == 2, "{error}");
        }
    }
}
