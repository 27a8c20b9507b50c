//! The run folder: where everything that a run leaves behind is, and who may write there.
//!
//! ```text
//! settings.toml           the resolved settings; `--config` accepts it
//! partition.json          how many images of each class each client holds
//! checkpoint.safetensors  the global scores after the last round that was committed
//! best.safetensors        the checkpoint of the best round, where rounds are judged
//! metrics.jsonl           one line a round
//! samples/                a grid of images every few rounds
//! records/                what recent rounds changed, for clients that missed them (see `--downlink`)
//! clients/0003/           what a real client would keep to itself: feature moments, optimiser state, global scores
//! privacy.json            what the run guarantees, where its images are protected
//! shared/                 moments that all train on, and the optimiser states of a server that trains alone
//! model.safetensors.zst   the exported artifact
//! samples.png             images drawn from it
//! ```

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use prism_core::{Error, Result};

/// The file that is locked while a process has the folder.
const LOCK: &str = "run.lock";

/// Where the run in the folder `run` keeps the moments that all train on.
pub fn shared(run: &Path) -> PathBuf {
    run.join("shared")
}

/// A run folder that this process alone may write, until it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held open for its lock, which the system releases even if the process is killed.
    _lock: File,
}

impl RunFolder {
    /// Makes and locks the folder of a new run: `out`, or else the next free `runs/NAME-001`.
    ///
    /// # Errors
    /// [`Error::Usage`] if `out` holds a run or anything else, or is in use, [`Error::Io`] if it cannot be written.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let path = match out {
            Some(out) => {
                check_empty(out)?;
                fs::create_dir_all(out).map_err(|e| Error::io("create the folder", out, e))?;
                out.to_path_buf()
            }
            None => make_next(Path::new("runs"), name)?,
        };
        let folder = Self::lock(path)?;
        // Another process may have begun a run, and ended, since the first look.
        check_empty(&folder.path)?;
        Ok(folder)
    }

    /// Locks the folder of the run to resume.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no run or another process has it, [`Error::Io`] if it cannot be written.
    pub fn resume(path: &Path) -> Result<Self> {
        Self::settings_of(path)?;
        Self::lock(path.to_path_buf())
    }

    /// The saved settings of the run in the folder at `path`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no run.
    pub fn settings_of(path: &Path) -> Result<PathBuf> {
        let settings = path.join("settings.toml");
        if settings.exists() {
            return Ok(settings);
        }
        Err(Error::usage(format!(
            "{} holds no run (it has no settings.toml); give the folder that the run printed",
            path.display()
        )))
    }

    fn lock(path: PathBuf) -> Result<Self> {
        let name = path.join(LOCK);
        let open = File::options().write(true).create(true).truncate(false).open(&name);
        let file = open.map_err(|e| Error::io("write", &name, e))?;
        match file.try_lock() {
            Ok(()) => Ok(RunFolder { path, _lock: file }),
            Err(TryLockError::WouldBlock) => Err(Error::usage(format!(
                "{} is in use by another prism-train; wait for it, or choose another --out",
                path.display()
            ))),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &name, e)),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved settings.
    pub fn settings(&self) -> PathBuf {
        self.path.join("settings.toml")
    }

    /// The partition table.
    pub fn partition(&self) -> PathBuf {
        self.path.join("partition.json")
    }

    /// The last checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
    }

    /// The checkpoint of the best round so far.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// The metrics, one JSON object a line.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The grid drawn after `round`.
    pub fn sample_grid(&self, round: u32) -> PathBuf {
        self.path.join("samples").join(format!("round-{round:04}.png"))
    }

    /// The records of recent rounds.
    pub fn records(&self) -> PathBuf {
        self.path.join("records")
    }

    /// What client number `client` keeps to itself.
    pub fn client(&self, client: u32) -> PathBuf {
        self.path.join("clients").join(format!("{client:04}"))
    }

    /// What the run guarantees, where its images are protected.
    pub fn privacy(&self) -> PathBuf {
        self.path.join("privacy.json")
    }

    /// Moments that all train on, and the optimiser state of a server that trains alone.
    pub fn shared(&self) -> PathBuf {
        shared(&self.path)
    }

    /// The exported artifact.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.safetensors.zst")
    }

    /// Images drawn from the exported artifact.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples.png")
    }
}

/// Refuses a folder with anything in it, since a run would write over it. A lock alone is no obstacle: a run that ended before
/// it began leaves it.
fn check_empty(path: &Path) -> Result<()> {
    if path.join("settings.toml").exists() {
        return Err(Error::usage(format!(
            "{0} already holds a run; go on with it by --resume {0}, or choose another --out",
            path.display()
        )));
    }
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| Error::io("use the folder", path, e))?,
    };
    for entry in entries {
        let name = entry.map_err(|e| Error::io("read", path, e))?.file_name();
        if name != LOCK && !is_unfinished(&name) {
            return Err(Error::usage(format!(
                "{} holds {}, and a run takes an empty folder, so that it writes over nothing; choose another --out",
                path.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

/// Whether `name` is what is left of settings by a process that was killed while it wrote them.
fn is_unfinished(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(".settings.toml.") && name.ends_with(".tmp"))
}

/// Makes the first of `parent/NAME-001`, `-002` and so on that is not there; no two processes get the same.
fn make_next(parent: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(parent).map_err(|e| Error::io("create the folder", parent, e))?;
    let mut number = 1;
    loop {
        let path = parent.join(format!("{name}-{number:03}"));
        match fs::create_dir(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|()| path.clone()).map_err(|e| Error::io("create the folder", &path, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_refused_while_in_use_and_when_it_holds_a_run() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let first = RunFolder::create(Some(&path), "x").unwrap();
        let error = RunFolder::create(Some(&path), "x").unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        fs::write(first.settings(), "").unwrap();
        drop(first);
        let error = RunFolder::create(Some(&path), "x").unwrap_err().to_string();
        assert!(error.contains("--resume"), "{error}");
        assert!(RunFolder::resume(&path).is_ok());
        assert!(RunFolder::resume(parent.path()).unwrap_err().to_string().contains("holds no run"));
    }

    #[test]
    fn new_runs_take_the_next_free_number() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("mnist-001")).unwrap();
        for expected in ["mnist-002", "mnist-003"] {
            let made = make_next(parent.path(), "mnist").unwrap();
            assert!(made.is_dir() && made == parent.path().join(expected));
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("photos");
        fs::create_dir(&path).unwrap();
        assert!(RunFolder::create(Some(&path), "x").is_ok(), "an empty folder will do");
        assert!(RunFolder::create(Some(&path), "x").is_ok(), "and so will one with a lock that nobody holds");
        fs::remove_file(path.join(LOCK)).unwrap();
        fs::write(path.join(".settings.toml.17.tmp"), "da").unwrap();
        assert!(RunFolder::create(Some(&path), "x").is_ok(), "nor do half-written settings make a run");
        ["run.lock", ".settings.toml.17.tmp"].iter().for_each(|name| fs::remove_file(path.join(name)).unwrap());
        fs::write(path.join("adam-and-eve.png"), "a picture").unwrap();
        let error = RunFolder::create(Some(&path), "x").unwrap_err();
        assert!(error.to_string().contains("adam-and-eve.png") && error.exit_code() == 2, "{error}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "not even a lock is left");
    }
}
