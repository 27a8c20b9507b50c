//! What a file is that is no artifact, so that its reader can say what to do about it.

use safetensors::SafeTensors;
use serde::Deserialize;

use super::{KEY, MAX_HEADER};
use crate::prelude::*;

/// The first bytes of a zstd frame.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// What the files of a run say about themselves under the artifact's own key.
#[derive(Deserialize)]
struct Envelope {
    kind: Option<String>,
}

/// Why `file` is no artifact, if its first bytes tell; none if it begins as artifacts do.
pub(super) fn explain(file: &[u8]) -> Option<String> {
    let why = match file {
        _ if file.starts_with(ZSTD) => return None,
        [] => "it is empty: fetch it again",
        _ if file.starts_with(b"version https://git-lfs") => {
            "it is a Git LFS pointer in place of the file itself: fetch that with `git lfs pull`"
        }
        [0x1f, 0x8b, ..] => "it is packed with gzip: unpack it with `gunzip` and use what comes out",
        [b'P', b'K', 3, 4, ..] => "it is a zip archive: unpack it and use the model inside",
        [b'<', ..] => "it is a web page in place of the file that it shows: download the file itself",
        _ => return Some(explain_safetensors(file).unwrap_or_else(not_ours)),
    };
    Some(why.into())
}

/// The same of a safetensors file that is not packed with zstd.
fn explain_safetensors(file: &[u8]) -> Option<String> {
    let (length, header) = file.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*length) > MAX_HEADER as u64 || !header.starts_with(b"{") {
        return None;
    }
    let (_, metadata) = SafeTensors::read_metadata(file).ok()?;
    let envelope = metadata.metadata().as_ref()?.get(KEY)?;
    let Envelope { kind } = serde_json::from_str(envelope).ok()?;
    Some(match kind {
        None => "it is an artifact that was unpacked: pack it again with `zstd`".into(),
        Some(kind) => format!(
            "it is the {} of a run and no finished model: use the run's \
             model.safetensors.zst, which prism-export makes",
            kind.chars().take(40).collect::<String>()
        ),
    })
}

fn not_ours() -> String {
    "it is not packed with zstd, as every artifact is: use a model.safetensors.zst that prism-export wrote".into()
}
