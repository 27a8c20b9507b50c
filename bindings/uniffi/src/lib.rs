//! # libprism_mobile
//!
//! The sampler for Kotlin and Swift: UniFFI generates their sides of the interface from the compiled library. Nothing is
//! decided here: [`LoadedModel`] reads and draws. A panic becomes an exception there.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use prism_core::inputs::{Inputs, Source};
use prism_core::loaded::LoadedModel;
use prism_core::{Error, labels, sampler};

uniffi::setup_scaffolding!("prism");

/// Why a call failed, in one sentence.
#[derive(Debug, thiserror::Error, uniffi::Error)]
#[uniffi(flat_error)]
pub enum ModelError {
    /// A file is damaged, hostile or of another version, or the system refused.
    #[error("{0}")]
    Failure(String),
    /// The caller's mistake: an argument that cannot be.
    #[error("{0}")]
    Usage(String),
}

impl From<Error> for ModelError {
    fn from(error: Error) -> Self {
        let words = error.to_string();
        if error.exit_code() == 2 { ModelError::Usage(words) } else { ModelError::Failure(words) }
    }
}

/// Numbers to draw with.
#[derive(uniffi::Enum)]
pub enum Precision {
    /// 32-bit floats; images may differ by rounding between machines.
    F32,
    /// 16-bit integers with exact sums: the same images on every machine.
    I16,
}

/// The shape of a model's images.
#[derive(uniffi::Record)]
pub struct Shape {
    /// Side of an image in pixels.
    pub size: u32,
    /// Bytes of a pixel: 1 (grey) or 3 (red, green, blue).
    pub channels: u32,
    /// Number of classes; 0 where it has none.
    pub classes: u32,
}

/// A model in memory. Any number of threads may draw from one.
#[derive(uniffi::Object)]
pub struct Model(LoadedModel);

#[uniffi::export]
impl Model {
    /// Opens a model from the bytes of its file.
    #[uniffi::constructor]
    pub fn new(bytes: Vec<u8>) -> Result<Arc<Self>, ModelError> {
        Ok(Arc::new(Model(LoadedModel::from_bytes(&bytes)?)))
    }

    /// Opens a model from a file, or from the folder of a run.
    #[uniffi::constructor]
    pub fn open(path: String) -> Result<Arc<Self>, ModelError> {
        Ok(Arc::new(Model(LoadedModel::open(Path::new(&path))?)))
    }

    /// The shape of its images.
    pub fn shape(&self) -> Shape {
        let arch = &self.0.description().architecture;
        Shape { size: arch.image_size as u32, channels: arch.channels as u32, classes: arch.classes as u32 }
    }

    /// What it says about itself, its privacy among it, as JSON.
    pub fn info(&self) -> Result<String, ModelError> {
        Ok(self.0.info()?)
    }

    /// Draws `count` images by all cores: image after image, row after row, pixel after pixel. `label` is a class by name
    /// or number; several, as in "cat,dog" or "0-3", take turns, and without one all do. `first` is the number of the
    /// first image: image k depends on the seed and on k alone.
    #[uniffi::method(default(label = None, first = 0))]
    pub fn sample(
        &self,
        count: u32,
        seed: u64,
        precision: Precision,
        label: Option<String>,
        first: u64,
    ) -> Result<Vec<u8>, ModelError> {
        let description = self.0.description();
        let labels = labels::resolve(description, label.as_slice())?;
        let end = first.checked_add(u64::from(count));
        let end = end.ok_or_else(|| Error::usage(format!("first is {first}; there are no images behind it")))?;
        let inputs = Inputs::new(description, Source::Seed(seed), end)?.with_labels(labels)?;
        let precision = match precision {
            Precision::F32 => sampler::Precision::F32,
            Precision::I16 => sampler::Precision::I16,
        };
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(self.0.draw(&inputs, first..end, precision, threads)?)
    }
}
