//! What a run leaves behind, also one that is resumed though it has finished: there is nothing to train then, so its images
//! are not needed either.

use std::path::{Path, PathBuf};

use prism_core::artifact::Artifact;
use prism_export::{Checkpoint, RunFolder};
use prism_fl::Result;
use serde::Serialize;

use super::traffic::Summary;
use crate::phases::Phases;
use crate::settings::Settings;

/// What a run left behind.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The run folder.
    pub run: PathBuf,
    /// Rounds finished.
    pub round: u32,
    /// Rounds that this process trained; 0 where the run had finished before.
    pub trained: u32,
    /// Whether it was interrupted before its last round.
    pub interrupted: bool,
    /// Whether the model is a baseline of dense weights, for which there is no artifact.
    pub dense: bool,
    /// What was exported, unless interrupted.
    #[serde(flatten)]
    pub export: Option<Exported>,
    /// All of the run's traffic, beside its bounds.
    pub traffic: Summary,
    /// Where the time of this process's rounds went.
    pub phases: Phases,
}

/// A finished run's model.
#[derive(Debug, Serialize)]
pub struct Exported {
    /// The artifact; for a baseline of dense weights its checkpoint.
    pub model: PathBuf,
    /// The picture drawn from it.
    pub samples: PathBuf,
    /// Bytes of the artifact, or of dense weights as 32-bit numbers.
    pub model_bytes: u64,
}

impl Outcome {
    /// What the run in the folder at `path` left behind, if it has trained as long as `settings` ask and its model is in the
    /// folder. None where anything is to be done or to be checked: then it is opened as any other.
    ///
    /// # Errors
    /// If a checkpoint is damaged, or the folder cannot be read.
    pub fn of_finished(settings: &Settings, path: &Path) -> Result<Option<Self>> {
        let folder = RunFolder::open(path)?;
        let (model, samples) = (folder.model(), folder.samples());
        let there = [folder.checkpoint(), model.clone(), samples.clone()].iter().all(|file| file.is_file());
        // Whether settings and promise belong together is told by the images.
        if !there || settings.privacy.epsilon.is_some() {
            return Ok(None);
        }
        let mut kept = Checkpoint::read(&folder.checkpoint())?.description.model;
        let Ok(artifact) = Artifact::read(&model) else { return Ok(None) };
        let shipped = &artifact.meta().description;
        // It may have been exported again with another mask.
        kept.mask_rule = shipped.mask_rule;
        if kept.training.rounds < settings.federation.rounds
            || kept != *shipped
            || kept.seed != settings.federation.seed
        {
            return Ok(None);
        }
        let model_bytes = std::fs::metadata(&model).map_err(|e| prism_core::Error::io("read", &model, e))?.len();
        Ok(Some(Outcome {
            run: path.to_path_buf(),
            round: kept.training.rounds,
            trained: 0,
            interrupted: false,
            dense: false,
            export: Some(Exported { model, samples, model_bytes }),
            traffic: Summary::read(&folder.metrics())?,
            phases: Phases::default(),
        }))
    }
}
