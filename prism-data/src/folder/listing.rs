//! Which files of a folder are images, of which class, and which were passed over.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use prism_core::{Error, Result};

use super::names::{self, Part};
use crate::decode::kind;
use crate::{FolderLayout, LoadOptions, MAX_CLASS_NAME, Split};

/// Classes that a generator can tell apart (`prism_core::Architecture`).
const MAX_CLASSES: usize = 1000;

/// Folders that only hold one other are passed through, and classes are searched, at most so deep.
const MAX_DEPTH: usize = 8;

/// Endings of images, whether they can be read or not: to pass over those that cannot in silence would train on a part of
/// the data.
const IMAGES: &[&str] = &[
    "png", "jpg", "jpeg", "jpe", "jif", "jfif", "jfi", "tif", "tiff", "webp", "bmp", "dib", "pgm", "ppm", "pnm", "gif",
    "heic", "heif", "avif", "jxl", "jp2", "dcm", "dicom", "dng", "nef", "cr2", "cr3", "arw", "orf", "rw2", "raf",
];

/// The files of one split, in order.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub files: Vec<PathBuf>,
    pub labels: Option<Vec<u16>>,
    pub class_names: Vec<String>,
    pub passed_over: PassedOver,
}

impl Listing {
    /// Adds the files of `other`, which has the same classes.
    pub fn extend(&mut self, other: Listing) {
        self.files.extend(other.files);
        self.labels.iter_mut().for_each(|labels| labels.extend(other.labels.iter().flatten()));
        self.passed_over.merge(other.passed_over);
    }
}

/// Files that are no images, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// For each reason, how many files, and one of them.
    reasons: BTreeMap<String, (usize, PathBuf)>,
}

impl PassedOver {
    fn add(&mut self, reason: impl Into<String>, count: usize, example: &Path) {
        if count > 0 {
            self.reasons.entry(reason.into()).or_insert_with(|| (0, example.to_path_buf())).0 += count;
        }
    }

    fn merge(&mut self, other: PassedOver) {
        other.reasons.into_iter().for_each(|(reason, (count, example))| self.add(reason, count, &example));
    }

    /// How many files they are.
    pub fn count(&self) -> usize {
        self.reasons.values().map(|(count, _)| count).sum()
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = |(reason, (count, example)): (&String, &(usize, PathBuf))| {
            format!("{count} {reason}, such as {}", shown(example))
        };
        let reasons: Vec<String> = self.reasons.iter().map(reason).collect();
        let files = if self.count() == 1 { "file that is no image" } else { "files that are no images" };
        write!(f, "passed over {} {files}: {}", self.count(), reasons.join("; "))
    }
}

/// A path as text, without the control characters by which a name could play tricks on a terminal.
pub(crate) fn shown(path: &Path) -> String {
    let plain = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    path.to_string_lossy().chars().map(plain).collect()
}

/// What a folder holds, each list in order of names.
#[derive(Default)]
pub(crate) struct Content {
    pub images: Vec<PathBuf>,
    pub folders: Vec<PathBuf>,
    passed_over: PassedOver,
}

/// Whether `folder` looks like one sub-folder a class, or like a split into such.
pub(crate) fn has_classes(folder: &Path) -> bool {
    let is_split = |content: &Content| content.folders.iter().any(|folder| part(folder) == Some(Part::Train));
    read_folder(folder).is_ok_and(|content| content.folders.len() > 1 || is_split(&content))
}

/// What `folder` holds of the split that `options` ask for.
///
/// # Errors
/// [`Error::Usage`] saying what is wrong with the folder.
pub(crate) fn list_split(folder: &Path, options: &LoadOptions) -> Result<Listing> {
    let split = options.split;
    // Where classes are agreed on, a lone folder is one of them.
    let (folder, content) = match &options.layout {
        FolderLayout::Agreed(_) => (folder.to_path_buf(), read_folder(folder)?),
        _ => pass_through(folder, None)?,
    };
    let list = |folder: &Path| match &options.layout {
        FolderLayout::Agreed(names) => list_agreed(folder, names),
        _ => list(folder),
    };
    let parts = Parts::of(&folder, &content)?;
    let (train, test) = (parts.train, parts.test.or(parts.validation));
    match (split, train, test) {
        (Split::Train, Some(train), _) => list(&train),
        (Split::Train, None, None) => list(&folder),
        (Split::Train, None, Some(test)) => Err(Error::usage(format!(
            "{} has no folder 'train' beside {}; add one, or name the folder of the training images with --data-dir",
            shown(&folder),
            shown(&test)
        ))),
        (Split::Test, None, _) | (Split::Test, _, None) => Err(Error::usage(format!(
            "{} has no folders 'train' and 'test', so no images are held out; add them, use the training images where a \
             command takes --split train, or do without a test",
            shown(&folder)
        ))),
        (Split::Test, Some(train), Some(test)) => with_classes_of(list(&test)?, &list(&train)?, &test),
    }
}

