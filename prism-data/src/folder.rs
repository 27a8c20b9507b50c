//! Any folder of PNG and JPEG files.
//!
//! ```text
//! DIR/*.png                      flat: no labels
//! DIR/cat/*.png  DIR/dog/*.jpg   one sub-folder a class, classes in order of their names
//! DIR/train/...  DIR/test/...    either of these, with a part held out
//! ```
//!
//! Images come in order of their names; those of several classes take turns, so that a limit keeps some of each.

use std::fs;
use std::path::{Path, PathBuf};

use prism_core::{Error, Result, file};

use super::decode;
use super::{Blueprint, Dataset, LoadOptions, Split};

/// Bytes of one image file: 64 MiB.
const MAX_FILE: u64 = 1 << 26;

/// Classes that a generator can tell apart (`prism_core::Architecture`).
const MAX_CLASSES: usize = 1000;

/// Folders that only hold one other are passed through, at most so many.
const MAX_DEPTH: usize = 8;

const TRAIN_NAMES: &[&str] = &["train"];
const TEST_NAMES: &[&str] = &["test", "val", "valid", "validation"];

/// Endings of images that are known but not read. To pass over them in silence would train on a part of the data.
const UNREADABLE: &[&str] =
    &["webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2", "ppm", "pgm", "dcm"];

/// Loads the images under `folder` as a data set called `name`.
///
/// # Errors
/// As [`super::load`]; a file that cannot be decoded is named.
pub(super) fn load(name: &str, folder: &Path, options: &LoadOptions) -> Result<Dataset> {
    let listing = list_split(folder, options.split)?;
    let channels = options.channels.unwrap_or(3);
    Blueprint {
        name: name.into(),
        images: listing.files.len(),
        channels,
        class_names: listing.class_names,
        labels: listing.labels,
    }
    .build(options, |index, image| {
        let path = &listing.files[index];
        let bytes = file::read_bounded(path, MAX_FILE)?;
        decode::decode_into(&bytes, channels, options.image_size, image).map_err(|why| {
            Error::corrupt(
                format!("image {}", path.display()),
                format!("{why}; repair or remove this file and start again"),
            )
        })
    })
}

/// The name of a folder, for the data set that it holds.
pub(super) fn name_of(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    whole.file_name().map_or("folder".into(), |name| name.to_string_lossy().into_owned())
}

/// Whether `folder` looks like one sub-folder a class, or like a split into such.
pub(super) fn has_classes(folder: &Path) -> bool {
    read_folder(folder).is_ok_and(|content| content.folders.len() > 1 || split_folder(&content, TRAIN_NAMES).is_some())
}

/// The files of one split, in order.
#[derive(Debug)]
struct Listing {
    files: Vec<PathBuf>,
    labels: Option<Vec<u16>>,
    class_names: Vec<String>,
}

/// What a folder holds, hidden entries left out, each list in order of names.
struct Content {
    images: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

fn list_split(folder: &Path, split: Split) -> Result<Listing> {
    let content = read_folder(folder)?;
    let (train, test) = (split_folder(&content, TRAIN_NAMES), split_folder(&content, TEST_NAMES));
    match (split, train, test) {
        (Split::Train, Some(train), _) => list(train),
        (Split::Train, None, None) => list(folder),
        (Split::Train, None, Some(test)) => Err(Error::usage(format!(
            "{} has no folder 'train' beside {}; add one, or name the folder of the training images with --data-dir",
            folder.display(),
            test.display()
        ))),
        (Split::Test, None, _) | (Split::Test, _, None) => Err(Error::usage(format!(
            "{} has no folders 'train' and 'test', so no images are held out; add them, or do without a test",
            folder.display()
        ))),
        (Split::Test, Some(train), Some(test)) => with_classes_of(list(test)?, &list(train)?, test),
    }
}

/// The sub-folder that is called one of `names`, if all sub-folders are parts of a split and not classes.
fn split_folder<'a>(content: &'a Content, names: &[&str]) -> Option<&'a Path> {
    let is =
        |folder: &Path, names: &[&str]| names.iter().any(|name| folder.file_name().is_some_and(|own| own == *name));
    let split = content.folders.iter().all(|folder| is(folder, TRAIN_NAMES) || is(folder, TEST_NAMES));
    let mut found = names.iter().filter_map(|name| content.folders.iter().find(|folder| is(folder, &[name])));
    found.next().filter(|_| split && content.images.is_empty()).map(PathBuf::as_path)
}

