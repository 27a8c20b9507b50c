//! A writer of false artifacts: it takes a good one apart, lets a test change anything, and puts it together again with a
//! payload hash that is right, as an attacker who has read `FORMAT.md` would.

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The pieces of an artifact, open to any change.
#[derive(Clone)]
pub struct Forged {
    /// The metadata.
    pub meta: Value,
    /// Name, type and bytes of each tensor, in the order of the payload hash.
    pub tensors: Vec<(String, Dtype, Vec<u8>)>,
}

impl Forged {
    /// Takes the artifact `file` apart.
    ///
    /// # Panics
    /// If it is not a good one.
    pub fn from_good(file: &[u8]) -> Self {
        let bytes = zstd::decode_all(file).expect("a good zstd frame");
        Forged::from_unpacked(&bytes).expect("a good artifact")
    }

    /// Takes the safetensors file of an artifact apart; none if it is so damaged that it has no metadata or no such tensors.
    pub fn from_unpacked(bytes: &[u8]) -> Option<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
        let meta: Value = serde_json::from_str(header.metadata().as_ref()?.get("prism")?).ok()?;
        let file = SafeTensors::deserialize(bytes).ok()?;
        let part = |(name, view): (String, TensorView<'_>)| {
            let position = hash_position(&meta, &name).filter(|_| matches!(view.dtype(), Dtype::U8 | Dtype::F32))?;
            Some((position, (name, view.dtype(), view.data().to_vec())))
        };
        let mut parts = file.tensors().into_iter().map(part).collect::<Option<Vec<_>>>()?;
        parts.sort_by_key(|(position, _)| *position);
        Some(Forged { meta, tensors: parts.into_iter().map(|(_, tensor)| tensor).collect() })
    }

    /// The bytes of tensor `name`.
    ///
    /// # Panics
    /// If there is none.
    pub fn tensor(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.tensors.iter_mut().find(|(n, ..)| n == name).expect("a tensor of this name").2
    }

    /// The metadata text with a right hash.
    pub fn text(&self) -> String {
        let mut meta = self.meta.clone();
        if !meta.is_object() {
            return meta.to_string();
        }
        meta["payload_sha256"] = "0".repeat(64).into();
        let mut hash = Sha256::new().chain_update(meta.to_string());
        self.tensors.iter().for_each(|(_, _, bytes)| hash.update(bytes));
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        meta["payload_sha256"] = digits.into();
        meta.to_string()
    }

    /// The artifact's file.
    pub fn file(&self) -> Vec<u8> {
        packed(&self.safetensors(&[("prism", &self.text())]))
    }

    /// The safetensors file under any metadata.
    ///
    /// # Panics
    /// If the tensors cannot be written.
    pub fn safetensors(&self, metadata: &[(&str, &str)]) -> Vec<u8> {
        let view = |(name, dtype, bytes): &'_ (String, Dtype, Vec<u8>)| {
            let width = if *dtype == Dtype::F32 { 4 } else { 1 };
            (name.clone(), *dtype, vec![bytes.len() / width])
        };
        let heads: Vec<_> = self.tensors.iter().map(view).collect();
        let views = heads.iter().zip(&self.tensors).map(|((name, dtype, shape), (_, _, bytes))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("shape and bytes fit"))
        });
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        serialize(views, Some(metadata)).expect("a safetensors file")
    }
}

/// A zstd frame that holds `bytes` as they are: one segment, its length in 4 bytes, raw blocks.
///
/// # Panics
/// If they are 4 GiB or more.
pub fn packed(bytes: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 1 << 17;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(u32::try_from(bytes.len()).expect("less than 4 GiB").to_le_bytes());
    let blocks = bytes.len().div_ceil(BLOCK).max(1);
    for block in 0..blocks {
        let content = &bytes[block * BLOCK..bytes.len().min((block + 1) * BLOCK)];
        let header = (content.len() as u32) << 3 | u32::from(block + 1 == blocks);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(content);
    }
    frame
}

/// Where a tensor stands in the payload hash: component by component, masks in the order of the layers, then the norms, scale before
/// shift.
fn hash_position(meta: &Value, name: &str) -> Option<(usize, (usize, usize, bool))> {
    let numbered = name.split_once('.').and_then(|(component, rest)| Some((component.parse().ok()?, rest)));
    let (component, own) = numbered.unwrap_or((0, name));
    Some((component, position_in_component(meta, own)?))
}

fn position_in_component(meta: &Value, name: &str) -> Option<(usize, usize, bool)> {
    if let Some(layer) = name.strip_prefix("mask.") {
        let position = meta["layers"].as_array()?.iter().position(|l| l["name"] == layer)?;
        return Some((0, position, false));
    }
    let (norm, what) = name.strip_prefix("norm.")?.rsplit_once('.')?;
    let block = |rest: &str| {
        let (block, norm) = rest.split_once('.')?;
        Some(2 * block.parse::<usize>().unwrap_or(0) + usize::from(norm == "bn2"))
    };
    Some((1, norm.strip_prefix("blocks.").and_then(block).unwrap_or(usize::MAX), what == "shift"))
}
