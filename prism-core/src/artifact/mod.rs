//! The finished model as one small file, `NAME.safetensors.zst`: a seed, a mask, folded norms, and where it comes from.
//!
//! ```text
//! zstd frame
//!   safetensors file
//!     metadata `prism`       JSON: Meta
//!     mask.LAYER             U8, packed bits or range-coded, whichever is shorter
//!     norm.NAME.scale/shift  F32, batch norm folded to y = scale * x + shift
//! ```
//!
//! A mixture has the tensors of each component, their names behind its number as in `0.mask.first`.
//!
//! Any zstd and any safetensors library open it. `FORMAT.md` is the whole of the format; [`Artifact::from_bytes`] takes
//! nothing that deviates from it, and reading never allocates on a file's word alone.

mod foreign;
mod meta;
mod payload;
mod read;
mod stats;
#[cfg(feature = "write")]
mod write;

#[cfg(feature = "std")]
use std::path::Path;

pub use meta::{Description, Encoding, KnownAnswer, LayerMeta, MIXTURE_VERSION, MaskRule, Meta, Training, VERSION};
use sha2::{Digest, Sha256};
pub use stats::{LayerStats, Stats};

use crate::error::{Error, Result};
#[cfg(feature = "std")]
use crate::file;
use crate::latent;
use crate::mask::Mask;
use crate::mixture::component_seed;
use crate::prelude::*;
use crate::sampler::{FoldedNorm, Model, reference};

/// The one metadata key of the safetensors file.
const KEY: &str = "prism";
/// Most bytes of the JSON header of the safetensors file.
const MAX_HEADER: usize = 1 << 20;

/// A finished model, whose parts are known to fit each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    meta: Meta,
    components: Vec<Component>,
}

/// What is learned of one generator: all of the model, but in a mixture.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Which weights are kept.
    pub mask: Mask,
    /// The folded norms, in the order of [`Architecture::norms`](crate::Architecture::norms).
    pub norms: Vec<FoldedNorm>,
}

impl Artifact {
    /// A model from its parts, as many as the description has components. It draws the known-answer image, which takes
    /// some tenths of a second for a large generator.
    ///
    /// # Errors
    /// [`Error::Usage`] if mask or norms do not fit the architecture, or the description is out of its limits.
    pub fn new(description: Description, components: Vec<Component>) -> Result<Self> {
        description.check().map_err(Error::Usage)?;
        if components.len() != description.components {
            let (given, wanted) = (components.len(), description.components);
            return Err(Error::usage(format!("{given} components do not fit a description of {wanted}")));
        }
        let arch = &description.architecture;
        let seed = |c| component_seed(description.seed, c);
        let models = components.iter().enumerate().map(|(c, own)| Model::new(arch, seed(c), &own.mask, &own.norms));
        let models = models.collect::<Result<Vec<_>>>()?;
        let known_answer = known_answer(&models, 0, 0, latent::default_label(arch, 0))?;
        let (layers, tensors) = payload::encode(arch, &components);
        let version = Meta::version_for(components.len());
        let mut meta = Meta { version, payload_sha256: String::new(), description, layers, known_answer };
        payload::seal(&mut meta, &tensors).map_err(|e| Error::usage(format!("the description is no JSON: {e}")))?;
        Ok(Artifact { meta, components })
    }

    /// Reads an artifact from the bytes of its file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if they are cut short, altered, hostile or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        read::parse(bytes).map_err(|why| Error::corrupt("the artifact", why))
    }

    /// Reads the artifact at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Corrupt`] if it is not an intact artifact.
    #[cfg(feature = "std")]
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = file::read_bounded(path, read::MAX_FILE as u64)?;
        read::parse(&bytes).map_err(|why| Error::corrupt(format!("artifact {}", path.display()), why))
    }

    /// The bytes of the artifact's file; the same model gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if zstd or safetensors refuse to write it.
    #[cfg(feature = "write")]
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        write::to_bytes(self)
    }

    /// Replaces the file at `path` by this artifact, atomically.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; what stood at `path` is then untouched.
    #[cfg(feature = "write")]
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.to_bytes()?;
        file::write_atomic(path, |out| out.write_all(&bytes))
    }

    /// What the artifact says about itself.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// What was learned: of one generator, or of each component of a mixture.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The generators, for a [`Mixture`](crate::sampler::Mixture) of samplers: one, or each component of a mixture.
    pub fn models(&self) -> Vec<Model<'_>> {
        let Description { architecture, seed, .. } = &self.meta.description;
        let components = self.components.iter().enumerate();
        let seed = |c| component_seed(*seed, c);
        components.map(|(c, own)| Model::of_checked_parts(architecture, seed(c), &own.mask, &own.norms)).collect()
    }

    /// Draws the known-answer image again and compares.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if this program does not rebuild the generator that the artifact was made with.
    pub fn verify(&self) -> Result<()> {
        let expected = &self.meta.known_answer;
        let found = known_answer(&self.models(), expected.seed, expected.index, expected.label)?;
        if found != *expected {
            return Err(Error::corrupt(
                "the artifact",
                format!(
                    "its known-answer image has the hash {} here and {} where it was made: use the program that made \
                     it",
                    found.sha256, expected.sha256
                ),
            ));
        }
        Ok(())
    }

    /// Sizes, densities and entropies.
    pub fn stats(&self) -> Stats {
        Stats::new(&self.meta.layers, self.components.len())
    }
}

fn known_answer(models: &[Model<'_>], seed: u64, index: u64, label: Option<usize>) -> Result<KnownAnswer> {
    let mut hash = Sha256::new();
    for model in models {
        let input = latent::input(model.arch(), &latent::latent(model.arch(), seed, index), label)?;
        hash.update(reference::bytes(model, &input));
    }
    Ok(KnownAnswer { seed, index, label, sha256: payload::hex(&hash.finalize()) })
}

#[cfg(all(test, feature = "write"))]
mod tests;
