//! What there is to export: the checkpoint of a run folder or in a file; and what to do about anything else.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use prism_core::artifact::Artifact;
use prism_core::{Error, Result, console};

use crate::{Checkpoint, RunFolder};

/// How a finished model begins.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Runs that a message names.
const MOST_LISTED: usize = 3;

/// Reads the checkpoint that the run in the folder `path` keeps, or the one in the file `path`.
///
/// # Errors
/// [`Error::Usage`] if there is none, saying what is there instead; [`Error::Corrupt`] if it is damaged.
pub fn read(path: &Path) -> Result<Checkpoint> {
    let found = fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
    if found.is_dir() {
        check_folder(path)?;
        return RunFolder::new(path).last_checkpoint();
    }
    if !found.is_file() {
        return refuse(path, "is no regular file", "give the folder of a run");
    }
    match what_is(path)? {
        None => Checkpoint::read(path),
        Some((what, remedy)) => refuse(path, what, &remedy),
    }
}

/// The model at `path`, if that is a finished one.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Corrupt`] if it is damaged.
pub fn finished(path: &Path) -> Result<Option<Artifact>> {
    Ok(if begins_as_model(path) { Some(Artifact::read(path)?) } else { None })
}

/// Whether the file at `path` begins as a finished model does.
pub fn begins_as_model(path: &Path) -> bool {
    let mut first = [0; ZSTD.len()];
    path.is_file() && File::open(path).is_ok_and(|mut file| file.read_exact(&mut first).is_ok()) && first == ZSTD
}

fn refuse<T>(path: &Path, what: &str, remedy: &str) -> Result<T> {
    Err(Error::usage(format!("{} {what}; {remedy}", path.display())))
}

/// Refuses a folder that holds no run, or one that has saved nothing yet.
fn check_folder(path: &Path) -> Result<()> {
    let run = RunFolder::new(path);
    if run.checkpoint().exists() {
        return Ok(());
    }
    if run.settings().exists() {
        let resume = format!("go on with `{} --resume {}`", console::command("prism-train"), path.display());
        return refuse(path, "is a run that has saved no round yet", &resume);
    }
    let mut runs: Vec<_> = fs::read_dir(path).map_err(|e| Error::io("read", path, e))?.flatten().collect();
    runs.retain(|entry| RunFolder::new(entry.path()).settings().exists());
    runs.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<String> = runs.iter().take(MOST_LISTED).map(|entry| entry.path().display().to_string()).collect();
    match names.is_empty() {
        true => refuse(path, "holds no run", "give the folder that prism-train printed"),
        false => refuse(path, "holds runs and is none", &format!("give one of them, such as {}", names.join(", "))),
    }
}

/// What the file at `path` is where its first bytes or its place tell that it is no checkpoint, and the remedy.
fn what_is(path: &Path) -> Result<Option<(&'static str, String)>> {
    let mut first = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut first));
    read.map_err(|e| Error::io("read", path, e))?;
    let run = path.parent().filter(|folder| RunFolder::new(*folder).settings().exists());
    let again = run.map_or("give the folder of its run to export it again".into(), |run| {
        format!("give {} to export it again", run.display())
    });
    let fetch = |how: &str| format!("{how}, and give the folder of a run or a checkpoint");
    Ok(match first.as_slice() {
        _ if first.starts_with(&ZSTD) => {
            let draw = format!(
                "`{} {}` draws from it, --card writes its card",
                console::command("prism-infer"),
                path.display()
            );
            Some(("is a finished model, and nothing is left to export", format!("{draw}; {again}")))
        }
        [] => Some(("is empty", fetch("fetch it again"))),
        _ if first.starts_with(b"version https://git-lfs") => {
            Some(("is a Git LFS pointer in place of a file", fetch("run `git lfs pull`")))
        }
        [0x1f, 0x8b, ..] | [b'P', b'K', 3, 4, ..] => Some(("is packed", fetch("unpack it"))),
        _ if path.extension().is_none_or(|ending| ending != "safetensors") => {
            run.map(|run| ("is no checkpoint", format!("give its run, {}", run.display())))
        }
        _ => None,
    })
}
