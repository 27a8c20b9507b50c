//! A model in memory, ready to draw: what the bindings to other languages wrap.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::arch::Architecture;
use crate::artifact::{Artifact, Description};
use crate::error::{Error, Result};
use crate::grid::{Picture, grid_size};
use crate::inputs::Inputs;
use crate::sampler::{Isa, Mixture, Precision, pixel};

/// The artifact in a run's folder.
const IN_RUN_FOLDER: &str = "model.safetensors.zst";
/// Most bytes that one call draws.
const MAX_BYTES: u64 = 1 << 28;
/// Images that are in memory as numbers at a time.
const CHUNK: u64 = 64;

/// A model and its samplers, each laid out when it is first asked for. Any number of threads may draw from one.
pub struct LoadedModel {
    artifact: Artifact,
    f32: OnceLock<Mixture>,
    i16: OnceLock<Mixture>,
}

impl LoadedModel {
    /// A model that was read.
    pub fn new(artifact: Artifact) -> Self {
        LoadedModel { artifact, f32: OnceLock::new(), i16: OnceLock::new() }
    }

    /// Reads the bytes of an artifact's file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if they are cut short, altered, hostile or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Artifact::from_bytes(bytes).map(Self::new)
    }

    /// Reads a model's file, or the one in a run's folder.
    ///
    /// # Errors
    /// As [`Artifact::read`], and [`Error::Usage`] for a folder without a model.
    pub fn open(path: &Path) -> Result<Self> {
        Artifact::read(&file_of(path)?).map(Self::new)
    }

    /// The model.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// What it says about itself.
    pub fn description(&self) -> &Description {
        &self.artifact.meta().description
    }

    /// Its description as JSON, with the fields and in the order of the format.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it has no such form, which a description that was read has.
    pub fn info(&self) -> Result<String> {
        serde_json::to_string(self.description()).map_err(|e| Error::corrupt("the description", e.to_string()))
    }

    /// The images `range` of `inputs` as bytes `[n, size, size, channels]`.
    ///
    /// # Errors
    /// [`Error::Usage`] if they are more than 256 MiB, or more than the inputs have.
    pub fn draw(
        &self,
        inputs: &Inputs,
        range: Range<u64>,
        precision: Precision,
        threads: NonZeroUsize,
    ) -> Result<Vec<u8>> {
        let arch = &self.description().architecture;
        let planes = self.planes(inputs, range, precision, threads)?;
        if arch.channels == 1 {
            return Ok(planes);
        }
        Ok(planes.chunks_exact(arch.pixels()).flat_map(|image| Picture::single(arch, image).pixels).collect())
    }

    /// All images of `inputs` as one picture, in rows of `columns`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no image or no column, or the picture would be too large.
    pub fn picture(
        &self,
        inputs: &Inputs,
        columns: usize,
        precision: Precision,
        threads: NonZeroUsize,
    ) -> Result<Picture> {
        let arch = &self.description().architecture;
        grid_size(arch, usize::try_from(inputs.count()).unwrap_or(usize::MAX), columns)?;
        Picture::grid(arch, &self.planes(inputs, 0..inputs.count(), precision, threads)?, columns)
    }

    /// As [`LoadedModel::draw`], but `[n, channels, size, size]`.
    fn planes(
        &self,
        inputs: &Inputs,
        range: Range<u64>,
        precision: Precision,
        threads: NonZeroUsize,
    ) -> Result<Vec<u8>> {
        let arch = &self.description().architecture;
        let count = range.end.saturating_sub(range.start);
        check_size(arch, count)?;
        if range.end > inputs.count() {
            let (end, inputs) = (range.end, inputs.count());
            return Err(Error::usage(format!("images up to {end} are asked for and there are {inputs}")));
        }
        let sampler = self.sampler(precision);
        let mut bytes = Vec::with_capacity(count as usize * arch.pixels());
        let mut first = range.start;
        while first < range.end {
            let next = range.end.min(first.saturating_add(CHUNK));
            let rows = (first..next).map(|index| inputs.get(index)).collect::<Result<Vec<_>>>()?.concat();
            let components: Vec<usize> = (first..next).map(|index| inputs.component(index)).collect();
            bytes.extend(pixel::bytes(&sampler.images(&rows, &components, threads)));
            first = next;
        }
        Ok(bytes)
    }

    fn sampler(&self, precision: Precision) -> &Mixture {
        let slot = match precision {
            Precision::F32 => &self.f32,
            Precision::I16 => &self.i16,
        };
        slot.get_or_init(|| Mixture::with(&self.artifact.models(), precision, Isa::detect()))
    }
}

