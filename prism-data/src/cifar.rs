//! CIFAR-10: the binary batches, or the same photographs as a folder of one sub-folder a class.
//!
//! A batch is a run of records of 3073 bytes: the label, then 32x32 red, green and blue planes.

use std::path::{Path, PathBuf};

use prism_core::{Error, Result, file};

use super::decode::luma;
use super::locate::{self, Missing};
use super::resize::Resizer;
use super::{Blueprint, Dataset, LoadOptions, Split, Watch, folder};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PLANE;

/// Records that one batch file may hold; the published ones hold 10,000.
const MAX_RECORDS: usize = 100_000;

/// Loads CIFAR-10.
///
/// # Errors
/// As [`super::load`].
pub(super) fn load(options: &LoadOptions, watch: &Watch<'_>) -> Result<Dataset> {
    let folders = locate::folders(options, &["cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"]);
    let batches: Vec<String> = match options.split {
        Split::Train => (1..=5).map(|batch| format!("data_batch_{batch}.bin")).collect(),
        Split::Test => vec!["test_batch.bin".into()],
    };
    let groups: Vec<Vec<String>> = batches.iter().map(|name| vec![name.clone()]).collect();
    if let Some(paths) = locate::find(&folders, &groups) {
        return load_batches(&paths, options);
    }
    if let Some(folder) = folders.iter().find(|folder| folder::has_classes(folder)) {
        let own = LoadOptions { channels: options.channels.or(Some(3)), ..options.clone() };
        return folder::load(("cifar10", folder), &own, watch).map(|(images, _)| images);
    }
    #[cfg(feature = "hub")]
    if options.data_dir.is_none() {
        return super::hub::load(super::Source::Cifar10, options);
    }
    Err(Missing {
        name: "cifar10",
        files: &format!("{} (or one sub-folder of images a class)", batches.join(", ")),
        home: "the CIFAR page of Alex Krizhevsky (www.cs.toronto.edu/~kriz/cifar.html, the binary version)",
    }
    .error(&folders))
}

fn load_batches(paths: &[PathBuf], options: &LoadOptions) -> Result<Dataset> {
    let mut records = Vec::new();
    for path in paths {
        records.extend(read_batch(path)?);
    }
    let resizer = Resizer::new(SIDE, options.image_size);
    let grey = options.channels == Some(1);
    Blueprint {
        name: "cifar10".into(),
        images: records.len() / RECORD,
        channels: 3,
        class_names: super::CIFAR_NAMES.map(String::from).to_vec(),
        labels: Some(records.iter().step_by(RECORD).map(|&label| u16::from(label)).collect()),
    }
    .build(options, |index, image| {
        let planes = &records[index * RECORD + 1..(index + 1) * RECORD];
        if grey {
            let at = |k: usize| luma(&[planes[k], planes[PLANE + k], planes[2 * PLANE + k]]);
            resizer.plane(|y, x| at(y * SIDE + x), image);
        } else {
            let out = image.chunks_exact_mut(options.image_size * options.image_size);
            out.zip(planes.chunks_exact(PLANE)).for_each(|(out, plane)| resizer.plane(|y, x| plane[y * SIDE + x], out));
        }
        Ok(())
    })
}

/// The records of one file, each with a label below 10.
fn read_batch(path: &Path) -> Result<Vec<u8>> {
    let corrupt = |why: String| Error::corrupt(path.display().to_string(), format!("{why}; fetch the file again"));
    let bytes = file::read_bounded(path, (MAX_RECORDS * RECORD) as u64)?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return Err(corrupt(format!("its {} bytes are no multiple of {RECORD}, the length of a record", bytes.len())));
    }
    match bytes.iter().step_by(RECORD).position(|&label| label >= 10) {
        Some(record) => {
            Err(corrupt(format!("record {record} has label {}, but there are only 10 classes", bytes[record * RECORD])))
        }
        None => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Source, load as load_any};
    use super::*;

    /// Two records of the given labels; record r has red 10 + r, green 20 + r, blue 30 + r.
    fn batch(labels: [u8; 2]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (r, label) in (0u8..).zip(labels) {
            bytes.push(label);
            (1..=3).for_each(|c| bytes.extend([10 * c + r; PLANE]));
        }
        bytes
    }

    fn options(folder: &Path) -> LoadOptions {
        LoadOptions { data_dir: Some(folder.into()), image_size: 8, ..LoadOptions::default() }
    }

    #[test]
    fn batches_come_in_order_and_in_colour() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cifar-10-batches-bin");
        fs::create_dir(&folder).unwrap();
        for b in 1..=5u8 {
            fs::write(folder.join(format!("data_batch_{b}.bin")), batch([b, b - 1])).unwrap();
        }
        let set = load_any(Source::Cifar10, &options(root.path())).unwrap();
        assert_eq!((set.len(), set.channels(), set.classes()), (10, 3, 10));
        assert_eq!(set.labels().unwrap(), [1, 0, 2, 1, 3, 2, 4, 3, 5, 4]);
        assert_eq!(set.class_names()[6], "frog");
        assert_eq!(set.image(1)[..64], [11; 64]);
        assert_eq!(set.image(1)[128..], [31; 64]);
        let grey = load_any(Source::Cifar10, &LoadOptions { channels: Some(1), ..options(root.path()) }).unwrap();
        assert_eq!(grey.image(0), [luma(&[10, 20, 30]); 64]);

        fs::write(folder.join("test_batch.bin"), batch([7, 8])).unwrap();
        let test = load_any(Source::Cifar10, &LoadOptions { split: Split::Test, ..options(root.path()) }).unwrap();
        assert_eq!(test.labels().unwrap(), [7, 8]);
    }

    #[test]
    fn broken_batches_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let test = LoadOptions { split: Split::Test, ..options(root.path()) };
        let error = || load_any(Source::Cifar10, &test).unwrap_err().to_string();
        assert!(error().contains("test_batch.bin") && error().contains("toronto.edu"), "{}", error());
        let path = root.path().join("test_batch.bin");
        fs::write(&path, &batch([1, 2])[1..]).unwrap();
        assert!(error().contains("no multiple"), "{}", error());
        fs::write(&path, batch([1, 10])).unwrap();
        assert!(error().contains("record 1 has label 10"), "{}", error());
        fs::write(&path, []).unwrap();
        assert!(error().contains("0 bytes"), "{}", error());
    }
}
