//! Any folder of image files.
//!
//! ```text
//! DIR/*.png                                  flat: no labels
//! DIR/cat/*.png  DIR/dog/0017/*.jpg          one sub-folder a class, classes in order of their names
//! DIR/train/...  DIR/Testing/...  DIR/val    either of these, with a part held out
//! ```
//!
//! Where the classes are agreed on ([`super::FolderLayout::Agreed`]), a folder may lack some of them.
//!
//! Images come in order of their names; those of several classes take turns, so that a limit keeps some of each.

mod listing;
mod names;
mod people;
mod survey;

use std::path::{Path, PathBuf};

use prism_core::{Error, Result, file};
use rayon::prelude::*;

use super::decode::{self, Seen, Shape};
use super::{Dataset, LoadOptions, Watch, blank_images};
pub use listing::PassedOver;
pub(super) use listing::{Listing, class_folders, has_classes, list_split, read_folder, shown};
pub use people::People;
pub use survey::{Broken, Pictures, Survey};

/// Bytes of one image file: 64 MiB.
const MAX_FILE: u64 = 1 << 26;

/// Loads the images under `place.1` as a data set called `place.0`, and says what it saw.
///
/// # Errors
/// As [`super::load`]; all files that cannot be decoded are named, unless the options pass over them.
pub(super) fn load(place: (&str, &Path), options: &LoadOptions, watch: &Watch<'_>) -> Result<(Dataset, Survey)> {
    load_listing(place, list_split(place.1, options)?, options, watch)
}

/// Loads the images of `listing`, all in `folder`, as a data set called `name`.
///
/// # Errors
/// As [`load`].
pub(super) fn load_listing(
    (name, folder): (&str, &Path),
    listing: Listing,
    options: &LoadOptions,
    watch: &Watch<'_>,
) -> Result<(Dataset, Survey)> {
    if name.chars().any(char::is_control) {
        return Err(Error::usage(format!("{} has a control character in its name; rename it", shown(folder))));
    }
    let Listing { mut files, labels, class_names, passed_over } = listing;
    files.truncate(options.limit.unwrap_or(usize::MAX));
    // Whether all images are grey is known when all are read.
    let shape =
        Shape { channels: options.channels.unwrap_or(3), size: options.image_size, intensity: options.intensity };
    let bytes = shape.channels * shape.size * shape.size;
    let mut pixels = blank_images(name, files.len(), shape.channels, shape.size)?;
    let images: Vec<(&mut [u8], &PathBuf)> = pixels.chunks_exact_mut(bytes).zip(&files).collect();
    let one = |(image, path): (&mut [u8], &PathBuf)| (read(path, shape, image), watch(files.len())).0;
    let seen: Vec<std::result::Result<Seen, Broken>> = images.into_par_iter().map(one).collect();
    let mut survey = Survey { passed_over, ..Survey::default() };
    let mut kept = Vec::new();
    for (index, seen) in seen.into_iter().enumerate() {
        match seen {
            Ok(seen) => {
                survey.pictures.add(&seen);
                kept.push(index);
            }
            Err(broken) => survey.broken.push(broken),
        }
    }
    if !survey.broken.is_empty() && !options.skip_broken {
        let remedy = "repair or remove each, or pass over such files by `skip-broken`";
        return Err(Error::corrupt(shown(folder), format!("it holds {}; {remedy}", survey::list(&survey.broken))));
    }
    let grey = options.channels.is_none() && survey.pictures.grey == kept.len();
    let pixels = keep(pixels, bytes, &kept, if grey { bytes / 3 } else { bytes });
    let labels = labels.map(|labels| kept.iter().map(|&index| labels[index]).collect());
    survey.files = kept.into_iter().map(|index| std::mem::take(&mut files[index])).collect();
    let images = Dataset::new(name, shape.size, if grey { 1 } else { shape.channels }, pixels)?;
    let images = match labels {
        Some(labels) => images.with_labels(class_names, labels)?,
        None => images,
    };
    Ok((images, survey))
}

/// The first `length` of the `bytes` bytes of each image that is kept.
fn keep(mut pixels: Vec<u8>, bytes: usize, kept: &[usize], length: usize) -> Vec<u8> {
    if kept.len() * length == pixels.len() {
        return pixels;
    }
    for (place, &index) in kept.iter().enumerate() {
        pixels.copy_within(index * bytes..index * bytes + length, place * length);
    }
    pixels.truncate(kept.len() * length);
    pixels.shrink_to_fit();
    pixels
}

fn read(path: &Path, shape: Shape, image: &mut [u8]) -> std::result::Result<Seen, Broken> {
    let broken = |why: String| Broken { path: path.to_path_buf(), why };
    let bytes = file::read_bounded(path, MAX_FILE).map_err(|error| {
        broken(match error {
            Error::Io { source, .. } => source.to_string(),
            _ => format!("it is longer than {MAX_FILE} bytes"),
        })
    })?;
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    decode::decode_into(&bytes, &ending, shape, image).map_err(broken)
}

