//! Working files: named `f32` tensors with a typed description, checksummed, written whole or not at all.
//!
//! A file is plain safetensors, so any such library opens it. Its one metadata key `prism` holds JSON with the kind of
//! file, its version, a SHA-256 over everything else, and the description. Checkpoints, a client's optimiser state and
//! its feature moments are all files of this form; the finished artifact has a format of its own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::file;

/// Most bytes that a working file may have.
const MAX_BYTES: u64 = 4 << 30;
/// Most bytes of a header: that of thousands of tensors.
const MAX_HEADER: u64 = 1 << 24;

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
        let mut checksum = Checksum::new(&description);
        tensors.iter().for_each(|tensor| checksum.add(&tensor.name, &tensor.shape, &tensor.data()));
        let sha256 = checksum.finish();
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
    let io = |source| Error::io("read", path, source);
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let refuse = |why| Error::corrupt(format!("{} {}", kind.name, path.display()), why);
    if length > MAX_BYTES {
        return Err(refuse(format!("it has {length} bytes, more than the {MAX_BYTES} that such a file may have")));
    }
    parse(&mut file, length, kind).map_err(refuse)
}

type Content<D> = (D, Vec<NamedTensor<'static>>);

/// What `file` of `length` bytes holds. Each tensor is read into its place: moments fill half of a small machine's memory.
fn parse<D: DeserializeOwned>(
    file: &mut (impl Read + Seek),
    length: u64,
    kind: FileKind,
) -> std::result::Result<Content<D>, String> {
    let damaged = |e: &dyn std::fmt::Display| format!("it is damaged or not such a file ({e})");
    let (begin, header) = read_header(file, length).map_err(|e| damaged(&e))?;
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
    let infos = header.tensors();
    let mut infos: Vec<(&String, &&TensorInfo)> = infos.iter().collect();
    infos.sort_by(|a, b| a.0.cmp(b.0));
    let (mut checksum, mut tensors) = (Checksum::new(&envelope.description), Vec::new());
    for (name, info) in infos {
        if info.dtype != Dtype::F32 {
            return Err(format!("tensor {name} has type {:?}; only F32 is written here", info.dtype));
        }
        // The header's lengths are those of the file.
        let mut values = vec![0.0f32; (info.data_offsets.1 - info.data_offsets.0) / 4];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
        let place = SeekFrom::Start(begin + info.data_offsets.0 as u64);
        file.seek(place).and_then(|_| file.read_exact(bytes)).map_err(|e| damaged(&e))?;
        checksum.add(name, &info.shape, bytes);
        if cfg!(target_endian = "big") {
            values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits().swap_bytes()));
        }
        tensors.push(NamedTensor { name: name.clone(), shape: info.shape.clone(), values: values.into() });
    }
    if checksum.finish() != envelope.sha256 {
        return Err("its checksum does not match: it was altered or cut after it was written".into());
    }
    Ok((serde_json::from_str(&envelope.description).map_err(|e| damaged(&e))?, tensors))
}

/// The header of a file of `length` bytes, all of which it accounts for, and where the tensors begin.
fn read_header(file: &mut (impl Read + Seek), length: u64) -> std::result::Result<(u64, Metadata), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|e| text(&e))?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER.min(length) {
        return Err(format!("its header has {size} bytes, of {length} and at most {MAX_HEADER}"));
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header).map_err(|e| text(&e))?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|e| text(&e))?;
    let expected = 8 + size + header.data_len() as u64;
    if expected != length {
        return Err(format!("it has {length} bytes, and its header is of {expected}"));
    }
    Ok((8 + size, header))
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
struct Checksum(Sha256);

impl Checksum {
    fn new(description: &str) -> Self {
        Checksum(Sha256::new().chain_update(description))
    }

    fn add(&mut self, name: &str, shape: &[usize], bytes: &[u8]) {
        self.0.update([0]);
        self.0.update(name);
        self.0.update([0]);
        shape.iter().for_each(|&side| self.0.update((side as u64).to_le_bytes()));
        self.0.update(bytes);
    }

    fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;
    use safetensors::tensor::TensorView;

    use super::*;

    const KIND: FileKind = FileKind { name: "test", version: 2 };

    fn parsed(bytes: &[u8]) -> std::result::Result<Content<Vec<u32>>, String> {
        parse(&mut io::Cursor::new(bytes), bytes.len() as u64, KIND)
    }

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
            if let Ok(content) = parsed(&altered) {
                assert_eq!(content, (vec![4, 5], tensors.clone()), "bit {bit}");
            }
        }
        for length in 0..bytes.len() {
            assert!(parsed(&bytes[..length]).is_err(), "length {length}");
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
            let mut checksum = Checksum::new(description);
            checksum.add(trick, tensor.shape(), tensor.data());
            let sha256 = checksum.finish();
            let envelope = Envelope { kind: kind.into(), version: 2, sha256, description: description.into() };
            let metadata = HashMap::from([("prism".into(), serde_json::to_string(&envelope).unwrap())]);
            std::fs::write(&path, safetensors::serialize([(trick, tensor)], Some(metadata)).unwrap()).unwrap();
            let message = read::<Nothing>(&path, KIND).unwrap_err().to_string();
            assert!(message.contains('\u{fffd}') && !message.chars().any(char::is_control), "{message:?}");
        }
    }
}
