//! When rounds count: what clients have after their turns is kept, then saved, and a checkpoint commits it.
//!
//! ```text
//! keep     a client's state stays in memory where it may wait there, else it is written at once
//! save     what is in memory alone is written
//!          (the caller writes a checkpoint, which names the round of each client's state)
//! commit   states that the checkpoint does not name are removed
//! ```
//!
//! A killed run goes on from the last checkpoint and repeats what came after it, to the same bytes.

use prism_core::file::Pending;
use prism_nn::Result;

use super::received::Known;
use super::resident::Loaded;
use super::{MomentPrivacy, OptimiserState, Simulation, Turn};
use crate::run::client_files;

impl Simulation {
    /// Whether rounds may be committed some at a time. Not where a round must not be repeated, since noise is drawn anew in it;
    /// nor where an answer may be lost or refused, as one with scores that are no finite numbers is: it leaves its client at the
    /// state of before, which must then be on disk.
    pub fn can_defer(&self) -> bool {
        let session = &self.training.session;
        let repeatable = self.training.mask_noise.is_none();
        let counted = self.transit.is_none() && session.mask_weights() == session.weights();
        repeatable && counted
    }

    /// Whether a client measures its images in `round`: where it does, the round may be left unfinished.
    pub fn measures(&self, round: u32) -> bool {
        let begins = |client: u32| self.client_rounds[client as usize] == 0 && !self.drops_out(round, client);
        matches!(self.privacy, MomentPrivacy::None) && self.sample_clients(round).into_iter().any(begins)
    }

    /// Keeps what a client has after its turn: in memory where it may wait there for the next checkpoint, else in its folder.
    pub(super) fn keep(&self, turn: Turn, loaded: Loaded, known: &Known) -> Result<Option<Pending>> {
        let (folder, client) = (&self.folders[turn.client as usize], turn.client as usize);
        let may_wait = self.can_defer();
        let to_write = match self.defer && may_wait {
            true => self.resident.put_unsaved(turn.client, turn.round, loaded),
            false => Some(loaded),
        };
        let mut saved = None;
        if let Some(loaded) = to_write {
            saved = Some(self.write(turn, &loaded.state)?);
            self.resident.put(turn.client, turn.round, loaded);
        }
        known.save(folder, turn.round, &self.training.session)?;
        // What no checkpoint named is of no use once there is a newer one, and would fill the disk until the next. Where an answer
        // may yet be refused it is of use, and every round has its checkpoint.
        if may_wait && self.client_rounds[client] != self.committed[client] {
            client_files::remove_other_states(folder, &[self.committed[client], turn.round])?;
        }
        Ok(saved)
    }

    /// Begins to write a client's state after its turn into its folder.
    fn write(&self, turn: Turn, state: &OptimiserState) -> Result<Pending> {
        let (folder, arch) = (&self.folders[turn.client as usize], self.training.step.generator().arch());
        client_files::save_state(folder, turn.round, arch, self.training.seed, state)
    }

    /// Writes the states that are in memory alone, so that a checkpoint may name them.
    ///
    /// # Errors
    /// If a folder cannot be written.
    pub fn save(&self) -> Result<()> {
        let unsaved = self.resident.take_unsaved();
        let pending = self.workers.map(&unsaved, |(client, round, loaded)| {
            self.write(Turn { round: *round, client: *client }, &loaded.state)
        })?;
        pending.into_iter().try_for_each(Pending::finish)?;
        unsaved.into_iter().for_each(|(client, round, loaded)| self.resident.put(client, round, loaded));
        Ok(())
    }

    /// Takes note that a checkpoint names the clients' states, and removes older ones.
    ///
    /// # Errors
    /// If a folder cannot be read or a file not removed.
    pub fn commit(&mut self) -> Result<()> {
        for (folder, (committed, &round)) in self.folders.iter().zip(self.committed.iter_mut().zip(&self.client_rounds))
        {
            if *committed != round {
                client_files::remove_other_states(folder, &[round])?;
                *committed = round;
            }
        }
        Ok(())
    }
}
