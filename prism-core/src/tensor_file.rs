//! Working files: named `f32` tensors with a typed description, checksummed, written whole or not at all.
//!
//! A file is plain safetensors, so any such library opens it. Its one metadata key `prism` holds JSON with the kind of
//! file, its version, a SHA-256 over everything else, and the description. Checkpoints, a client's optimiser state and
//! its feature moments are all files of this form; the finished artifact has a format of its own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, TensorView, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::file;

/// Most bytes that a working file may have.
const MAX_BYTES: u64 = 4 << 30;

/// What a file is: its kind and the version of that kind, both checked on reading.
#[derive(Clone, Copy, Debug)]
pub struct FileKind {
    /// A short name, such as `checkpoint`.
    pub name: &'static str,
    /// The only version that this program reads.
    pub version: u32,
}

/// One tensor of `f32`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor<'a> {
    /// Its name, unique in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, as many as the shape says.
    pub values: Cow<'a, [f32]>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    kind: String,
    version: u32,
    sha256: String,
    description: String,
}

/// Replaces `path` by a file of `kind` that holds `description` and `tensors`.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written; what stood at `path` is then untouched.
pub fn write(path: &Path, kind: FileKind, description: &impl Serialize, tensors: &[NamedTensor<'_>]) -> Result<()> {
    let file = Parts::new(path, kind, description, tensors)?;
    file::write_atomic(path, |out| file.write(out))
}

/// As [`write()`], but another thread waits for the disk: see [`file::Pending`].
///
/// # Errors
/// [`Error::Io`] if the file cannot be written; what stood at `path` is then untouched.
pub fn begin_write(
    path: &Path,
    kind: FileKind,
    description: &impl Serialize,
    tensors: &[NamedTensor<'_>],
) -> Result<file::Pending> {
    let file = Parts::new(path, kind, description, tensors)?;
    file::begin_write(path, |out| file.write(out))
}

/// A file's parts in their order. Tensors are written from where they are: a copy of the whole file would double what
/// saving a client takes.
struct Parts<'a> {
    /// The header, padded to whole units of 8 bytes.
    header: Vec<u8>,
    /// Sorted by name.
    tensors: Vec<&'a NamedTensor<'a>>,
}

impl<'a> Parts<'a> {
    fn new(path: &Path, kind: FileKind, description: &impl Serialize, tensors: &'a [NamedTensor<'a>]) -> Result<Self> {
        let refuse = |e: &dyn std::fmt::Display| Error::corrupt(path.display().to_string(), e.to_string());
        let mut tensors: Vec<_> = tensors.iter().collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let description = serde_json::to_string(description).map_err(|e| refuse(&e))?;
        let sha256 = digest(&description, tensors.iter().map(|tensor| (tensor.name.as_str(), *tensor)));
        let envelope = Envelope { kind: kind.name.into(), version: kind.version, sha256, description };
        let envelope = serde_json::to_string(&envelope).map_err(|e| refuse(&e))?;
        let mut end = 0;
        let infos = tensors.iter().map(|tensor| {
            let start = end;
            end += tensor.data_len();
            let info = TensorInfo { dtype: Dtype::F32, shape: tensor.shape.clone(), data_offsets: (start, end) };
            (tensor.name.clone(), info)
        });
        let metadata = Metadata::new(Some(HashMap::from([("prism".to_string(), envelope)])), infos.collect());
        let metadata = metadata.map_err(|e| refuse(&e))?;
        let mut header = serde_json::to_vec(&metadata).map_err(|e| refuse(&e))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        Ok(Parts { header, tensors })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&(self.header.len() as u64).to_le_bytes())?;
        out.write_all(&self.header)?;
        self.tensors.iter().try_for_each(|tensor| out.write_all(&tensor.data()))
    }
}

/// The description and the tensors (sorted by name) of the file of `kind` at `path`.
///
/// # Errors
/// [`Error::Io`] if it cannot be read; [`Error::Corrupt`] if it is damaged, of another kind or of another version.
pub fn read<D: DeserializeOwned>(path: &Path, kind: FileKind) -> Result<(D, Vec<NamedTensor<'static>>)> {
    parse(&file::read_bounded(path, MAX_BYTES)?, kind)
        .map_err(|why| Error::corrupt(format!("{} {}", kind.name, path.display()), why))
}

