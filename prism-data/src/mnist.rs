//! MNIST and Fashion-MNIST: a file of grey pictures and a file of labels, in IDX format.

use std::path::{Path, PathBuf};

use prism_core::{Error, Result};

use super::locate::{self, Missing};
use super::resize::{Resizer, centre_square};
use super::{Blueprint, Dataset, LoadOptions, Source, Split, idx};

/// What the two sets differ in.
struct Set {
    source: Source,
    classes: [&'static str; 10],
    /// Sub-folders in which common tools keep the files.
    sub_folders: [&'static str; 2],
    home: &'static str,
}

const MNIST: Set = Set {
    source: Source::Mnist,
    classes: super::DIGIT_NAMES,
    sub_folders: ["mnist", "MNIST/raw"],
    home: "the MNIST page of Yann LeCun (yann.lecun.com/exdb/mnist)",
};

const FASHION: Set = Set {
    source: Source::FashionMnist,
    classes: super::FASHION_NAMES,
    sub_folders: ["fashion-mnist", "FashionMNIST/raw"],
    home: "the Fashion-MNIST repository of Zalando Research (github.com/zalandoresearch/fashion-mnist)",
};

/// Loads MNIST or Fashion-MNIST.
///
/// # Errors
/// As [`super::load`].
pub(super) fn load(source: Source, options: &LoadOptions) -> Result<Dataset> {
    let set = if source == Source::FashionMnist { FASHION } else { MNIST };
    let (images, labels) = match options.split {
        Split::Train => ("train-images", "train-labels"),
        Split::Test => ("t10k-images", "t10k-labels"),
    };
    let folders = locate::folders(options, &set.sub_folders);
    let Some(paths) = locate::find(&folders, &[names(images, 3), names(labels, 1)]) else {
        #[cfg(feature = "hub")]
        if options.data_dir.is_none() {
            return super::hub::load(source, options);
        }
        if let Some(other) = folders.iter().find_map(|folder| other_set(folder)) {
            return Err(Error::usage(format!(
                "{} is of another set than {}; choose `dataset` folder, which reads such files as they come",
                other.display(),
                set.source
            )));
        }
        let files = format!("{images}-idx3-ubyte and {labels}-idx1-ubyte (plain or .gz)");
        return Err(Missing { name: set.source.name(), files: &files, home: set.home }.error(&folders));
    };
    let set = Pictures {
        name: set.source.name().into(),
        class_names: set.classes.map(String::from).to_vec(),
        images: idx::images(&paths[0])?,
        labels: idx::labels(&paths[1], set.classes.len())?,
        transposed: false,
    };
    set.build(&paths[0], options)
}

/// The content of IDX files.
pub(super) struct Pictures {
    /// What the set is called.
    pub name: String,
    /// Its classes, by label.
    pub class_names: Vec<String>,
    /// The pictures, grey.
    pub images: idx::Images,
    /// The label of each.
    pub labels: Vec<u16>,
    /// Whether each lies column by column.
    pub transposed: bool,
}

impl Pictures {
    /// The set at the size that `options` ask for; its pictures come from the file `path`.
    pub(super) fn build(self, path: &Path, options: &LoadOptions) -> Result<Dataset> {
        let Pictures { name, class_names, images: pictures, labels, transposed } = self;
        if labels.len() != pictures.count {
            return Err(Error::corrupt(
                path.display().to_string(),
                format!("it holds {} pictures, but there are {} labels", pictures.count, labels.len()),
            ));
        }
        let (side, top, left) = centre_square(pictures.columns, pictures.rows);
        let resizer = Resizer::new(side, options.image_size);
        let blueprint = Blueprint { name, images: pictures.count, channels: 1, class_names, labels: Some(labels) };
        blueprint.build(options, |index, image| {
            let picture = &pictures.values[index * pictures.rows * pictures.columns..];
            let (first, copies) = image.split_at_mut(options.image_size * options.image_size);
            let at = |y: usize, x: usize| picture[(top + y) * pictures.columns + left + x];
            resizer.plane(|y, x| if transposed { at(x, y) } else { at(y, x) }, first);
            copies.chunks_exact_mut(first.len()).for_each(|copy| copy.copy_from_slice(first));
            Ok(())
        })
    }
}

/// A file of pictures in `folder` that is named as those of other sets in this format are, `emnist-letters-train-images-...`.
fn other_set(folder: &Path) -> Option<PathBuf> {
    let is_other = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.contains("-images-idx3-ubyte") && !["train-", "t10k-"].iter().any(|own| name.starts_with(own))
    };
    std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_other).min()
}

