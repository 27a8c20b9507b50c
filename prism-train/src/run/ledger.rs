//! Which privacy ledger a run writes its draws into, and up to which total: `ledger.json` of its folder, so that a run that goes on
//! keeps both.

use std::path::{Path, PathBuf};

use prism_core::{Error, Result, file};
use prism_export::RunFolder;
use prism_fl::Ledger;
use prism_fl::privacy::ledger;
use serde::{Deserialize, Serialize};

use super::launch::{Launch, Start};
use super::place::whole;

/// Most bytes that the file may have.
const MAX_BYTES: u64 = 1 << 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    ledger: PathBuf,
    total_epsilon: Option<f64>,
}

/// Refuses what no ledger can be at, before a run folder is made for it.
///
/// # Errors
/// [`Error::Usage`] if its folder is missing, [`Error::Corrupt`] if it is damaged.
pub fn check(launch: &Launch) -> Result<()> {
    let Some(path) = &launch.ledger else { return Ok(()) };
    if path.is_dir() || !whole(path).parent().is_some_and(Path::is_dir) {
        return Err(Error::usage(format!(
            "--dp-ledger is {}, which is no file in a folder that is there; make its folder first, or name another file",
            path.display()
        )));
    }
    ledger::read(path).map(drop)
}

/// The ledger of the run in `folder`: that of the command line, or the one that it began with, or the one beside it.
///
/// # Errors
/// [`Error::Usage`] if a run that goes on is given another ledger than it began with: its own draw is not in that one.
pub fn open(folder: &RunFolder, launch: &Launch) -> Result<Ledger> {
    let path = folder.ledger();
    let kept: Option<Kept> = match path.exists() && matches!(launch.start, Start::Resume(_)) {
        true => Some(
            serde_json::from_slice(&file::read_bounded(&path, MAX_BYTES)?)
                .map_err(|e| Error::corrupt(path.display().to_string(), e.to_string()))?,
        ),
        false => None,
    };
    let total_epsilon = launch.total_epsilon.or(kept.as_ref().and_then(|kept| kept.total_epsilon));
    // Where the folder of all runs has moved, its ledger has moved with it.
    let kept = kept.map(|kept| kept.ledger).filter(|ledger| ledger.parent().is_some_and(Path::is_dir));
    let given = launch.ledger.as_deref().map(whole);
    if let (Some(given), Some(kept)) = (&given, &kept)
        && given != kept
    {
        return Err(Error::usage(format!(
            "--dp-ledger is {}, and the run's draw is in {}; leave it out",
            given.display(),
            kept.display()
        )));
    }
    let ledger = given.or(kept).unwrap_or_else(|| beside(folder.path()));
    let kept = Kept { ledger, total_epsilon };
    file::write_atomic(&path, |out| Ok(serde_json::to_writer_pretty(out, &kept)?))?;
    Ok(Ledger::new(kept.ledger, total_epsilon))
}

/// The ledger beside the run folder `run`: however that is called, `.` among others, its ledger is the same.
fn beside(run: &Path) -> PathBuf {
    whole(run).parent().unwrap_or(Path::new("")).join("privacy-ledger.jsonl")
}