/// The names of the sub-folders of the training images in `folder`.
///
/// # Errors
/// [`Error::Io`] if it cannot be read.
pub(crate) fn class_folders(folder: &Path) -> Result<Vec<String>> {
    let content = read_folder(folder)?;
    let content = match Parts::of(folder, &content)?.train {
        Some(train) => read_folder(&train)?,
        None => content,
    };
    Ok(content.folders.iter().map(|folder| last_name(folder)).collect())
}

/// The folders of a split.
#[derive(Default)]
struct Parts {
    train: Option<PathBuf>,
    test: Option<PathBuf>,
    validation: Option<PathBuf>,
}

impl Parts {
    /// The parts that the sub-folders of `folder` are; none where they are classes. Some of each are refused: the images
    /// held out would be trained on.
    fn of(folder: &Path, content: &Content) -> Result<Self> {
        let mut parts = Parts::default();
        let is_split = |folder: &&PathBuf| part(folder).is_some_and(|part| part != Part::Other);
        let Some(first) = content.folders.iter().find(is_split) else { return Ok(parts) };
        for own in &content.folders {
            let place = match part(own) {
                Some(Part::Train) => &mut parts.train,
                Some(Part::Test) => &mut parts.test,
                Some(Part::Validation) => &mut parts.validation,
                Some(Part::Other) => continue,
                None => {
                    return Err(Error::usage(format!(
                        "{} holds {:?}, a name of a part of a split, beside {:?}, which is none; name the folder of the \
                         training images with --data-dir, or rename what is a class",
                        shown(folder),
                        last_name(first),
                        last_name(own)
                    )));
                }
            };
            if let Some(other) = place.replace(own.clone()) {
                return Err(Error::usage(format!(
                    "{} and {} are names of the same part of a split; keep one of them",
                    shown(&other),
                    shown(own)
                )));
            }
        }
        Ok(parts)
    }
}

fn part(folder: &Path) -> Option<Part> {
    names::part_of_split(&last_name(folder))
}

/// Renumbers the classes of a test split as in the training split, which may have more.
fn with_classes_of(test: Listing, train: &Listing, folder: &Path) -> Result<Listing> {
    if test.labels.is_some() != train.labels.is_some() {
        return Err(Error::usage(format!(
            "{} and the training images beside it must both have one sub-folder a class, or neither",
            shown(folder)
        )));
    }
    renumbered(test, &train.class_names, folder)
}

/// The images of a folder that has a sub-folder for some of the classes `names`.
fn list_agreed(folder: &Path, names: &[String]) -> Result<Listing> {
    let content = read_folder(folder)?;
    if !content.images.is_empty() || content.folders.is_empty() {
        return Err(Error::usage(format!(
            "{} must hold one sub-folder for each class of which it has images, called as in [{}], and no images beside them",
            shown(folder),
            names.join(", ")
        )));
    }
    renumbered(list_classes(&content.folders, content.passed_over)?, names, folder)
}

/// The same images with the numbers that their classes have in `names`.
fn renumbered(listing: Listing, names: &[String], folder: &Path) -> Result<Listing> {
    let place = |name: &String| {
        let found = names.iter().position(|other| other == name);
        found.map(|class| class as u16).ok_or_else(|| {
            let known = names.join(", ");
            Error::usage(format!(
                "class '{name}' of {} is none of [{known}]; rename or remove its folder",
                shown(folder)
            ))
        })
    };
    let classes: Vec<u16> = listing.class_names.iter().map(place).collect::<Result<_>>()?;
    let labels = listing.labels.map(|labels| labels.into_iter().map(|label| classes[usize::from(label)]).collect());
    Ok(Listing { labels, class_names: names.to_vec(), ..listing })
}

/// `folder`, or the folder inside it that it stands for: the only thing that it holds, and no part of a split but the `own`
/// one, as in `seg_train/seg_train`.
fn pass_through(folder: &Path, own: Option<Part>) -> Result<(PathBuf, Content)> {
    let mut folder = folder.to_path_buf();
    for _ in 0..MAX_DEPTH {
        let content = read_folder(&folder)?;
        match (content.images.is_empty(), content.folders.as_slice()) {
            (true, [only]) if part(only).is_none() || part(only) == own => folder = only.clone(),
            _ => return Ok((folder, content)),
        }
    }
    Err(Error::usage(format!("{} is nested too deeply; name the folder above the images", shown(&folder))))
}

/// The images of a flat folder or of its class folders.
fn list(folder: &Path) -> Result<Listing> {
    let (folder, content) = pass_through(folder, part(folder))?;
    match (content.images.is_empty(), content.folders.as_slice()) {
        (true, []) => {
            let others = content.passed_over;
            let found = if others.count() > 0 { format!(" ({others})") } else { String::new() };
            Err(Error::usage(format!(
                "{} holds no image files{found}; name the folder of your images with --data-dir",
                shown(&folder)
            )))
        }
        (false, []) => Ok(Listing { files: content.images, passed_over: content.passed_over, ..Listing::default() }),
        (true, classes) => list_classes(classes, content.passed_over),
        (false, [first, ..]) => Err(Error::usage(format!(
            "{} holds both images and the folder {}; keep either images or one sub-folder a class",
            shown(&folder),
            shown(first)
        ))),
    }
}

