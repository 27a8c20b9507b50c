//! A folder of IDX files of any set, such as EMNIST or KMNIST: under the names that they come with, and of any number of
//! classes.
//!
//! ```text
//! DIR/emnist-letters-train-images-idx3-ubyte.gz  ...-train-labels-...   what is trained on
//! DIR/emnist-letters-test-images-idx3-ubyte.gz   (or t10k)              what is held out
//! DIR/emnist-letters-mapping.txt                                        which label is which character, if it is there
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prism_core::{Error, Result, file};

use super::mnist::Pictures;
use super::{Dataset, Intensity, LoadOptions, Split, folder, idx};

/// Most bytes of a file that says which label is which character.
const MAX_MAPPING: u64 = 1 << 16;

/// What a label can be: a byte.
const LABELS: usize = 256;

/// The files of one set in a folder.
struct Files {
    /// What their names begin with, such as `emnist-letters`; empty where they begin with `train`.
    prefix: String,
    train: PathBuf,
    test: Option<PathBuf>,
}

/// Loads the IDX files in `folder`; none if it holds no such files.
///
/// # Errors
/// [`Error::Usage`] if it holds several sets, or an option is none of theirs; [`Error::Corrupt`] if a file is damaged.
pub(super) fn load(folder: &Path, options: &LoadOptions) -> Result<Option<Dataset>> {
    let Some(files) = find(folder)? else { return Ok(None) };
    if options.intensity != Intensity::FULL {
        return Err(Error::usage(format!(
            "`intensity` is {}, and {} holds IDX files, which have 8 bits; leave it out",
            options.intensity,
            folder.display()
        )));
    }
    let images = match (options.split, &files.test) {
        (Split::Train, _) => &files.train,
        (Split::Test, Some(test)) => test,
        (Split::Test, None) => {
            return Err(Error::usage(format!(
                "{} has no test files, so no images are held out; add them, use the training images where a command takes \
                 --split train, or do without a test",
                folder.display()
            )));
        }
    };
    let known = idx::labels(&beside(&files.train)?, LABELS)?;
    let mut numbers = known.clone();
    numbers.sort_unstable();
    numbers.dedup();
    let own = if options.split == Split::Train { known } else { idx::labels(&beside(images)?, LABELS)? };
    let label = |number: u16| {
        numbers.binary_search(&number).map(|label| label as u16).map_err(|_| {
            let why = format!("it has label {number}, which no training image has; fetch the files again");
            Error::corrupt(images.display().to_string(), why)
        })
    };
    let characters = mapping(folder, &files.prefix)?;
    let name = |number: &u16| characters.get(number).cloned().unwrap_or_else(|| number.to_string());
    let set = Pictures {
        name: if files.prefix.is_empty() { folder::name_of(folder) } else { files.prefix.clone() },
        class_names: numbers.iter().map(name).collect(),
        images: idx::images(images)?,
        labels: own.into_iter().map(label).collect::<Result<_>>()?,
        // As EMNIST is published.
        transposed: files.prefix.starts_with("emnist"),
    };
    set.build(images, options).map(Some)
}

/// The one set in `folder`.
fn find(folder: &Path) -> Result<Option<Files>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read the folder", folder, e))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // A file comes before its packed form.
    paths.sort();
    let mut sets: BTreeMap<String, [Option<PathBuf>; 2]> = BTreeMap::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let part = |word: &str| Some(name.split_once(word)?.0.trim_end_matches(['-', '_', '.']).to_string());
        let (Some(before), true) = (part("images"), name.contains("idx3-ubyte")) else { continue };
        for (place, words) in [["train", "training"], ["test", "t10k"]].iter().enumerate() {
            if let Some(prefix) = words.iter().find_map(|word| before.strip_suffix(word)) {
                let prefix = prefix.trim_end_matches(['-', '_', '.']).to_string();
                sets.entry(prefix).or_default()[place].get_or_insert_with(|| path.clone());
            }
        }
    }
    if sets.len() > 1 {
        let names: Vec<&str> = sets.keys().map(|name| if name.is_empty() { "train-..." } else { name }).collect();
        return Err(Error::usage(format!(
            "{} holds the IDX files of several sets ({}); give a folder with those of one",
            folder.display(),
            names.join(", ")
        )));
    }
    let Some((prefix, [train, test])) = sets.into_iter().next() else { return Ok(None) };
    let train = train.ok_or_else(|| {
        Error::usage(format!("{} holds test files, but no train-images-idx3-ubyte; add it", folder.display()))
    })?;
    Ok(Some(Files { prefix, train, test }))
}

