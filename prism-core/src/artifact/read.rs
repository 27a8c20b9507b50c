//! Reading an artifact as if its writer were hostile: every length is bounded before memory is set aside for it.

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::io::Read;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::meta::{LayerMeta, MIXTURE_VERSION, Meta, VERSION};
use super::payload::{self, ElementType};
use super::{Artifact, Component, KEY, MAX_HEADER, foreign};
use crate::arch::Architecture;
use crate::mask::Mask;
use crate::prelude::*;
use crate::sampler::model::check_norms;

/// Most bytes of a decompressed artifact: one bit for each of the most weights, a header, and 1 MiB for norms and
/// names.
const MAX_BYTES: usize = Architecture::MAX_WEIGHTS / 8 + MAX_HEADER + (1 << 20);
/// Most bytes of a file: zstd adds a little to what it cannot compress.
pub(super) const MAX_FILE: usize = MAX_BYTES + MAX_BYTES / 128;

/// The one thing that is read before the version is known to be ours.
#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

pub(super) fn parse(file: &[u8]) -> Result<Artifact, String> {
    if file.len() > MAX_FILE {
        return Err(format!("it has {} bytes; the most is {MAX_FILE}", file.len()));
    }
    if let Some(why) = foreign::explain(file) {
        return Err(why);
    }
    let bytes = decompress(file)?;
    check_header(&bytes)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| format!("it is no safetensors file: {e}"))?;
    let entries = header.metadata().as_ref().map_or(0, |map| map.len());
    let text = header.metadata().as_ref().and_then(|map| map.get(KEY)).filter(|_| entries == 1);
    let text = text.ok_or_else(|| format!("its metadata are not the one key `{KEY}`: this is no PRISM artifact"))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| format!("it is no safetensors file: {e}"))?;
    assemble(text, &tensors)
}

fn assemble(text: &str, file: &SafeTensors<'_>) -> Result<Artifact, String> {
    let meta = parse_meta(text)?;
    let tensors = take_tensors(&meta, file)?;
    if !payload::is_intact(text, &meta, tensors.iter().copied()) {
        return Err("its payload hash is wrong: it was altered, so fetch it again".into());
    }
    let components = meta.description.components;
    let (layers, tensors) = (meta.layers.len() / components, tensors.chunks(tensors.len() / components));
    let parts = meta.layers.chunks(layers).zip(tensors);
    let components = parts.map(|(layers, tensors)| component(&meta.description.architecture, layers, tensors));
    let components = components.collect::<Result<_, _>>()?;
    Ok(Artifact { meta, components })
}

fn component(arch: &Architecture, layers: &[LayerMeta], tensors: &[&[u8]]) -> Result<Component, String> {
    let (masks, norms) = tensors.split_at(layers.len());
    let masks = layers.iter().zip(masks).map(|(layer, bytes)| payload::decode_mask(layer, bytes));
    let mask = Mask::new(masks.collect::<Result<_, _>>()?);
    let norms = payload::decode_norms(norms);
    check_norms(arch, &norms)?;
    Ok(Component { mask, norms })
}

/// Decompresses one zstd frame, never holding more than its window and [`MAX_BYTES`].
fn decompress(file: &[u8]) -> Result<Vec<u8>, String> {
    let damaged =
        || format!("its {} bytes are no whole zstd frame: it was cut short or altered, so fetch it again", file.len());
    let too_long = || format!("it unpacks to more than {MAX_BYTES} bytes, the most that an artifact may have");
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_BYTES as u64);
    let mut stream = StreamingDecoder::new_with_decoder(file, decoder).map_err(|_| {
        format!("its zstd header is damaged or asks for a window above {MAX_BYTES} bytes: fetch it again")
    })?;
    // 0 where the frame does not say.
    let declared = stream.decoder.content_size();
    if declared > MAX_BYTES as u64 {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    Read::take(&mut stream, MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|_| damaged())?;
    if bytes.len() > MAX_BYTES {
        return Err(too_long());
    }
    if declared != 0 && bytes.len() as u64 != declared {
        return Err(format!("it unpacks to {} bytes and its frame declares {declared}", bytes.len()));
    }
    if !stream.get_ref().is_empty() {
        return Err(format!("{} bytes follow its zstd frame", stream.get_ref().len()));
    }
    let decoder = stream.into_frame_decoder();
    match decoder.get_checksum_from_data() {
        Some(sum) if decoder.get_calculated_checksum() != Some(sum) => {
            Err("its zstd checksum is wrong: it was altered, so fetch it again".into())
        }
        _ => Ok(bytes),
    }
}

/// Bounds the JSON header before it is parsed.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    let length = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    match length {
        Some(length) if length <= MAX_HEADER as u64 => Ok(()),
        Some(length) => Err(format!("its header claims {length} bytes; the most is {MAX_HEADER}")),
        None => Err(format!("it unpacks to {} bytes, too few for a header", bytes.len())),
    }
}

fn parse_meta(text: &str) -> Result<Meta, String> {
    let refuse = |e: serde_json::Error| format!("its metadata cannot be read: {e}");
    let AnyVersion { version } = serde_json::from_str(text).map_err(refuse)?;
    if ![VERSION, MIXTURE_VERSION].contains(&version) {
        return Err(format!(
            "its format version is {version} and this program reads versions {VERSION} and {MIXTURE_VERSION}: \
             update the older side"
        ));
    }
    let meta: Meta = serde_json::from_str(text).map_err(refuse)?;
    meta.check()?;
    Ok(meta)
}

/// The tensors in the order of the format, if they are exactly those that the metadata call for.
fn take_tensors<'a>(meta: &Meta, file: &SafeTensors<'a>) -> Result<Vec<&'a [u8]>, String> {
    let slots = payload::slots(&meta.description.architecture, &meta.layers);
    if file.len() != slots.len() {
        return Err(format!("it has {} tensors; its architecture calls for {}", file.len(), slots.len()));
    }
    let take = |slot: &payload::Slot| {
        let tensor = file.tensor(&slot.name).map_err(|_| format!("it has no tensor {}", slot.name))?;
        let dtype = match slot.element {
            ElementType::U8 => Dtype::U8,
            ElementType::F32 => Dtype::F32,
        };
        if tensor.dtype() != dtype || tensor.shape() != [slot.len] {
            return Err(format!(
                "tensor {} is {:?} of shape {:?}, not {dtype:?} of shape [{}]",
                slot.name,
                tensor.dtype(),
                tensor.shape(),
                slot.len
            ));
        }
        Ok(tensor.data())
    };
    slots.iter().map(take).collect()
}