/// Refuses more bytes than one call draws.
fn check_size(arch: &Architecture, count: u64) -> Result<()> {
    let most = MAX_BYTES / arch.pixels() as u64;
    if count > most {
        return Err(Error::usage(format!("{count} images are asked for; one call draws up to {most} of this model's")));
    }
    Ok(())
}

/// The model's file, where a run's folder may be named in its place.
fn file_of(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let file = path.join(IN_RUN_FOLDER);
    if file.exists() {
        return Ok(file);
    }
    let folder = path.display();
    Err(Error::usage(format!(
        "the folder {folder} has no {IN_RUN_FOLDER}; `prism-export {folder}` makes that of a run"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{self, Source};
    use crate::latent;

    /// A shipped model: 32x32 grey digits.
    fn digits() -> LoadedModel {
        let bytes = include_bytes!("../../models/mnist-rounds.safetensors.zst");
        LoadedModel::from_bytes(bytes).unwrap()
    }

    #[test]
    fn threads_may_share_a_model() {
        fn shareable<T: Send + Sync>(_: &T) {}
        let (model, one) = (digits(), NonZeroUsize::MIN);
        shareable(&model);
        let inputs = Inputs::new(model.description(), Source::Seed(1), 9).unwrap();
        let draw = || model.draw(&inputs, 0..9, Precision::I16, one).unwrap();
        let drawn = std::thread::scope(|scope| [0; 4].map(|_| scope.spawn(draw)).map(|thread| thread.join().unwrap()));
        assert!(drawn.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn images_are_the_samplers_wherever_the_range_begins() {
        let model = digits();
        let (arch, one) = (&model.description().architecture, NonZeroUsize::MIN);
        let inputs = Inputs::new(model.description(), Source::Seed(7), 70).unwrap();
        let all = model.draw(&inputs, 0..70, Precision::I16, one).unwrap();
        let z = latent::input(arch, &latent::latent(arch, 7, 69), Some(9)).unwrap();
        let sampler = Mixture::with(&model.artifact().models(), Precision::I16, Isa::detect());
        assert_eq!(all[69 * 1024..], pixel::bytes(&sampler.images(&z, &[0], one)));
        assert_eq!(all[66 * 1024..69 * 1024], model.draw(&inputs, 66..69, Precision::I16, one).unwrap());
        assert_ne!(all[..1024], model.draw(&inputs, 0..1, Precision::F32, one).unwrap(), "another precision");
    }

    #[test]
    fn given_latents_draw_what_their_seed_draws() {
        let model = digits();
        let (arch, one) = (&model.description().architecture, NonZeroUsize::MIN);
        let seeded = Inputs::new(model.description(), Source::Seed(0), 3).unwrap().with_labels(vec![4, 2]).unwrap();
        let latents = (0..3).flat_map(|k| latent::latent(arch, 0, k)).collect();
        let source = Source::rows(arch, latents, arch.latent).unwrap();
        let given = Inputs::new(model.description(), source, 3).unwrap().with_labels(vec![4, 2]).unwrap();
        let draw = |inputs| model.draw(inputs, 0..3, Precision::F32, one).unwrap();
        assert_eq!(draw(&seeded), draw(&given));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let model = digits();
        let arch = &model.description().architecture;
        let inputs = |count| Inputs::new(model.description(), Source::Seed(0), count).unwrap();
        let draw = |inputs: Inputs, range| {
            model.draw(&inputs, range, Precision::I16, NonZeroUsize::MIN).unwrap_err().to_string()
        };
        assert!(draw(inputs(u64::MAX), 0..u64::MAX).contains("one call draws up to 262144"));
        assert!(draw(inputs(2), 0..3).contains("images up to 3 are asked for and there are 2"));
        assert!(inputs::range(u64::MAX, 2).unwrap_err().to_string().contains("no 2 images from there on"));
        assert!(inputs(2).with_labels(vec![10]).unwrap_err().to_string().contains("labels 0 to 9"));
        assert!(inputs(2).with_component(1).unwrap_err().to_string().contains("single generator"));
        assert!(inputs(1).with_steps(5).unwrap_err().to_string().contains("at least 2"));
        assert!(inputs(9).with_steps(u64::MAX).unwrap_err().to_string().contains("beyond all counting"));
        assert!(Source::rows(arch, vec![0.0; 5], 5).unwrap_err().to_string().contains("rows of"));
        assert!(Source::rows(arch, vec![f32::NAN; arch.latent], arch.latent).unwrap_err().to_string().contains("NaN"));
        assert!(Source::rows(arch, Vec::new(), arch.latent).is_err());
        assert!(model.info().unwrap().contains("\"privacy\":\"none"));
    }
}
