//! The run folder: where everything that a run leaves behind is, and who may write there.
//!
//! ```text
//! settings.toml           the resolved settings; `--config` accepts it
//! partition.json          how many images of each class each client holds
//! checkpoint.safetensors  the global scores after the last finished round
//! best.safetensors        the checkpoint of the best round, where rounds are judged
//! metrics.jsonl           one line a round
//! samples/                a grid of images every few rounds
//! records/                what recent rounds changed, for clients that missed them (see `--downlink`)
//! clients/0003/           what a real client would keep to itself: feature moments, optimiser state, global scores
//! privacy.json            what the run guarantees, where its images are protected
//! shared/                 moments that all train on, and the optimiser state of a server that trains alone
//! model.safetensors.zst   the exported artifact
//! samples.png             images drawn from it
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use prism_core::{Error, Result};

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
    /// [`Error::Usage`] if `out` already holds a run or is in use, [`Error::Io`] if it cannot be written.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let path = out.map_or_else(|| next_free(Path::new("runs"), name), Path::to_path_buf);
        fs::create_dir_all(&path).map_err(|e| Error::io("create the folder", &path, e))?;
        let folder = Self::lock(path)?;
        if folder.checkpoint().exists() || folder.settings().exists() {
            return Err(Error::usage(format!(
                "{0} already holds a run; go on with it by --resume {0}, or choose another --out",
                folder.path.display()
            )));
        }
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
        let name = path.join("run.lock");
        let file = File::create(&name).map_err(|e| Error::io("write", &name, e))?;
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
        self.path.join("shared")
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

fn next_free(parent: &Path, name: &str) -> PathBuf {
    let numbered = (1..).map(|n| parent.join(format!("{name}-{n:03}")));
    numbered.into_iter().find(|path| !path.exists()).unwrap_or_else(|| parent.join(name))
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
        assert_eq!(next_free(parent.path(), "mnist"), parent.path().join("mnist-002"));
    }
}