type Content<D> = (D, Vec<NamedTensor<'static>>);

fn parse<D: DeserializeOwned>(bytes: &[u8], kind: FileKind) -> std::result::Result<Content<D>, String> {
    let damaged = |e: &dyn std::fmt::Display| format!("it is damaged or not such a file ({e})");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
    let envelope = header.metadata().as_ref().and_then(|m| m.get("prism")).ok_or("it has no metadata key `prism`")?;
    let envelope: Envelope = serde_json::from_str(envelope).map_err(|e| damaged(&e))?;
    if envelope.kind != kind.name {
        return Err(format!("it is a {} file; give a {} file", envelope.kind, kind.name));
    }
    if envelope.version != kind.version {
        return Err(format!(
            "its version is {} and this program reads version {}; use the program that wrote it",
            envelope.version, kind.version
        ));
    }
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
    let mut views = file.tensors();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    let found = digest(&envelope.description, views.iter().map(|(name, view)| (name.as_str(), view)));
    if found != envelope.sha256 {
        return Err("its checksum does not match: it was altered or cut after it was written".into());
    }
    let description = serde_json::from_str(&envelope.description).map_err(|e| damaged(&e))?;
    Ok((description, views.into_iter().map(tensor).collect::<std::result::Result<_, _>>()?))
}

fn tensor((name, view): (String, TensorView<'_>)) -> std::result::Result<NamedTensor<'static>, String> {
    if view.dtype() != Dtype::F32 {
        return Err(format!("tensor {name} has type {:?}; only F32 is written here", view.dtype()));
    }
    let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok(NamedTensor { name, shape: view.shape().to_vec(), values })
}

impl View for &NamedTensor<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match cfg!(target_endian = "little") {
            true => Cow::Borrowed(bytemuck::cast_slice(&self.values)),
            false => Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        }
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}

/// SHA-256 of the description and of every tensor's name, shape and bytes; tensors come sorted by name.
fn digest<'a, T: View>(description: &str, tensors: impl IntoIterator<Item = (&'a str, T)>) -> String {
    let mut hash = Sha256::new();
    hash.update(description);
    for (name, view) in tensors {
        hash.update([0]);
        hash.update(name);
        hash.update([0]);
        view.shape().iter().for_each(|&side| hash.update((side as u64).to_le_bytes()));
        hash.update(view.data());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: FileKind = FileKind { name: "test", version: 2 };

    fn sample(folder: &Path) -> (std::path::PathBuf, Vec<NamedTensor<'static>>) {
        let path = folder.join("file.safetensors");
        let tensors = vec![
            NamedTensor { name: "a".into(), shape: vec![2, 2], values: vec![1.0, -2.0, 0.5, 8.0].into() },
            NamedTensor { name: "b".into(), shape: vec![1], values: vec![3.0].into() },
        ];
        write(&path, KIND, &vec![4, 5], &tensors).unwrap();
        (path, tensors)
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, tensors) = sample(folder.path());
        assert_eq!(read::<Vec<u32>>(&path, KIND).unwrap(), (vec![4, 5], tensors));
    }

    #[test]
    fn a_file_is_what_the_library_would_have_written() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut tensors) = sample(folder.path());
        tensors.reverse();
        let found = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&found).unwrap();
        let views = tensors.iter().map(|tensor| (&tensor.name, tensor));
        assert_eq!(safetensors::serialize(views, header.metadata().clone()).unwrap(), found);
        write(&path, KIND, &vec![4, 5], &tensors).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), found, "in any order");
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, tensors) = sample(folder.path());
        let bytes = std::fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            // A flip in the header's padding is harmless; any other must be refused.
            if let Ok(content) = parse::<Vec<u32>>(&altered, KIND) {
                assert_eq!(content, (vec![4, 5], tensors.clone()), "bit {bit}");
            }
        }
        for length in 0..bytes.len() {
            assert!(parse::<Vec<u32>>(&bytes[..length], KIND).is_err(), "length {length}");
        }
    }

    #[test]
    fn another_kind_or_version_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = sample(folder.path());
        let message = |kind| read::<Vec<u32>>(&path, kind).unwrap_err().to_string();
        assert!(message(FileKind { version: 3, ..KIND }).contains("version is 2"));
        assert!(message(FileKind { name: "checkpoint", ..KIND }).contains("it is a test file"));
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    #[test]
    fn what_a_hostile_file_says_is_safe_to_print() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostile");
        let trick = "\u{1b}]0;owned\u{7}";
        for (kind, dtype, description) in
            [(trick, Dtype::U8, "{}"), (KIND.name, Dtype::U8, "{}"), (KIND.name, Dtype::F32, "{\"\\u001b[2J\": 1}")]
        {
            let tensor = TensorView::new(dtype, vec![32 / dtype.bitsize()], &[0; 4]).unwrap();
            let sha256 = digest(description, [(trick, tensor.clone())]);
            let envelope = Envelope { kind: kind.into(), version: 2, sha256, description: description.into() };
            let metadata = HashMap::from([("prism".into(), serde_json::to_string(&envelope).unwrap())]);
            std::fs::write(&path, safetensors::serialize([(trick, tensor)], Some(metadata)).unwrap()).unwrap();
            let message = read::<Nothing>(&path, KIND).unwrap_err().to_string();
            assert!(message.contains('\u{fffd}') && !message.chars().any(char::is_control), "{message:?}");
        }
    }
}
