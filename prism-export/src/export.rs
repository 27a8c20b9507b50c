//! Writing an artifact, and trusting it only after it was read back.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use prism_core::artifact::{Artifact, Stats};
use prism_core::latent;
use prism_core::sampler::Sampler;
use prism_core::{Architecture, Error};
use prism_nn::Result;
use serde::{Serialize, Serializer};

use crate::Checkpoint;
use crate::freeze::{Options, freeze};

/// Images on which the written artifact is compared with the generator that it came from.
const COMPARED: u64 = 8;
/// Most that a pixel in [-1, 1] may differ: two orders of summation in `f32`.
const TOLERANCE: f32 = 1e-3;

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The artifact.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Sizes, densities and entropies.
    pub mask: Stats,
    /// Largest difference of a pixel in [-1, 1] between the artifact as read back and the generator as trained.
    pub largest_difference: f32,
    /// The artifact as it was read back.
    #[serde(skip)]
    pub artifact: Artifact,
}

/// Freezes `checkpoint` into an artifact at `path`, reads it back and compares images before it reports success.
///
/// # Errors
/// If the artifact cannot be written, or does not draw what the trained generator draws; what stood at `path` is then
/// untouched. If a file does not read back as it was written, which is found out last, it stands in the place of the one before.
pub fn export(checkpoint: &Checkpoint, options: Options, path: &Path) -> Result<Report> {
    let frozen = freeze(checkpoint, options)?;
    let bytes = frozen.artifact.to_bytes()?;
    let read = Artifact::from_bytes(&bytes)?;
    read.verify()?;
    let inputs = inputs(&checkpoint.description.model.architecture)?;
    let mut largest_difference = 0.0f32;
    for (component, model) in read.models().iter().enumerate() {
        let drawn = Sampler::new(model).images(&inputs, NonZeroUsize::MIN);
        largest_difference = largest_difference.max(difference(&drawn, &frozen.images(&inputs, component)?));
    }
    if largest_difference > TOLERANCE {
        return Err(Error::corrupt(
            format!("the artifact for {}", path.display()),
            format!(
                "its images differ by {largest_difference} from the trained generator's, and {TOLERANCE} is allowed: \
                 nothing was written; please report this with the checkpoint"
            ),
        )
        .into());
    }
    // The file's own place: once it is replaced, a name such as `/dev/stdout` may still lead to the file before.
    let place = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    prism_core::file::write_atomic(path, |out| out.write_all(&bytes))?;
    // A pipe or a device holds nothing to read back; a pipe would be waited for without end.
    if place.is_file() && Artifact::read(&place)? != read {
        return Err(Error::corrupt(path.display().to_string(), "it does not read back as it was written").into());
    }
    Ok(Report {
        path: path.to_path_buf(),
        file_bytes: bytes.len() as u64,
        mask: read.stats(),
        largest_difference,
        artifact: read,
    })
}

/// The largest difference between two numbers in the same place; infinite where one is no number or has no fellow.
fn difference(drawn: &[f32], trained: &[f32]) -> f32 {
    if drawn.len() != trained.len() {
        return f32::INFINITY;
    }
    let apart = |(a, b): (&f32, &f32)| Some((a - b).abs()).filter(|d| !d.is_nan()).unwrap_or(f32::INFINITY);
    drawn.iter().zip(trained).map(apart).fold(0.0, f32::max)
}

/// A path as text: JSON has no form for one that is no UTF-8.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

fn inputs(arch: &Architecture) -> Result<Vec<f32>> {
    let input = |k| latent::input(arch, &latent::latent(arch, 0, k), latent::default_label(arch, k));
    let rows = (0..COMPARED).map(input).collect::<prism_core::Result<Vec<_>>>()?;
    Ok(rows.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tests::{mixture, sample};
    use prism_core::artifact::MaskRule;

    #[test]
    fn an_exported_artifact_draws_what_was_trained() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors.zst");
        let options = Options { mask_rule: MaskRule::Threshold, calibration_images: 256 };
        let report = export(&sample(), options, &path).unwrap();
        assert_eq!(report.file_bytes, std::fs::metadata(&path).unwrap().len());
        assert!(report.largest_difference < 1e-4, "{}", report.largest_difference);
        let artifact = Artifact::read(&path).unwrap();
        assert_eq!(artifact.meta().description.training.rounds, 3);
        assert_eq!(artifact.components()[0].mask.ones(), report.mask.ones);
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"no-utf-8-\xff"));
            assert!(serde_json::to_string(&Report { path, ..report }).unwrap().contains("no-utf-8-\u{fffd}"));
        }
    }

    #[test]
    fn every_component_of_a_mixture_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mixture.safetensors.zst");
        let report = export(&mixture(), Options::of(&mixture()), &path).unwrap();
        assert!(report.largest_difference < 1e-4, "{}", report.largest_difference);
        assert_eq!(Artifact::read(&path).unwrap().components().len(), 2);
        assert_eq!(difference(&[1.0, f32::NAN], &[1.0, 2.0]), f32::INFINITY);
        assert_eq!(difference(&[1.0], &[1.0, 2.0]), f32::INFINITY);
        assert_eq!(difference(&[1.0, 4.0], &[1.5, 2.0]), 2.0);
    }

    /// A pipe stands for every target that is no file.
    #[cfg(unix)]
    #[test]
    fn a_pipe_takes_the_artifact_and_is_not_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (done, wait) = std::sync::mpsc::channel();
        let reader = path.clone();
        let reader = std::thread::spawn(move || std::fs::read(reader).unwrap());
        std::thread::spawn(move || {
            let options = Options { mask_rule: MaskRule::Threshold, calibration_images: 256 };
            done.send(export(&sample(), options, &path).map_err(|e| e.to_string())).unwrap();
        });
        let report = wait.recv_timeout(std::time::Duration::from_secs(120)).expect("an export that ends").unwrap();
        let bytes = reader.join().unwrap();
        assert_eq!(report.file_bytes, bytes.len() as u64);
        Artifact::from_bytes(&bytes).unwrap();
    }
}
