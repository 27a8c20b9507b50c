//! The tensors of an artifact, and the hash that binds them to what the artifact says about itself.

use sha2::{Digest, Sha256};

use super::Component;
use super::meta::{Encoding, LayerMeta, Meta};
use crate::arch::{Architecture, Layer};
use crate::mask::{self, LayerBits};
use crate::mixture::prefix;
use crate::prelude::*;
use crate::rangecoder;
use crate::sampler::FoldedNorm;

/// What stands in place of the hash while it is computed.
const UNKNOWN_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    /// A byte.
    U8,
    /// A little-endian `f32`.
    F32,
}

/// A tensor of one axis: its name, type and number of elements.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) element: ElementType,
    pub(super) len: usize,
}

/// Every tensor of an artifact, in the order of its hash: of each component the masks in the order of the layers, then
/// for each norm its scale and its shift. `layers` are those of all components.
pub(super) fn slots(arch: &Architecture, layers: &[LayerMeta]) -> Vec<Slot> {
    let each = arch.layers().len();
    let components = layers.len() / each;
    let of_component = |(component, layers)| component_slots(arch, layers, &prefix(component, components));
    layers.chunks(each).enumerate().flat_map(of_component).collect()
}

fn component_slots(arch: &Architecture, layers: &[LayerMeta], prefix: &str) -> Vec<Slot> {
    let mask =
        |l: &LayerMeta| Slot { name: format!("{prefix}mask.{}", l.name), element: ElementType::U8, len: l.bytes };
    let masks = layers.iter().map(mask);
    let norm =
        |name: &str, what, len| Slot { name: format!("{prefix}norm.{name}.{what}"), element: ElementType::F32, len };
    let norms = arch.norms().into_iter();
    let norms = norms.flat_map(|n| [norm(&n.name, "scale", n.channels), norm(&n.name, "shift", n.channels)]);
    masks.chain(norms).collect()
}

/// A layer's mask in the shorter of its two encodings, raw where they are equally long.
fn encode_mask(layer: &Layer, bits: &LayerBits) -> (LayerMeta, Vec<u8>) {
    let (raw, ones) = (mask::to_bytes(bits), bits.count_ones());
    let coded = rangecoder::encode(bits, rangecoder::probability(ones, bits.len()));
    let (encoding, bytes) = if coded.len() < raw.len() { (Encoding::Range, coded) } else { (Encoding::Raw, raw) };
    let (name, shape, sigma) = (layer.name.clone(), layer.shape(), layer.sigma());
    (LayerMeta { name, shape, sigma, ones, encoding, bytes: bytes.len() }, bytes)
}

/// The mask of a layer whose metadata has been checked.
pub(super) fn decode_mask(layer: &LayerMeta, bytes: &[u8]) -> Result<LayerBits, String> {
    let len = layer.shape.iter().product();
    let bits = match layer.encoding {
        Encoding::Raw => mask::from_bytes(bytes, len).ok_or("a bit behind its last one is set".to_owned()),
        Encoding::Range => rangecoder::decode(bytes, len, rangecoder::probability(layer.ones, len)),
    };
    let bits = bits.map_err(|why| format!("the mask of layer {} is damaged: {why}", layer.name))?;
    if bits.count_ones() != layer.ones {
        return Err(format!(
            "the mask of layer {} keeps {} weights, not {}",
            layer.name,
            bits.count_ones(),
            layer.ones
        ));
    }
    Ok(bits)
}

/// The norms' tensors, scale and shift in turn.
fn encode_norms(norms: &[FoldedNorm]) -> Vec<Vec<u8>> {
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
    norms.iter().flat_map(|n| [bytes(&n.scale), bytes(&n.shift)]).collect()
}

/// The metadata of every layer and the tensors of all `components`, in the order of [`slots`].
pub(super) fn encode(arch: &Architecture, components: &[Component]) -> (Vec<LayerMeta>, Vec<Vec<u8>>) {
    let (mut layers, mut tensors) = (Vec::new(), Vec::new());
    for component in components {
        for (layer, bits) in arch.layers().iter().zip(component.mask.layers()) {
            let (meta, bytes) = encode_mask(layer, bits);
            layers.push(meta);
            tensors.push(bytes);
        }
        tensors.extend(encode_norms(&component.norms));
    }
    (layers, tensors)
}

/// The norms of tensors that are scale and shift in turn.
pub(super) fn decode_norms(tensors: &[&[u8]]) -> Vec<FoldedNorm> {
    let values = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
    let norm = |pair: &[&[u8]; 2]| FoldedNorm { scale: values(pair[0]), shift: values(pair[1]) };
    tensors.as_chunks::<2>().0.iter().map(norm).collect()
}

/// Fills in the hash of `meta` and of tensors in the order of [`slots`].
///
/// # Errors
/// If the metadata cannot be written as JSON.
pub(super) fn seal(meta: &mut Meta, tensors: &[Vec<u8>]) -> Result<(), serde_json::Error> {
    meta.payload_sha256 = UNKNOWN_HASH.into();
    let text = serde_json::to_string(meta)?;
    meta.payload_sha256 = hash(&text, tensors.iter().map(Vec::as_slice));
    Ok(())
}

/// Whether `text` and `tensors` have the hash that `text` names.
pub(super) fn is_intact<'a>(text: &str, meta: &Meta, tensors: impl Iterator<Item = &'a [u8]>) -> bool {
    let own = &meta.payload_sha256;
    own.len() == UNKNOWN_HASH.len() && hash(&text.replacen(own.as_str(), UNKNOWN_HASH, 1), tensors) == *own
}

fn hash<'a>(text: &str, tensors: impl Iterator<Item = &'a [u8]>) -> String {
    let start = Sha256::new().chain_update(text);
    hex(&tensors.fold(start, |hash, tensor| hash.chain_update(tensor)).finalize())
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
