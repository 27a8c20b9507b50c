//! What will be drawn and where it goes, resolved from the flags and the model, and checked before any work.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use prism_core::{Architecture, Error, Result, grid};

use crate::cli::DrawFlags;
use crate::inputs::Inputs;

/// The picture's name where no output is asked for.
const DEFAULT_PICTURE: &str = "samples.png";
/// Most numbers of an array file.
const MAX_ARRAY: u64 = 1 << 28;

/// A checked request.
#[derive(Debug)]
pub struct Plan {
    /// The generator's input for each image.
    pub(crate) inputs: Inputs,
    /// Number of images.
    pub(crate) count: u64,
    /// The grid.
    pub(crate) picture: Option<Target>,
    /// Columns of the grid.
    pub(crate) columns: usize,
    /// The folder of single images.
    pub(crate) folder: Option<PathBuf>,
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
    /// Resolves `flags` for a model of shape `arch`.
    ///
    /// # Errors
    /// [`Error::Usage`] if they ask for what the model cannot do or for more than fits; errors of reading the latents.
    pub fn new(arch: &Architecture, flags: &DrawFlags) -> Result<Self> {
        let inputs = Inputs::new(arch, flags)?;
        let count = inputs.count()?;
        let picture = picture(flags)?;
        let columns = match (flags.columns, flags.interpolate) {
            (Some(columns), _) => columns.get(),
            (None, Some(steps)) => as_size(steps),
            (None, None) => grid::square_columns(as_size(count)),
        };
        if picture.is_some() {
            grid::grid_size(arch, as_size(count), columns)?;
        }
        if flags.npy.is_some() && count.saturating_mul(arch.pixels() as u64) > MAX_ARRAY {
            return Err(Error::usage(format!(
                "an array of {count} images has more than {MAX_ARRAY} numbers; draw fewer, or PNG files with --out-dir"
            )));
        }
        let threads = flags.threads.or_else(|| std::thread::available_parallelism().ok());
        Ok(Plan {
            inputs,
            count,
            picture,
            columns,
            folder: flags.out_dir.clone(),
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

/// The grid is drawn where it is asked for, and where nothing is.
fn picture(flags: &DrawFlags) -> Result<Option<Target>> {
    match flags.out.as_deref() {
        Some(path) if path == Path::new("-") => match flags.json {
            true => Err(Error::usage("--json and `--out -` both want standard output; write the picture to a file")),
            false => Ok(Some(Target::Stdout)),
        },
        Some(path) => Ok(Some(Target::File(path.to_owned()))),
        None if flags.out_dir.is_none() && flags.npy.is_none() => Ok(Some(Target::File(DEFAULT_PICTURE.into()))),
        None => Ok(None),
    }
}