/// The names under which a file is known: with a hyphen or a dot before `idx`, gzipped or not.
fn names(stem: &str, dimensions: u8) -> Vec<String> {
    ["-", "."].iter().flat_map(|dot| ["", ".gz"].map(|end| format!("{stem}{dot}idx{dimensions}-ubyte{end}"))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::idx::tests::{gzip, idx};
    use super::super::load as load_any;
    use super::*;

    fn options(folder: &Path) -> LoadOptions {
        LoadOptions { data_dir: Some(folder.into()), ..LoadOptions::default() }
    }

    fn pictures(count: u32) -> Vec<u8> {
        idx(&[count, 28, 28], &(0..count * 784).map(|k| (k % 253) as u8).collect::<Vec<u8>>())
    }

    #[test]
    fn files_are_found_under_every_usual_name() {
        for (sub_folder, images, labels) in [
            ("", "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
            ("mnist", "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
            ("MNIST/raw", "train-images.idx3-ubyte", "train-labels.idx1-ubyte.gz"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join(sub_folder);
            fs::create_dir_all(&folder).unwrap();
            let write = |name: &str, bytes: &[u8]| {
                fs::write(folder.join(name), if name.ends_with(".gz") { gzip(bytes) } else { bytes.into() }).unwrap();
            };
            write(images, &pictures(5));
            write(labels, &idx(&[5], &[3, 1, 4, 1, 5]));
            let set = load_any(Source::Mnist, &options(root.path())).unwrap();
            assert_eq!((set.len(), set.classes(), set.channels(), set.image_size()), (5, 10, 1, 32));
            assert_eq!(set.labels().unwrap(), [3, 1, 4, 1, 5]);
        }
    }

    #[test]
    fn limit_channels_and_split_are_obeyed() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("t10k-images-idx3-ubyte"), pictures(6)).unwrap();
        fs::write(root.path().join("t10k-labels-idx1-ubyte"), idx(&[6], &[0, 1, 2, 3, 4, 9])).unwrap();
        let test = LoadOptions { split: Split::Test, image_size: 16, ..options(root.path()) };
        let whole = load_any(Source::FashionMnist, &test).unwrap();
        assert_eq!(whole.class_names()[9], "Ankle boot");
        let part = load_any(Source::FashionMnist, &LoadOptions { limit: Some(4), channels: Some(3), ..test }).unwrap();
        assert_eq!((part.len(), part.labels().unwrap()), (4, [0, 1, 2, 3].as_slice()));
        assert!((0..4).all(|i| part.image(i).chunks(256).all(|plane| plane == whole.image(i))));
    }

    #[test]
    fn missing_and_mismatched_files_are_named() {
        let root = tempfile::tempdir().unwrap();
        let error = || load_any(Source::Mnist, &options(root.path())).unwrap_err();
        let missing = error();
        assert_eq!(missing.exit_code(), 2);
        for part in ["train-images-idx3-ubyte", "MNIST/raw", "yann.lecun.com", "--data-dir", "--features hub"] {
            assert!(missing.to_string().contains(part), "{missing}");
        }
        fs::write(root.path().join("train-images-idx3-ubyte"), pictures(5)).unwrap();
        assert!(error().to_string().contains("not found"));
        fs::write(root.path().join("train-labels-idx1-ubyte"), idx(&[4], &[0; 4])).unwrap();
        let mismatch = error();
        assert_eq!(mismatch.exit_code(), 1);
        assert!(mismatch.to_string().contains("4 labels") && mismatch.to_string().contains("5 pictures"), "{mismatch}");
    }

    #[test]
    fn sets_of_more_classes_are_told_to_become_folders() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("emnist-letters-train-images-idx3-ubyte.gz"), gzip(&pictures(2))).unwrap();
        let error = || load_any(Source::Mnist, &options(root.path())).unwrap_err().to_string();
        assert!(error().contains("emnist-letters-train-images") && error().contains("`dataset` folder"), "{}", error());
        fs::write(root.path().join("train-images-idx3-ubyte"), pictures(2)).unwrap();
        fs::write(root.path().join("train-labels-idx1-ubyte"), idx(&[2], &[1, 26])).unwrap();
        assert!(error().contains("label 1 is 26") && error().contains("`dataset` folder"), "{}", error());
    }

    /// The real sets, where the environment says where they are.
    #[test]
    fn the_real_sets_have_their_published_sizes() {
        if std::env::var_os(locate::DATA_VARIABLE).is_none() {
            prism_core::errln!("skipped: {} is not set", locate::DATA_VARIABLE);
            return;
        }
        for source in [Source::Mnist, Source::FashionMnist] {
            for (split, count) in [(Split::Train, 60_000), (Split::Test, 10_000)] {
                let set = load_any(source, &LoadOptions { split, image_size: 8, ..LoadOptions::default() }).unwrap();
                assert_eq!((set.len(), set.classes()), (count, 10));
                let sevens = set.labels().unwrap().iter().filter(|&&label| label == 7).count();
                let expected = if source == Source::FashionMnist { count / 10 } else { [6265, 1028][split as usize] };
                assert_eq!(sevens, expected, "{source} {split:?}");
            }
        }
    }
}
