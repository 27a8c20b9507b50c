//! Writing an artifact: the same model gives the same bytes.

use safetensors::{Dtype, serialize, tensor::TensorView};

use super::payload::{self, ElementType};
use super::{Artifact, KEY, Meta};
use crate::error::{Error, Result};

/// zstd's strongest ordinary level: artifacts are small, written once and read often.
const LEVEL: i32 = 19;

/// The artifact as a zstd frame, with its length and a checksum in the frame, around a safetensors file.
pub(super) fn to_bytes(artifact: &Artifact) -> Result<Vec<u8>> {
    let arch = &artifact.meta.description.architecture;
    let (layers, tensors) = payload::encode(arch, &artifact.components);
    // What another program wrote may have its masks coded otherwise, or its keys in another order: then the hash is another one.
    let mut meta = Meta { layers, ..artifact.meta.clone() };
    payload::seal(&mut meta, &tensors).map_err(|e| refuse(&e))?;
    let text = serde_json::to_string(&meta).map_err(|e| refuse(&e))?;
    let slots = payload::slots(arch, &meta.layers);
    let mut views = Vec::with_capacity(slots.len());
    for (slot, bytes) in slots.into_iter().zip(&tensors) {
        let dtype = match slot.element {
            ElementType::U8 => Dtype::U8,
            ElementType::F32 => Dtype::F32,
        };
        views.push((slot.name, TensorView::new(dtype, vec![slot.len], bytes).map_err(|e| refuse(&e))?));
    }
    let file = serialize(views, Some([(KEY.to_owned(), text)].into_iter().collect())).map_err(|e| refuse(&e))?;
    compress(&file).map_err(|e| refuse(&e))
}

fn compress(file: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(file)
}

fn refuse(reason: &dyn std::fmt::Display) -> Error {
    Error::corrupt("the artifact to be written", reason.to_string())
}