/// Renumbers the classes of a test split as in the training split, which may have more.
fn with_classes_of(test: Listing, train: &Listing, folder: &Path) -> Result<Listing> {
    let place = |name: &String| {
        let found = train.class_names.iter().position(|other| other == name);
        found.map(|class| class as u16).ok_or_else(|| {
            Error::usage(format!("class '{name}' of {} is not in the training images; remove it", folder.display()))
        })
    };
    let classes: Vec<u16> = test.class_names.iter().map(place).collect::<Result<_>>()?;
    if test.labels.is_some() != train.labels.is_some() {
        return Err(Error::usage(format!(
            "{} and the training images beside it must both have one sub-folder a class, or neither",
            folder.display()
        )));
    }
    let labels = test.labels.map(|labels| labels.into_iter().map(|label| classes[usize::from(label)]).collect());
    Ok(Listing { labels, class_names: train.class_names.clone(), ..test })
}

/// The images of a flat folder or of its class folders. A folder that holds but one other stands for that other.
fn list(folder: &Path) -> Result<Listing> {
    let mut folder = folder.to_path_buf();
    for _ in 0..MAX_DEPTH {
        let content = read_folder(&folder)?;
        match (content.images.is_empty(), content.folders.as_slice()) {
            (true, []) => {
                return Err(Error::usage(format!(
                    "{} holds no PNG or JPEG files; name the folder of your images with --data-dir",
                    folder.display()
                )));
            }
            (false, []) => return Ok(Listing { files: content.images, labels: None, class_names: Vec::new() }),
            (true, [only]) => folder = only.clone(),
            (true, classes) => return list_classes(classes),
            (false, [first, ..]) => {
                return Err(Error::usage(format!(
                    "{} holds both images and the folder {}; keep either images or one sub-folder a class",
                    folder.display(),
                    first.display()
                )));
            }
        }
    }
    Err(Error::usage(format!("{} is nested too deeply; name the folder above the images", folder.display())))
}

/// One image of each class in turn, until all are listed.
fn list_classes(folders: &[PathBuf]) -> Result<Listing> {
    if folders.len() > MAX_CLASSES {
        return Err(Error::usage(format!("{} class folders are more than the limit of {MAX_CLASSES}", folders.len())));
    }
    let mut images = Vec::new();
    for (class, folder) in folders.iter().enumerate() {
        let content = read_folder(folder)?;
        if content.images.is_empty() || !content.folders.is_empty() {
            return Err(Error::usage(format!(
                "class folder {} must hold PNG or JPEG files and no folders; fill or remove it",
                folder.display()
            )));
        }
        images.extend(content.images.into_iter().enumerate().map(|(turn, path)| (turn, class as u16, path)));
    }
    images.sort_by_key(|&(turn, class, _)| (turn, class));
    let labels = images.iter().map(|image| image.1).collect();
    let class_names = folders.iter().map(|folder| last_name(folder)).collect();
    Ok(Listing { files: images.into_iter().map(|image| image.2).collect(), labels: Some(labels), class_names })
}

