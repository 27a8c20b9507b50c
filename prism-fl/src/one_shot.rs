//! One-shot: clients have sent their moments, and the server trains on them alone.
//!
//! ```text
//! once:      each client sends its moments                                     ([`crate::server_setup`])
//! a round:   E steps of the clients' own algorithm on the combined moments; nothing crosses a wire
//!            (for each component of a mixture, from a seed of its own)
//! ```
//!
//! Private data enters training only through the moments, so this gives the same guarantee as rounds of masks at one message a
//! client. Rounds remain worth having where a client may not reveal even noisy moments.

use std::path::{Path, PathBuf};

use prism_core::mixture::component_seed;
use prism_nn::Result;

use crate::client_state::StateFolder;
use crate::context::RunContext;
use crate::local_step::{ClientRound, LocalTrainer};
use crate::moments::ClientMoments;
use crate::observer::Observer;

/// A server that has every client's moments.
pub struct OneShotTrainer {
    /// Training of each component of the model.
    components: Vec<LocalTrainer>,
    moments: ClientMoments,
    /// Where the optimisers' states are kept: that of the first component, and those of others in folders below.
    folder: PathBuf,
}

impl OneShotTrainer {
    /// Training on `moments`, with optimiser states in `folder`.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(context: &RunContext, moments: ClientMoments, folder: &Path) -> Result<Self> {
        let (settings, arch) = (&context.agreement().settings, context.architecture());
        let trainer = |component| {
            let seed = component_seed(settings.federation.seed, component);
            LocalTrainer::new(settings, &arch, seed, context.encoder(), context.device())
        };
        let components = (0..settings.model.components).map(trainer).collect::<Result<_>>()?;
        Ok(OneShotTrainer { components, moments, folder: folder.to_path_buf() })
    }

    /// Takes the steps of `round` from the scores of all components, which it moves; returns the mean loss. Optimiser states of
    /// the round before must be there, which was committed.
    ///
    /// # Errors
    /// If the computation fails or the folder cannot be written. The scores have then not moved.
    pub fn round(&self, round: u32, scores: &mut Vec<Vec<f32>>, observer: &dyn Observer) -> Result<f64> {
        let (mut learned, mut losses) = (Vec::new(), 0.0);
        for (component, scores) in scores.chunks(scores.len() / self.components.len()).enumerate() {
            losses += self.learn(component, round, (scores, &mut learned), observer)?;
        }
        *scores = learned;
        Ok(losses / self.components.len() as f64)
    }

    /// The steps of one component: appends its scores after them, and returns the mean loss.
    fn learn(
        &self,
        component: usize,
        round: u32,
        (start, learned): (&[Vec<f32>], &mut Vec<Vec<f32>>),
        observer: &dyn Observer,
    ) -> Result<f64> {
        let (trainer, folder) = (&self.components[component], self.folder_of(component));
        let generator = trainer.generator();
        let (arch, device, seed) = (generator.arch(), generator.device(), generator.seed());
        // The checkpoint of the round before is written, so states of earlier ones are of no use any more.
        folder.keep_only(&[round - 1])?;
        let mut state = folder.load_optimiser(round - 1, arch, seed, device)?;
        let trained = trainer.train(ClientRound { round, client: 0 }, &self.moments, &mut state, start, observer)?;
        let scores = trained.scores.iter().map(|s| s.flatten_all()?.to_vec1());
        learned.extend(scores.collect::<candle_core::Result<Vec<Vec<f32>>>>()?);
        folder.begin_save_optimiser(round, arch, seed, &state)?.finish()?;
        Ok(trained.loss)
    }

    fn folder_of(&self, component: usize) -> StateFolder {
        StateFolder::new(match component {
            0 => self.folder.clone(),
            later => self.folder.join(format!("component-{later}")),
        })
    }
}
