//! Checkpoints: everything that a run needs to go on, or to be exported, after a round.
//!
//! Only the global scores and a description live here. A client's optimiser state is the client's own file; the
//! description says which of them belong to this checkpoint.

use std::path::Path;

use prism_core::arch::Layer;
use prism_core::artifact;
use prism_core::mixture::prefix;
use prism_core::tensor_file::{self, FileKind, NamedTensor};
use prism_core::{Error, Result};
use serde::{Deserialize, Serialize};

const KIND: FileKind = FileKind { name: "checkpoint", version: 1 };

/// What is known of a run after some rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What an artifact exported from here will say about itself; `model.training.rounds` rounds are finished.
    pub model: artifact::Description,
    /// For each client, the round after which its optimiser state was last saved; 0 for never.
    pub client_rounds: Vec<u32>,
    /// Whether the scores are no scores but dense weights in units of the frozen ones: a baseline, which no artifact can hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dense: bool,
}

impl Description {
    /// Refuses a checkpoint, read from `path`, of another run than `expected`, the state before the first round.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what differs.
    pub fn check_same_run(&self, expected: &Description, path: &Path) -> Result<()> {
        let (a, b) = (&self.model, &expected.model);
        for (what, found, expected) in [
            ("architecture", format!("{:?}", a.architecture), format!("{:?}", b.architecture)),
            ("seed", a.seed.to_string(), b.seed.to_string()),
            ("number of components", a.components.to_string(), b.components.to_string()),
            ("data set", a.dataset.clone(), b.dataset.clone()),
            ("encoder", a.encoder.clone(), b.encoder.clone()),
            ("privacy statement", a.privacy.clone(), b.privacy.clone()),
            ("number of clients", self.client_rounds.len().to_string(), expected.client_rounds.len().to_string()),
        ] {
            if found != expected {
                return Err(Error::usage(format!(
                    "{} was made with {what} {found}, but the run's settings and data give {expected}; restore settings.toml and \
                     the data, or start a new run",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

/// The global scores after a round, one vector per layer (of every component), and what is known of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The run's description.
    pub description: Description,
    /// Scores in the order of [`Architecture::layers`](prism_core::Architecture::layers); of a mixture those of every component in turn.
    pub scores: Vec<Vec<f32>>,
}

impl Checkpoint {
    /// Replaces the file at `path` by this checkpoint, atomically.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let tensors: Vec<_> = slots(&self.description.model)
            .into_iter()
            .zip(&self.scores)
            .map(|((name, layer), scores)| NamedTensor { name, shape: layer.shape().to_vec(), values: scores.into() })
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
        let arch = &description.model.architecture;
        arch.validate().map_err(|e| refuse(e.to_string()))?;
        let slots = slots(&description.model);
        if tensors.len() != slots.len() {
            return Err(refuse(format!("it has {} tensors for {} layers", tensors.len(), slots.len())));
        }
        let mut scores = Vec::with_capacity(slots.len());
        for (name, layer) in slots {
            let tensor = tensors
                .iter_mut()
                .find(|t| t.name == name && t.shape == layer.shape())
                .ok_or_else(|| refuse(format!("it has no tensor {name} of shape {:?}", layer.shape())))?;
            if let Some(odd) = tensor.values.iter().find(|v| !v.is_finite()) {
                return Err(refuse(format!("{name} holds {odd}; scores are finite")));
            }
            scores.push(std::mem::take(&mut tensor.values).into_owned());
        }
        Ok(Checkpoint { description, scores })
    }

    /// The scores of every component in turn: one generator's, where the model is no mixture.
    pub fn components(&self) -> impl Iterator<Item = &[Vec<f32>]> {
        self.scores.chunks(self.description.model.architecture.layers().len())
    }
}

/// The tensors' names and layers, in the order of the scores.
fn slots(model: &artifact::Description) -> Vec<(String, Layer)> {
    let of_component = |component| {
        let prefix = prefix(component, model.components);
        let layers = model.architecture.layers().into_iter();
        layers.map(move |layer| (format!("{prefix}score.{}", layer.name), layer))
    };
    (0..model.components).flat_map(of_component).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use prism_core::Architecture;
    use prism_core::artifact::{MaskRule, Training};

    /// A checkpoint of an untrained generator, for tests.
    pub(crate) fn sample() -> Checkpoint {
        let architecture = Architecture { image_size: 8, channels: 1, ngf: 2, latent: 4, classes: 2, label_scale: 3.0 };
        let initial = |(i, l)| prism_core::score::initial_scores(1, i, l, 1.0);
        let scores = architecture.layers().iter().enumerate().map(initial).collect();
        let model = artifact::Description {
            architecture,
            seed: 1,
            components: 1,
            encoder: "random:1".into(),
            dataset: "strokes".into(),
            class_names: vec!["0".into(), "1".into()],
            training: Training {
                rounds: 3,
                clients: 2,
                local_steps: 2,
                partition: "iid".into(),
                ..Training::default()
            },
            mask_rule: MaskRule::Threshold,
            privacy: "none".into(),
        };
        Checkpoint { description: Description { model, client_rounds: vec![3, 0], dense: false }, scores }
    }

    /// A checkpoint of an untrained mixture of two.
    pub(crate) fn mixture() -> Checkpoint {
        let mut mixture = sample();
        mixture.description.model.components = 2;
        let layers = mixture.description.model.architecture.layers();
        let second = layers.iter().enumerate().map(|(i, l)| prism_core::score::initial_scores(2, i, l, 1.0));
        mixture.scores.extend(second);
        mixture
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        for checkpoint in [sample(), mixture()] {
            checkpoint.write(&path).unwrap();
            assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
        }
    }

    #[test]
    fn scores_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let mut broken = sample();
        broken.scores.pop();
        broken.write(&path).unwrap();
        assert!(Checkpoint::read(&path).unwrap_err().to_string().contains("4 tensors for 5 layers"));
        let mut broken = sample();
        broken.scores[1][0] = f32::NAN;
        broken.write(&path).unwrap();
        assert!(Checkpoint::read(&path).unwrap_err().to_string().contains("finite"));
    }
}