/// The file of labels that belongs to the file of pictures `images`.
fn beside(images: &Path) -> Result<PathBuf> {
    let name = images.file_name().unwrap_or_default().to_string_lossy();
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let plain = labels.trim_end_matches(".gz");
    let found = [labels.clone(), plain.into(), format!("{plain}.gz")].map(|name| images.with_file_name(name));
    found.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::usage(format!("{} lies without its labels, {plain} (plain or .gz); add them", images.display()))
    })
}

/// Which label is which character: lines of a label and the numbers of characters, of which the first counts.
fn mapping(folder: &Path, prefix: &str) -> Result<BTreeMap<u16, String>> {
    let path = folder.join(format!("{prefix}-mapping.txt"));
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let text = String::from_utf8_lossy(&file::read_bounded(&path, MAX_MAPPING)?).into_owned();
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u16>().ok());
        let (label, character) = (numbers.next()??, char::from_u32(numbers.next()??.into())?);
        character.is_alphanumeric().then(|| (label, character.to_string()))
    };
    Ok(text.lines().filter_map(line).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::idx::tests::{gzip, idx};
    use super::super::{Source, load as load_any};
    use super::*;

    fn put(folder: &Path, name: &str, labels: &[u8]) {
        let pictures: Vec<u8> = (0..labels.len() * 64).map(|k| (k % 64 * 4) as u8).collect();
        let pictures = gzip(&idx(&[labels.len() as u32, 8, 8], &pictures));
        fs::write(folder.join(format!("{name}-images-idx3-ubyte.gz")), pictures).unwrap();
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), idx(&[labels.len() as u32], labels)).unwrap();
    }

    fn options(folder: &Path, split: Split) -> LoadOptions {
        LoadOptions { data_dir: Some(folder.into()), image_size: 8, split, ..LoadOptions::default() }
    }

    #[test]
    fn letters_are_read_as_they_come_and_stand_upright() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "emnist-letters-train", &[1, 26, 2, 1]);
        put(root.path(), "emnist-letters-test", &[2, 26]);
        let read = |split| load_any(Source::Folder, &options(root.path(), split)).unwrap();
        let (train, test) = (read(Split::Train), read(Split::Test));
        assert_eq!((train.name(), train.class_names()), ("emnist-letters", &["1", "2", "26"].map(String::from)[..]));
        assert_eq!((train.labels().unwrap(), test.labels().unwrap()), (&[0, 2, 1, 0][..], &[1, 2][..]));
        assert_eq!(test.class_names(), train.class_names());
        // Row by row in the file, column by column in the picture.
        assert_eq!([0, 1, 8].map(|at| train.image(0)[at]), [0, 32, 4]);
        fs::write(root.path().join("emnist-letters-mapping.txt"), "1 65 97\n2 66 98\n26 90 122\n").unwrap();
        assert_eq!(read(Split::Test).class_names(), ["A", "B", "Z"]);
    }

    #[test]
    fn any_other_set_has_the_name_of_its_folder_and_numbers_for_classes() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("kmnist");
        fs::create_dir(&folder).unwrap();
        put(&folder, "train", &[0, 9, 3]);
        let set = load_any(Source::Folder, &options(&folder, Split::Train)).unwrap();
        assert_eq!((set.name(), set.classes(), set.image(0)[1]), ("kmnist", 3, 4));
        let error = |split| load_any(Source::Folder, &options(&folder, split)).unwrap_err().to_string();
        assert!(error(Split::Test).contains("no test files"), "{}", error(Split::Test));
        put(&folder, "t10k", &[0, 4]);
        assert!(error(Split::Test).contains("label 4, which no training image has"), "{}", error(Split::Test));
        put(&folder, "k49-train", &[0]);
        assert!(error(Split::Train).contains("several sets (train-..., k49)"), "{}", error(Split::Train));
        fs::remove_file(folder.join("k49-train-labels-idx1-ubyte")).unwrap();
        for name in ["train", "t10k"] {
            fs::remove_file(folder.join(format!("{name}-images-idx3-ubyte.gz"))).unwrap();
        }
        assert!(error(Split::Train).contains("k49-train-labels-idx1-ubyte"), "{}", error(Split::Train));
    }
}
