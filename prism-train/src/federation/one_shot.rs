//! The one-shot federation: clients have sent their moments, and the server trains on them alone.
//!
//! ```text
//! once:      each client sends its moments                      (see [`crate::privacy::message`] for protected ones)
//! a round:   E steps of the client's own algorithm on the combined moments; nothing crosses a wire
//!            (for each component of a mixture, from seeds of its own)
//! ```
//!
//! Private data enters training only through the moments, so this gives the same guarantee as rounds of masks at one message a
//! client. Rounds remain worth having where a client may not reveal even noisy moments, or where encoders differ.

use std::path::PathBuf;

use prism_nn::Result;

use super::client::{LocalTraining, Turn};
use super::simulation::Round;
use crate::moments::ClientMoments;
use crate::run::client_files;
use crate::run::phases::{ClientSeconds, Lap, Phases};

/// A server that has every client's moments.
pub struct OneShot {
    /// The frozen networks and the settings of training, of each component of the model.
    pub components: Vec<LocalTraining>,
    /// The combined moments.
    pub moments: ClientMoments,
    /// The scores of every component in turn, one vector per layer.
    pub scores: Vec<Vec<f32>>,
    /// Where the optimisers' states are kept: that of the first component, and those of others in folders below.
    pub folder: PathBuf,
    /// The round of the saved optimiser state; 0 for none.
    pub state_round: u32,
    /// Number of clients.
    pub clients: usize,
    /// Bytes of the clients' messages of moments that are not yet in any round's report.
    pub moment_bytes: u64,
}

impl OneShot {
    /// Takes the steps of one round.
    ///
    /// # Errors
    /// If the computation fails or the folder cannot be written. The scores have then not moved.
    pub fn round(&mut self, round: u32, on_step: &(dyn Fn() + Sync)) -> Result<Round> {
        let (mut learned, mut losses, mut client) = (Vec::new(), 0.0, ClientSeconds::default());
        for (component, scores) in self.scores.chunks(self.scores.len() / self.components.len()).enumerate() {
            let (scores, loss, seconds) = self.learn(component, round, scores, on_step)?;
            learned.extend(scores);
            losses += loss;
            client.add(&seconds);
        }
        let phases = Phases { clients: client.total(), client, ..Phases::default() };
        (self.scores, self.state_round) = (learned, round);
        let loss = Some(losses / self.components.len() as f64);
        Ok(Round { loss, moment_bytes: std::mem::take(&mut self.moment_bytes), phases, ..Round::default() })
    }

    /// The steps of one component from `scores`: the scores after them, the mean loss, and how long it took.
    fn learn(
        &self,
        component: usize,
        round: u32,
        scores: &[Vec<f32>],
        on_step: &(dyn Fn() + Sync),
    ) -> Result<(Vec<Vec<f32>>, f64, ClientSeconds)> {
        let (training, folder) = (&self.components[component], self.folder_of(component));
        let generator = training.step.generator();
        let (arch, device, seed) = (generator.arch(), generator.device(), training.seed);
        let mut clock = Lap::start();
        // The checkpoint of the last round is written, so states of earlier ones are of no use any more.
        client_files::remove_other_states(&folder, &[self.state_round])?;
        let mut state = client_files::load_state(&folder, self.state_round, arch, seed, device)?;
        let loading = clock.lap();
        let turn = Turn { round, client: 0 };
        let (learned, loss) = training.learn(turn, &self.moments, &mut state, scores, on_step)?;
        let steps = clock.lap();
        client_files::save_state(&folder, round, arch, seed, &state)?.finish()?;
        Ok((learned, loss, ClientSeconds { loading, steps, saving: clock.lap(), ..ClientSeconds::default() }))
    }

    fn folder_of(&self, component: usize) -> PathBuf {
        match component {
            0 => self.folder.clone(),
            later => self.folder.join(format!("component-{later}")),
        }
    }
}