fn last_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read_folder(folder: &Path) -> Result<Content> {
    let failed = |source| Error::io("read the folder", folder, source);
    let mut content = Content { images: Vec::new(), folders: Vec::new() };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if last_name(&path).starts_with('.') {
            continue;
        }
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if path.is_dir() {
            content.folders.push(path);
        } else if matches!(ending.as_str(), "png" | "jpg" | "jpeg") {
            content.images.push(path);
        } else if UNREADABLE.contains(&ending.as_str()) {
            return Err(Error::usage(format!(
                "{} is an image that cannot be read; convert it to PNG or JPEG, or remove it",
                path.display()
            )));
        }
    }
    content.images.sort();
    content.folders.sort();
    Ok(content)
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageFormat};

    use super::super::decode::tests::encode;
    use super::super::{Source, load as load_any};
    use super::*;

    /// Writes an 8x8 PNG of one grey value.
    fn put(root: &Path, path: &str, value: u8) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, encode(ImageFormat::Png, ExtendedColorType::L8, (8, 8), &[value; 64])).unwrap();
    }

    fn options(folder: &Path) -> LoadOptions {
        LoadOptions { data_dir: Some(folder.into()), image_size: 8, channels: Some(1), ..LoadOptions::default() }
    }

    fn values(set: &Dataset) -> Vec<u8> {
        (0..set.len()).map(|i| set.image(i)[0]).collect()
    }

    #[test]
    fn a_flat_folder_has_no_labels_and_keeps_the_order_of_names() {
        let root = tempfile::tempdir().unwrap();
        for (name, value) in [("b.png", 2), ("c.PNG", 3), ("a.png", 1), (".hidden.png", 9)] {
            put(root.path(), name, value);
        }
        fs::write(root.path().join("readme.txt"), "not an image").unwrap();
        let set = load_any(Source::Folder, &options(root.path())).unwrap();
        assert_eq!((values(&set), set.labels(), set.classes()), (vec![1, 2, 3], None, 0));
        assert_eq!(set.name(), root.path().file_name().unwrap().to_str().unwrap());
        let colour = LoadOptions { channels: None, limit: Some(2), ..options(root.path()) };
        let set = load_any(Source::Folder, &colour).unwrap();
        assert_eq!((set.channels(), set.len(), set.image(1)), (3, 2, [2; 192].as_slice()));
    }

    #[test]
    fn classes_take_turns_in_order_of_names() {
        let root = tempfile::tempdir().unwrap();
        for (name, value) in
            [("dog/1.png", 11), ("cat/2.png", 2), ("cat/1.png", 1), ("cat/3.png", 3), ("dog/0.png", 10)]
        {
            put(root.path(), name, value);
        }
        let set = load_any(Source::Folder, &options(root.path())).unwrap();
        assert_eq!(set.class_names(), ["cat", "dog"]);
        assert_eq!((values(&set), set.labels().unwrap()), (vec![1, 10, 2, 11, 3], [0, 1, 0, 1, 0].as_slice()));
        // The same folder serves as CIFAR-10 if it has no batches.
        assert_eq!(load_any(Source::Cifar10, &options(root.path())).unwrap().name(), "cifar10");
    }

    #[test]
    fn a_split_keeps_the_numbers_of_the_classes() {
        let root = tempfile::tempdir().unwrap();
        for (name, value) in
            [("train/a/0.png", 1), ("train/b/0.png", 2), ("train/c/0.png", 3), ("test/a/0.png", 4), ("test/c/0.png", 5)]
        {
            put(root.path(), name, value);
        }
        let train = load_any(Source::Folder, &options(root.path())).unwrap();
        let test_options = LoadOptions { split: Split::Test, ..options(root.path()) };
        let test = load_any(Source::Folder, &test_options).unwrap();
        assert_eq!((values(&train), values(&test)), (vec![1, 2, 3], vec![4, 5]));
        assert_eq!((test.labels().unwrap(), test.classes()), ([0, 2].as_slice(), 3));
        put(root.path(), "test/d/0.png", 6);
        assert!(load_any(Source::Folder, &test_options).unwrap_err().to_string().contains("class 'd'"));
    }

    #[test]
    fn folders_named_train_beside_others_are_classes() {
        let root = tempfile::tempdir().unwrap();
        for name in ["train/0.png", "bus/0.png", "test/0.png"] {
            put(root.path(), name, 1);
        }
        assert_eq!(load_any(Source::Folder, &options(root.path())).unwrap().class_names(), ["bus", "test", "train"]);
    }

    #[test]
    fn a_lone_folder_is_passed_through() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "celeba/images/1.png", 7);
        let set = load_any(Source::Folder, &options(root.path())).unwrap();
        assert_eq!((values(&set), set.labels()), (vec![7], None));
    }

    #[test]
    fn unusable_folders_are_refused_in_words() {
        let root = tempfile::tempdir().unwrap();
        let error =
            |split| load_any(Source::Folder, &LoadOptions { split, ..options(root.path()) }).unwrap_err().to_string();
        assert!(error(Split::Train).contains("no PNG or JPEG"));
        put(root.path(), "a.png", 1);
        assert!(error(Split::Test).contains("held out"));
        fs::write(root.path().join("b.webp"), "RIFF").unwrap();
        assert!(error(Split::Train).contains("b.webp"));
        fs::remove_file(root.path().join("b.webp")).unwrap();
        put(root.path(), "sub/a.png", 1);
        assert!(error(Split::Train).contains("both images and the folder"));
        fs::remove_file(root.path().join("a.png")).unwrap();
        fs::create_dir(root.path().join("empty")).unwrap();
        assert!(error(Split::Train).contains("class folder"));
        let nowhere = LoadOptions { data_dir: Some(root.path().join("nowhere")), ..LoadOptions::default() };
        let error = load_any(Source::Folder, &nowhere).unwrap_err();
        assert!(error.to_string().contains("nowhere is no folder") && error.exit_code() == 2, "{error}");
        assert!(load_any(Source::Folder, &LoadOptions::default()).unwrap_err().to_string().contains("--data-dir"));
    }

    /// Whatever the threads do, it is the first broken file that is named.
    #[test]
    fn a_broken_file_is_named_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        (0..40).for_each(|i| put(root.path(), &format!("{i:02}.png"), i));
        for broken in ["17.png", "31.png"] {
            let path = root.path().join(broken);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
        let error = load_any(Source::Folder, &options(root.path())).unwrap_err();
        assert!(error.to_string().contains("17.png") && error.to_string().contains("remove this file"), "{error}");
        assert_eq!(error.exit_code(), 1);
        // A limit before the broken file never reads it.
        assert_eq!(
            load_any(Source::Folder, &LoadOptions { limit: Some(17), ..options(root.path()) }).unwrap().len(),
            17
        );
    }
}
