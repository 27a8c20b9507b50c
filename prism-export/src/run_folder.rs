//! The names of everything that a run leaves behind; only this file knows them.
//!
//! ```text
//! settings.toml           the resolved settings; `--config` accepts it
//! partition.json          how many images of each class each client holds; not where images are protected
//! images.json             what tells the run's images from others; not where they are protected
//! checkpoint.safetensors  the global scores after the last round that was committed
//! metrics.jsonl           one line a round
//! samples/                a grid of images every few rounds
//! records/                what recent rounds changed, for clients that missed them
//! shared/                 what all agreed on before the first round; the optimiser states of a server that trains alone
//! clients/0003/           what a client keeps to itself: feature moments, optimiser state, global scores
//! privacy.json            what the run guarantees, where its images are protected
//! ledger.json             which privacy ledger has its draw, and up to which total
//! evaluation.json         figures of `prism-train eval`
//! model.safetensors.zst   the exported artifact
//! samples.png             images drawn from it
//! ```

use std::path::{Path, PathBuf};

use prism_core::{Error, Result};

use crate::Checkpoint;

/// What a model's file is called, in a run's folder and wherever else nobody has named it.
pub const MODEL: &str = "model.safetensors.zst";
/// Folders of a run lie in each other so deep, as in `clients/0003/`.
const DEPTH: usize = 3;

/// The folder of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        RunFolder { path: path.into() }
    }

    /// The folder of a run that has begun.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no run at `path`, or a link in it, through which a folder that came from somebody else would have
    /// files outside of it overwritten.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Self::new(path);
        if folder.settings().exists() {
            refuse_links(path, DEPTH)?;
            return Ok(folder);
        }
        Err(Error::usage(format!(
            "{} holds no run (it has no settings.toml); give the folder that the run printed",
            path.display()
        )))
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

    /// What tells the run's images from others.
    pub fn images(&self) -> PathBuf {
        self.path.join("images.json")
    }

    /// The last checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
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

    /// What all agreed on before the first round, and the optimiser states of a server that trains alone.
    pub fn shared(&self) -> PathBuf {
        self.path.join("shared")
    }

    /// What client number `client` keeps to itself.
    pub fn client(&self, client: u32) -> PathBuf {
        self.path.join("clients").join(format!("{client:04}"))
    }

    /// What the run guarantees, where its images are protected.
    pub fn privacy(&self) -> PathBuf {
        self.path.join("privacy.json")
    }

    /// Where the run's draws of noise are counted, and up to which limit.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger.json")
    }

    /// Figures of the run's model.
    pub fn evaluation(&self) -> PathBuf {
        self.path.join("evaluation.json")
    }

    /// The exported artifact.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Images drawn from the exported artifact.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples.png")
    }

    /// The last checkpoint, whose model is exported.
    ///
    /// # Errors
    /// If the run has saved no round, or the checkpoint cannot be read.
    pub fn last_checkpoint(&self) -> Result<Checkpoint> {
        if !self.checkpoint().exists() {
            return Err(Error::usage(format!(
                "{} holds no checkpoint.safetensors; give the folder of a run that has saved a round",
                self.path.display()
            )));
        }
        Checkpoint::read(&self.checkpoint())
    }
}

/// Refuses links in `folder` and in `depth - 1` levels of folders below it.
fn refuse_links(folder: &Path, depth: usize) -> Result<()> {
    let io = |e| Error::io("read", folder, e);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(io)?);
        if kind.is_symlink() {
            return Err(Error::usage(format!(
                "{} is a link, and a run folder holds files of its own only; remove it, or copy there what it points to",
                path.display()
            )));
        }
        if kind.is_dir() && depth > 1 {
            refuse_links(&path, depth - 1)?;
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_link_anywhere_in_a_run_folder_is_refused_by_name() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let run = RunFolder::new(folder.path());
        std::fs::write(run.settings(), "").unwrap();
        std::fs::create_dir_all(run.client(3)).unwrap();
        RunFolder::open(folder.path()).unwrap();
        for link in [run.evaluation(), run.client(3).join("adam-000001.safetensors"), run.path().join("shared")] {
            std::os::unix::fs::symlink(outside.path().join("target"), &link).unwrap();
            let error = RunFolder::open(folder.path()).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("is a link"), "{error}");
            std::fs::remove_file(&link).unwrap();
        }
    }
}