/// The name of a folder, for the data set that it holds.
pub(super) fn name_of(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    whole.file_name().map_or("folder".into(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use image::{ExtendedColorType, ImageFormat};

    use std::fs;

    use super::super::decode::tests::encode;
    use super::super::{Source, Split, load as load_any, load_surveyed};
    use super::*;

    /// Writes an 8x8 PNG of one grey value.
    pub fn put(root: &Path, path: &str, value: u8) {
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
        let colour = LoadOptions { channels: Some(3), limit: Some(2), ..options(root.path()) };
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
    fn a_split_is_known_in_any_case_and_by_every_usual_word() {
        for (train, test) in [
            ("Train", "Test"),
            ("Training", "Testing"),
            ("TRAIN", "val"),
            ("seg_train", "seg_test"),
            ("train_set", "dev"),
        ] {
            let root = tempfile::tempdir().unwrap();
            for (part, value) in [(train, 1), (test, 2), ("seg_pred", 3)] {
                put(root.path(), &format!("data/{part}/cat/0.png"), value);
                put(root.path(), &format!("data/{part}/dog/0.png"), 10 * value);
            }
            for (split, expected) in [(Split::Train, [1, 10]), (Split::Test, [2, 20])] {
                let set = load_any(Source::Folder, &LoadOptions { split, ..options(root.path()) }).unwrap();
                assert_eq!((values(&set), set.class_names().len()), (expected.to_vec(), 2), "{train}, {test}");
            }
        }
    }

    #[test]
    fn a_part_of_a_split_is_never_taken_for_a_class() {
        for (files, words) in [
            (["train/0.png", "bus/0.png", "test/0.png"], "beside \"bus\""),
            (["Train/0.png", "training/0.png", "test/0.png"], "same part of a split"),
            (["cat/train/0.png", "cat/test/0.png", "dog/0.png"], "class folder"),
            (["train/a/0.png", "train/val/0.png", "test/a/0.png"], "val has the name of a part of a split"),
        ] {
            let root = tempfile::tempdir().unwrap();
            files.iter().for_each(|name| put(root.path(), name, 1));
            let error = load_any(Source::Folder, &options(root.path())).unwrap_err();
            assert!(error.to_string().contains(words) && error.exit_code() == 2, "{words}: {error}");
        }
    }

    #[test]
    fn a_part_inside_a_folder_of_its_own_name_is_found() {
        let root = tempfile::tempdir().unwrap();
        for name in ["seg_train/seg_train/a/0.png", "seg_train/seg_train/b/0.png", "seg_test/seg_test/a/0.png"] {
            put(root.path(), name, 1);
        }
        assert_eq!(load_any(Source::Folder, &options(root.path())).unwrap().class_names(), ["a", "b"]);
    }

    #[test]
    fn folders_inside_a_class_are_read_but_for_masks() {
        let root = tempfile::tempdir().unwrap();
        for (name, value) in [
            ("ill/patient 2/a.png", 2),
            ("ill/patient 1/b.png", 1),
            ("ill/patient 1/scan/c.png", 3),
            ("ill/masks/b.png", 9),
            ("well/0.png", 4),
        ] {
            put(root.path(), name, value);
        }
        let (set, survey) = load_surveyed(Source::Folder, &options(root.path()), &|_| ()).unwrap();
        assert_eq!((values(&set), set.labels().unwrap()), (vec![1, 4, 3, 2], [0, 1, 0, 0].as_slice()));
        assert!(survey.passed_over.to_string().contains("1 in folders of masks"), "{}", survey.passed_over);
        assert!(survey.files[3].ends_with("ill/patient 2/a.png"));
    }

    /// JPEG files by other names, and what is no image at all: all is counted.
    #[test]
    fn images_are_known_by_ending_or_content_and_what_is_passed_over_is_counted() {
        let root = tempfile::tempdir().unwrap();
        let jpeg = encode(ImageFormat::Jpeg, ExtendedColorType::L8, (8, 8), &[99; 64]);
        for name in ["a.jfif", "b.jpe", "c.jif", "d.JPG", "e", "f.2024"] {
            fs::write(root.path().join(name), &jpeg).unwrap();
        }
        for name in ["labels.csv", "more.csv", "BM", ".hidden.jpg"] {
            fs::write(root.path().join(name), "BM, and other text").unwrap();
        }
        for name in ["__MACOSX", ".git", "$RECYCLE.BIN"] {
            put(root.path(), &format!("{name}/x.png"), 1);
        }
        let (set, survey) = load_surveyed(Source::Folder, &options(root.path()), &|_| ()).unwrap();
        assert_eq!((set.len(), survey.passed_over.count()), (6, 4));
        let text = survey.lines().join("\n");
        for words in ["files: 6 JPEG; 8x8 pixels; all grey", "2 of the kind .csv", "1 hidden", "1 without an ending"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn a_folder_is_grey_where_all_its_images_are() {
        let root = tempfile::tempdir().unwrap();
        let own = LoadOptions { channels: None, ..options(root.path()) };
        put(root.path(), "a.png", 7);
        let rgb = encode(ImageFormat::Png, ExtendedColorType::Rgb8, (8, 8), &[9; 192]);
        fs::write(root.path().join("b.png"), rgb).unwrap();
        let set = load_any(Source::Folder, &own).unwrap();
        assert_eq!((set.channels(), values(&set)), (1, vec![7, 9]));
        assert_eq!(set.digest(), load_any(Source::Folder, &options(root.path())).unwrap().digest());
        let red = encode(ImageFormat::Png, ExtendedColorType::Rgb8, (8, 8), &[255, 0, 0].repeat(64));
        fs::write(root.path().join("c.png"), red).unwrap();
        let set = load_any(Source::Folder, &own).unwrap();
        assert_eq!((set.channels(), values(&set)), (3, vec![7, 9, 255]));
    }

    #[test]
    fn class_names_that_no_model_can_bear_are_refused() {
        for (name, words) in [("x".repeat(81), "81 characters"), ("a\u{1b}[31m".into(), "control character")] {
            let root = tempfile::tempdir().unwrap();
            put(root.path(), &format!("{name}/0.png"), 1);
            put(root.path(), "b/0.png", 1);
            let error = load_any(Source::Folder, &options(root.path())).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('\u{1b}'), "{error}");
        }
        let root = tempfile::tempdir().unwrap();
        put(root.path(), &format!("{}/0.png", "x".repeat(80)), 1);
        put(root.path(), "b/0.png", 1);
        assert_eq!(load_any(Source::Folder, &options(root.path())).unwrap().classes(), 2);
    }

    #[test]
    fn scans_of_12_bits_in_16_are_warned_of_with_their_range() {
        let root = tempfile::tempdir().unwrap();
        for (name, most) in [("a.png", 4095u16), ("b.png", 3000)] {
            let pixels: Vec<u8> = (0..64u16).flat_map(|k| (k * (most / 63)).to_ne_bytes()).collect();
            let bytes = encode(ImageFormat::Png, ExtendedColorType::L16, (8, 8), &pixels);
            fs::write(root.path().join(name), bytes).unwrap();
        }
        let (_, survey) = load_surveyed(Source::Folder, &options(root.path()), &|_| ()).unwrap();
        let warnings = survey.warnings(true);
        assert!(
            warnings[0].contains("2 images hold values from 0 to 4095 only where their bits hold 0 to 65535"),
            "{warnings:?}"
        );
        assert!(warnings[0].contains("`intensity` 0-4095"), "{warnings:?}");
        assert!(survey.warnings(false).is_empty(), "a range that was chosen is not doubted");
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_regular_file_is_never_opened() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "a.png", 1);
        let made = std::process::Command::new("mkfifo").arg(root.path().join("b.png")).status();
        if !made.is_ok_and(|status| status.success()) {
            return;
        }
        let (set, survey) = load_surveyed(Source::Folder, &options(root.path()), &|_| ()).unwrap();
        assert_eq!((set.len(), survey.passed_over.count()), (1, 1));
        std::os::unix::fs::symlink("nowhere.png", root.path().join("c.png")).unwrap();
        let error = load_any(Source::Folder, &options(root.path())).unwrap_err().to_string();
        assert!(error.contains("c.png (No such file"), "{error}");
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
        assert!(error(Split::Train).contains("no image files"));
        fs::write(root.path().join("notes.txt"), "text").unwrap();
        assert!(error(Split::Train).contains("passed over 1 file that is no image"), "{}", error(Split::Train));
        put(root.path(), "a.png", 1);
        assert!(error(Split::Test).contains("held out"));
        fs::write(root.path().join("b.gif"), "GIF89a").unwrap();
        assert!(error(Split::Train).contains("b.gif (it holds GIF, which is not read; convert it"));
        fs::remove_file(root.path().join("b.gif")).unwrap();
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

    #[test]
    fn broken_files_are_all_named_or_passed_over() {
        let root = tempfile::tempdir().unwrap();
        (0..40).for_each(|i| put(root.path(), &format!("{i:02}.png"), i));
        for broken in ["17.png", "31.png"] {
            let path = root.path().join(broken);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
        let error = load_any(Source::Folder, &options(root.path())).unwrap_err();
        for words in ["2 broken image files", "17.png (", "31.png (", "`skip-broken`"] {
            assert!(error.to_string().contains(words), "{error}");
        }
        assert_eq!(error.exit_code(), 1);
        let skip = LoadOptions { skip_broken: true, ..options(root.path()) };
        let (set, survey) = load_surveyed(Source::Folder, &skip, &|_| ()).unwrap();
        assert_eq!((values(&set)[16..18].to_vec(), set.len()), (vec![16, 18], 38));
        assert!(survey.warnings(true)[0].contains("17.png"), "{:?}", survey.warnings(true));
        // A limit before the broken file never reads it.
        assert_eq!(
            load_any(Source::Folder, &LoadOptions { limit: Some(17), ..options(root.path()) }).unwrap().len(),
            17
        );
    }
}
