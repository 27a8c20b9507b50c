//! The file of an encoder that this project trained: a safetensors file with f16 tensors `convs.N.weight` and
//! `convs.N.bias`, and one metadata key `prism` whose JSON is the [`Card`].

use std::collections::HashMap;
use std::path::Path;

use candle_core::Device;
use half::f16;
use prism_core::file::write_atomic;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use super::tensors::{self, Tensors};
use super::weights::KERNEL;
use super::{ConvWeights, Encoder, EncoderLayout};
use crate::error::{Error, Result};

/// The version of this format.
pub const VERSION: u32 = 1;

/// Where an encoder's weights come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Version of the file format: 1.
    pub version: u32,
    /// Order of convolutions and pools ([`EncoderLayout`]).
    pub layout: String,
    /// Name of the training set.
    pub dataset: String,
    /// SHA-256 of the training set's pixels and labels.
    pub dataset_digest: String,
    /// Number of training images.
    pub images: usize,
    /// Passes over the training set.
    pub epochs: usize,
    /// Root seed of initial weights, order and augmentation.
    pub seed: u64,
    /// Share of the test set that this very file (with its classifier) told right; `None` without a test set.
    pub test_accuracy: Option<f64>,
}

/// The bytes of the file that holds `weights`, rounded to f16.
///
/// # Errors
/// [`prism_core::Error::Corrupt`] if a weight is beyond what an f16 can hold.
pub fn to_bytes(card: &Card, weights: &[ConvWeights]) -> Result<Vec<u8>> {
    let mut tensors = Vec::new();
    for (index, conv) in weights.iter().enumerate() {
        let shape = vec![conv.outputs, conv.inputs, KERNEL, KERNEL];
        tensors.push((format!("convs.{index}.weight"), shape, to_f16(&conv.weight)?));
        tensors.push((format!("convs.{index}.bias"), vec![conv.outputs], to_f16(&conv.bias)?));
    }
    let views = tensors.iter().map(|(name, shape, data)| {
        let view = TensorView::new(Dtype::F16, shape.clone(), data).map_err(|e| refuse(&e))?;
        Ok((name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let json = serde_json::to_string(card).map_err(|e| refuse(&e))?;
    safetensors::serialize(views, Some(HashMap::from([("prism".to_owned(), json)]))).map_err(|e| refuse(&e))
}

/// Writes `bytes` to `path`, atomically.
///
/// # Errors
/// [`prism_core::Error::Io`] if the file cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(write_atomic(path, |out| out.write_all(bytes))?)
}

/// Opens `file:PATH`.
///
/// # Errors
/// [`prism_core::Error::Usage`] if there is no such file, [`prism_core::Error::Corrupt`] if it holds no encoder.
pub fn open(path: &Path, device: &Device) -> Result<Encoder> {
    Ok(from_bytes("file", &format!("encoder {}", path.display()), &tensors::read(path)?, device)?.0)
}

/// The encoder in `bytes` and its card. Reports call it `name`, errors call its source `what`.
///
/// # Errors
/// [`prism_core::Error::Corrupt`] if the bytes hold no encoder.
pub fn from_bytes(name: &str, what: &str, bytes: &[u8], device: &Device) -> Result<(Encoder, Card)> {
    let file = Tensors::parse(what, bytes)?;
    let text = file.metadata().ok_or_else(|| file.corrupt("its metadata has no key 'prism'"))?;
    let card: Card = serde_json::from_str(text).map_err(|e| file.corrupt(format!("its card cannot be read: {e}")))?;
    if card.version != VERSION {
        return Err(file.corrupt(format!("it has version {}; this program reads version {VERSION}", card.version)));
    }
    let layout: EncoderLayout = card.layout.parse().map_err(|e: prism_core::Error| file.corrupt(e.to_string()))?;
    let convs = layout.convs().into_iter().enumerate();
    let weights =
        convs.map(|(index, shape)| file.conv(&format!("convs.{index}"), shape)).collect::<Result<Vec<_>>>()?;
    let encoder = Encoder::from_weights(name, layout, &weights, None, device)?.trained_on(card.dataset.clone());
    Ok((encoder, card))
}

fn to_f16(values: &[f32]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    for &value in values {
        let rounded = f16::from_f32(value);
        if !rounded.is_finite() {
            return Err(refuse(&format!("the weight {value} is beyond f16's {}", f16::MAX)));
        }
        bytes.extend(rounded.to_le_bytes());
    }
    Ok(bytes)
}

fn refuse(why: &dyn std::fmt::Display) -> Error {
    Error::corrupt("the trained encoder", why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::random::kaiming;

    fn card() -> Card {
        Card {
            version: VERSION,
            layout: "4,M,8".into(),
            dataset: "test".into(),
            dataset_digest: "0".repeat(64),
            images: 10,
            epochs: 1,
            seed: 3,
            test_accuracy: Some(0.5),
        }
    }

    fn bytes() -> Vec<u8> {
        to_bytes(&card(), &kaiming(&card().layout.parse().unwrap(), 3)).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<(Encoder, Card)> {
        from_bytes("file", "the file under test", bytes, &Device::Cpu)
    }

    #[test]
    fn a_written_encoder_reads_back() {
        let (encoder, read_card) = read(&bytes()).unwrap();
        assert_eq!(read_card, card());
        assert_eq!(encoder.layout().to_string(), "4,M,8");
        assert_eq!(bytes(), bytes());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("encoder.safetensors");
        write(&path, &bytes()).unwrap();
        let opened = Encoder::open(&format!("file:{}", path.display()), &Device::Cpu).unwrap();
        assert_eq!(opened.digest(), encoder.digest());
    }

    #[test]
    fn every_truncation_and_many_flips_are_refused_or_harmless() {
        let whole = bytes();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "truncated to {length}");
        }
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        for position in 0..header {
            let mut flipped = whole.clone();
            flipped[position] ^= 1 << (position % 8);
            // Some flips give another valid card; none may panic.
            let _ = read(&flipped);
        }
    }

    #[test]
    fn files_of_another_kind_version_or_shape_are_refused() {
        let weights = kaiming(&card().layout.parse().unwrap(), 3);
        let refused = |card: Card, weights: &[ConvWeights], why: &str| {
            let message = read(&to_bytes(&card, weights).unwrap()).unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        };
        refused(Card { version: 2, ..card() }, &weights, "version 2");
        refused(Card { layout: "4,x".into(), ..card() }, &weights, "layer 'x'");
        refused(Card { layout: "4,M,16".into(), ..card() }, &weights, "shape [8, 4, 3, 3] instead of [16, 4, 3, 3]");
        refused(card(), &weights[..1], "no tensor 'convs.1.weight'");
        let plain = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap();
        assert!(read(&plain).unwrap_err().to_string().contains("no key 'prism'"));
    }

    #[test]
    fn weights_beyond_f16_are_refused() {
        let mut weights = kaiming(&card().layout.parse().unwrap(), 3);
        weights[0].bias[0] = 1e6;
        assert!(to_bytes(&card(), &weights).is_err());
    }
}
