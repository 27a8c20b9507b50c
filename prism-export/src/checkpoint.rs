//! Checkpoints: everything that a run needs to go on, or to be exported, after a round.
//!
//! Only the global scores and a description live here. A client's optimiser state is the client's own file
//! (`clients/CLIENT/adam-ROUND.safetensors`); the description says which of them belong to this checkpoint.

use std::path::Path;

use prism_core::tensor_file::{self, FileKind, NamedTensor};
use prism_core::{Architecture, Error, Result};
use serde::{Deserialize, Serialize};

use crate::freeze::MaskRule;

const KIND: FileKind = FileKind { name: "checkpoint", version: 1 };

/// What is known of a run after some rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The generator.
    pub architecture: Architecture,
    /// Root of every random draw.
    pub seed: u64,
    /// Rounds finished.
    pub round: u32,
    /// Name of the data set, as in `mnist`.
    pub dataset: String,
    /// Name of each class; empty for an unconditional model.
    pub class_names: Vec<String>,
    /// Name and digest of the encoder.
    pub encoder: String,
    /// How images were divided, as in `shards:2`.
    pub partition: String,
    /// Steps of each client in each round.
    pub local_steps: u64,
    /// How the run makes its final mask.
    pub mask_rule: MaskRule,
    /// What protects the clients' images; `none` where nothing does.
    pub privacy: String,
    /// For each client, the round after which its optimiser state was last saved; 0 for never.
    pub client_rounds: Vec<u32>,
    /// Bytes that clients have sent so far.
    pub uplink_bytes: u64,
    /// Bytes that the server has sent so far.
    pub downlink_bytes: u64,
}

/// The global scores after a round, one vector per layer, and what is known of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The run's description.
    pub description: Description,
    /// Scores in the order of [`Architecture::layers`].
    pub scores: Vec<Vec<f32>>,
}

impl Checkpoint {
    /// Replaces the file at `path` by this checkpoint, atomically.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let layers = self.description.architecture.layers();
        let tensors: Vec<_> = layers
            .iter()
            .zip(&self.scores)
            .map(|(layer, scores)| NamedTensor {
                name: format!("score.{}", layer.name),
                shape: layer.shape().to_vec(),
                values: scores.clone(),
            })
            .collect();
        tensor_file::write(path, KIND, &self.description, &tensors)
    }

    /// Reads the checkpoint at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Corrupt`] if it is damaged or its scores do not fit its architecture.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |why: String| Error::corrupt(format!("checkpoint {}", path.display()), why);
        let (description, mut tensors) = tensor_file::read::<Description>(path, KIND)?;
        description.architecture.validate().map_err(|e| refuse(e.to_string()))?;
        let layers = description.architecture.layers();
        if tensors.len() != layers.len() {
            return Err(refuse(format!("it has {} tensors for {} layers", tensors.len(), layers.len())));
        }
        let mut scores = Vec::with_capacity(layers.len());
        for layer in &layers {
            let name = format!("score.{}", layer.name);
            let tensor = tensors
                .iter_mut()
                .find(|t| t.name == name && t.shape == layer.shape())
                .ok_or_else(|| refuse(format!("it has no tensor {name} of shape {:?}", layer.shape())))?;
            if let Some(odd) = tensor.values.iter().find(|v| !v.is_finite()) {
                return Err(refuse(format!("{name} holds {odd}; scores are finite")));
            }
            scores.push(std::mem::take(&mut tensor.values));
        }
        Ok(Checkpoint { description, scores })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let architecture = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 2, classes: 2, label_scale: 3.0 };
        let scores = architecture.layers().iter().map(|l| vec![0.25; l.weights()]).collect();
        let description = Description {
            architecture,
            seed: 1,
            round: 3,
            dataset: "strokes".into(),
            class_names: vec!["0".into(), "1".into()],
            encoder: "random:1".into(),
            partition: "iid".into(),
            local_steps: 2,
            mask_rule: MaskRule::Threshold,
            privacy: "none".into(),
            client_rounds: vec![3, 0],
            uplink_bytes: 10,
            downlink_bytes: 20,
        };
        Checkpoint { description, scores }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        sample().write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), sample());
    }

    #[test]
    fn scores_of_another_architecture_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let mut broken = sample();
        broken.description.architecture.latent = 3;
        // The first layer's shape promises more values than there are.
        broken.scores[0].extend([0.0; 100]);
        assert!(broken.write(&path).is_err() || Checkpoint::read(&path).is_err());
        let mut broken = sample();
        broken.scores[1][0] = f32::NAN;
        broken.write(&path).unwrap();
        assert!(Checkpoint::read(&path).unwrap_err().to_string().contains("finite"));
    }
}