/// One image of each class in turn, until all are listed.
fn list_classes(folders: &[PathBuf], mut passed_over: PassedOver) -> Result<Listing> {
    if folders.len() > MAX_CLASSES {
        return Err(Error::usage(format!("{} class folders are more than the limit of {MAX_CLASSES}", folders.len())));
    }
    let class_names = folders.iter().map(|folder| class_name(folder)).collect::<Result<_>>()?;
    let mut images = Vec::new();
    for (class, folder) in folders.iter().enumerate() {
        let mut own = images_below(folder, MAX_DEPTH, &mut passed_over)?;
        if own.is_empty() {
            return Err(Error::usage(format!(
                "class folder {} holds no image files; fill or remove it",
                shown(folder)
            )));
        }
        own.sort();
        images.extend(own.into_iter().enumerate().map(|(turn, path)| (turn, class as u16, path)));
    }
    images.sort_by_key(|&(turn, class, _)| (turn, class));
    let labels = Some(images.iter().map(|image| image.1).collect());
    Ok(Listing { files: images.into_iter().map(|image| image.2).collect(), labels, class_names, passed_over })
}

/// The images of a class in its folder and in those inside it, as of patients.
fn images_below(folder: &Path, depth: usize, passed_over: &mut PassedOver) -> Result<Vec<PathBuf>> {
    if depth == 0 {
        return Err(Error::usage(format!("{} is nested too deeply; move the images of a class up", shown(folder))));
    }
    let content = read_folder(folder)?;
    passed_over.merge(content.passed_over);
    let mut images = content.images;
    for inner in &content.folders {
        match part(inner) {
            Some(Part::Other) | None => {}
            Some(_) => {
                return Err(Error::usage(format!(
                    "class folder {} holds {:?}, a name of a part of a split, so images that are held out would be \
                     trained on; put 'train' and 'test' above the classes",
                    shown(folder),
                    last_name(inner)
                )));
            }
        }
        let found = images_below(inner, depth - 1, passed_over)?;
        match names::is_annotation(&last_name(inner)) {
            true => passed_over.add("in folders of masks or annotations", found.len(), inner),
            false => images.extend(found),
        }
    }
    Ok(images)
}

/// The name of the class whose images are in `folder`, if a model can bear it.
fn class_name(folder: &Path) -> Result<String> {
    let refuse = |why: String| Err(Error::usage(format!("class folder {} {why}; rename it", shown(folder))));
    if part(folder).is_some_and(|part| part != Part::Other) {
        return refuse("has the name of a part of a split".into());
    }
    let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
        return refuse("has a name that is no UTF-8".into());
    };
    match name.chars().count() {
        length if length > MAX_CLASS_NAME => refuse(format!(
            "has a name of {length} characters, and a model's class names have at most {MAX_CLASS_NAME}"
        )),
        _ if name.chars().any(char::is_control) => refuse("has a control character in its name".into()),
        _ => Ok(name.to_string()),
    }
}

fn last_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What `folder` holds.
///
/// # Errors
/// [`Error::Io`] if it cannot be read.
pub(crate) fn read_folder(folder: &Path) -> Result<Content> {
    let failed = |source| Error::io("read the folder", folder, source);
    let mut content = Content::default();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Of a link, what it leads to. One that leads nowhere is a file that cannot be read, and is named as such.
        let (is_folder, is_file) = fs::metadata(&path).map_or((false, true), |found| (found.is_dir(), found.is_file()));
        match is_folder {
            true if names::is_system(&last_name(&path)) => {}
            true => content.folders.push(path),
            false => match why_no_image(&path, is_file) {
                None => content.images.push(path),
                Some(reason) => content.passed_over.add(reason, 1, &path),
            },
        }
    }
    content.images.sort();
    content.folders.sort();
    Ok(content)
}

/// Why a file is none of the images; none if it is one, by its ending or by how it begins.
fn why_no_image(path: &Path, is_file: bool) -> Option<String> {
    if last_name(path).starts_with('.') {
        return Some("hidden".into());
    }
    if !is_file {
        return Some("no regular files".into());
    }
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    if ending.as_deref().is_some_and(|ending| IMAGES.contains(&ending)) || begins_as_image(path) {
        return None;
    }
    Some(ending.map_or("without an ending".into(), |ending| format!("of the kind .{}", ending.escape_default())))
}

fn begins_as_image(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(kind::ENOUGH).read_to_end(&mut start));
    read.is_ok() && kind::is_surely_image(&start)
}
