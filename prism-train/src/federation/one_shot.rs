//! The one-shot federation: clients have sent their moments, and the server trains on them alone.
//!
//! ```text
//! once:      each client sends its moments                      (see [`crate::privacy::message`] for protected ones)
//! a round:   E steps of the client's own algorithm on the combined moments; nothing crosses a wire
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
    /// The frozen networks and the settings of training.
    pub training: LocalTraining,
    /// The combined moments.
    pub moments: ClientMoments,
    /// The scores.
    pub scores: Vec<Vec<f32>>,
    /// Where the optimiser's state is kept.
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
        let generator = self.training.step.generator();
        let (arch, device, seed) = (generator.arch(), generator.device(), self.training.seed);
        let mut clock = Lap::start();
        // The checkpoint of the last round is written, so states of earlier ones are of no use any more.
        client_files::remove_other_states(&self.folder, &[self.state_round])?;
        let mut state = client_files::load_state(&self.folder, self.state_round, arch, seed, device)?;
        let turn = Turn { round, client: 0 };
        let loading = clock.lap();
        let (learned, loss) = self.training.learn(turn, &self.moments, &mut state, &self.scores, on_step)?;
        let steps = clock.lap();
        client_files::save_state(&self.folder, round, arch, seed, &state)?.finish()?;
        let client = ClientSeconds { loading, steps, saving: clock.lap(), ..ClientSeconds::default() };
        let phases = Phases { clients: client.total(), client, ..Phases::default() };
        (self.scores, self.state_round) = (learned, round);
        Ok(Round { loss: Some(loss), moment_bytes: std::mem::take(&mut self.moment_bytes), phases, ..Round::default() })
    }
}
