//! What will be drawn and where it goes, resolved from the flags and the model, and checked before any work.

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use prism_core::artifact::Description;
use prism_core::inputs::Inputs;
use prism_core::{Architecture, Error, Result, grid};

use crate::cli::DrawFlags;
use crate::inputs::inputs;
use crate::model::file_of;

/// The picture's name where no output is asked for.
const DEFAULT_PICTURE: &str = "samples.png";
/// Endings of other formats: a PNG of such a name would not be what it says.
const OTHER_FORMATS: [&str; 11] = ["jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "svg", "pdf", "npy", "npz"];
/// Most numbers of an array, in a file or in memory.
pub(crate) const MAX_ARRAY: u64 = 1 << 28;

/// A checked request.
#[derive(Debug)]
pub struct Plan {
    /// The generator's input for each image.
    pub(crate) inputs: Inputs,
    /// Number of images.
    pub(crate) count: u64,
    /// The grid.
    pub(crate) picture: Option<Target>,
    /// Columns of the grid; of no account without one.
    pub(crate) columns: usize,
    /// The folder of single images.
    pub(crate) folder: Option<PathBuf>,
    /// What classes are called.
    pub(crate) class_names: Vec<String>,
    /// The array file.
    pub(crate) array: Option<PathBuf>,
    /// Threads to draw with.
    pub(crate) threads: NonZeroUsize,
    /// Whether to say on standard error how far it is.
    pub(crate) quiet: bool,
    /// Whether to report as JSON.
    pub(crate) json: bool,
}

/// Where the grid goes.
#[derive(Debug)]
pub(crate) enum Target {
    File(PathBuf),
    Stdout,
}

impl Plan {
    /// Resolves `flags` for the model that `description` tells of.
    ///
    /// # Errors
    /// [`Error::Usage`] if they ask for what the model cannot do or for more than fits; errors of reading the latents.
    pub fn new(description: &Description, flags: &DrawFlags) -> Result<Self> {
        let (arch, inputs) = (&description.architecture, inputs(description, flags)?);
        let count = inputs.count();
        let picture = picture(flags, std::io::stdout().is_terminal())?;
        check_places(flags, picture.as_ref())?;
        let columns = if picture.is_some() { columns(arch, flags, as_size(count))? } else { 1 };
        if flags.npy.is_some() && count.saturating_mul(arch.pixels() as u64) > MAX_ARRAY {
            return Err(Error::usage(format!(
                "an array of {count} images has more than {MAX_ARRAY} numbers; draw fewer, or PNG files with --out-dir"
            )));
        }
        if let Some(folder) = &flags.out_dir {
            check_folder(folder, |index| inputs.file_name(index, &description.class_names), count)?;
        }
        let threads = flags.threads.or_else(|| std::thread::available_parallelism().ok());
        Ok(Plan {
            inputs,
            count,
            picture,
            columns,
            folder: flags.out_dir.clone(),
            class_names: description.class_names.clone(),
            array: flags.npy.clone(),
            threads: threads.unwrap_or(NonZeroUsize::MIN),
            quiet: flags.quiet,
            json: flags.json,
        })
    }
}

/// A count as a size; one that does not fit is refused as too large wherever sizes are.
fn as_size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The columns of a grid of `count` images, which has been found to be not too large.
fn columns(arch: &Architecture, flags: &DrawFlags, count: usize) -> Result<usize> {
    let columns = match (flags.columns, flags.interpolate) {
        (Some(columns), _) => columns.get(),
        (None, Some(steps)) => as_size(steps),
        (None, None) => grid::square_columns(count),
    };
    grid::grid_size(arch, count, columns)?;
    Ok(columns)
}

/// Refuses outputs that would overwrite one another, what is read, or a folder, before the work is done for nothing.
fn check_places(flags: &DrawFlags, picture: Option<&Target>) -> Result<()> {
    let picture = picture.and_then(|target| match target {
        Target::File(path) => Some(path.as_path()),
        Target::Stdout => None,
    });
    let files = [("--out", picture), ("--npy", flags.npy.as_deref())];
    let model = flags.model.path().and_then(|path| file_of(path).ok());
    let read = [("the model", model), ("--latents", flags.latents.clone())];
    let mut taken: Vec<(&str, PathBuf)> =
        read.into_iter().filter_map(|(name, path)| Some((name, place(&path?)))).collect();
    for (flag, path) in files.into_iter().chain([("--out-dir", flags.out_dir.as_deref())]) {
        let Some(path) = path else { continue };
        let place = place(path);
        if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == place) {
            return Err(Error::usage(format!(
                "{other} and {flag} both name {}; give each a path of its own",
                path.display()
            )));
        }
        taken.push((flag, place));
    }
    match files.into_iter().find_map(|(flag, path)| path.filter(|path| path.is_dir()).map(|path| (flag, path))) {
        Some((flag, path)) => Err(Error::usage(format!("{flag} is the folder {}; name a file in it", path.display()))),
        None => Ok(()),
    }
}

/// Refuses a folder with images of another command, which nobody could tell from the `count` new ones.
fn check_folder(folder: &Path, name: impl Fn(u64) -> String, count: u64) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let old = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut old = old.filter(|name| name.starts_with("image-") && name.ends_with(".png"));
    let number = |old: &str| old["image-".len()..].split(['-', '.']).next()?.parse::<u64>().ok();
    let is_new = |old: &String| number(old).is_some_and(|number| number < count && name(number) == *old);
    match old.find(|old| !is_new(old)) {
        None => Ok(()),
        Some(other) => Err(Error::usage(format!(
            "--out-dir {} holds images of another command, such as {other}; name a new folder",
            folder.display()
        ))),
    }
}

/// Where a path leads, as far as it exists: two names of one file have one place.
fn place(path: &Path) -> PathBuf {
    let beside = || Some(folder_of(path).canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(beside).unwrap_or_else(|| absolute(path))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The folder of a file.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The grid is drawn where it is asked for, and where nothing is; `terminal` says whether standard output is one.
fn picture(flags: &DrawFlags, terminal: bool) -> Result<Option<Target>> {
    let refuse = |why: &str| Err(Error::usage(why));
    match flags.out.as_deref() {
        Some(path) if path == Path::new("-") => match (flags.json, terminal) {
            (true, _) => refuse("--json and `--out -` both want standard output; write the picture to a file"),
            (_, true) => refuse("`--out -` would write a PNG to the terminal; pipe it on, or write it to a file"),
            _ => Ok(Some(Target::Stdout)),
        },
        Some(path) => check_format(path).map(|()| Some(Target::File(path.to_owned()))),
        None if flags.out_dir.is_none() && flags.npy.is_none() => Ok(Some(Target::File(DEFAULT_PICTURE.into()))),
        None => Ok(None),
    }
}

/// Refuses a picture that is named as another format's.
fn check_format(path: &Path) -> Result<()> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    if !ending.is_some_and(|ending| OTHER_FORMATS.contains(&ending.as_str())) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "--out is {} and pictures are PNG; name it {}, or use --npy for an array",
        path.display(),
        path.with_extension("png").display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_picture() {
        let flags = DrawFlags { out: Some("-".into()), ..DrawFlags::default() };
        assert!(matches!(picture(&flags, false), Ok(Some(Target::Stdout))));
        assert!(picture(&flags, true).unwrap_err().to_string().contains("pipe it on"));
    }
}
