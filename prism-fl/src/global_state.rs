//! The state that everybody holds: the scores at the beginning of a round, moved by messages alone.
//!
//! The server moves it by the updates that it receives ([`crate::server::server_step`]). Under the downlinks `counts` and
//! `relay` every client makes the same step from what the server passes on: masks come from shared streams and the arithmetic
//! is that of IEEE 754 and `libm`, so all end at the same bits. A digest in every broadcast makes sure of it.

use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::codec::{Prior, ScoreGrid};
use crate::wire::{Session, state_digest};

/// Weights that a thread takes at once, at least.
pub const MIN_CHUNK: usize = 4096;

/// The scores after some rounds.
#[derive(Clone, Debug)]
pub struct GlobalState {
    session: Session,
    mada: bool,
    round: u32,
    scores: Vec<Vec<f32>>,
    /// The prior of `scores`, once somebody asked for it.
    prior: OnceLock<Arc<Prior>>,
    /// Their digest, likewise.
    digest: OnceLock<[u8; 8]>,
}

impl GlobalState {
    /// The state before the first round, which everybody draws from the seed. `mada` says how the server steps.
    pub fn initial(session: Session, mada: bool) -> Self {
        let scores = session.initial_scores();
        Self::at(session, mada, 0, scores)
    }

    /// The state after `round` rounds, whose scores are brought to the downlink's grid if they are not on it.
    pub fn at(session: Session, mada: bool, round: u32, scores: Vec<Vec<f32>>) -> Self {
        let mut state = GlobalState { session, mada, round, scores, prior: OnceLock::new(), digest: OnceLock::new() };
        state.round_to_grid();
        state
    }

    /// What server and clients agreed on.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the server's step is MADA's.
    pub fn mada(&self) -> bool {
        self.mada
    }

    /// Rounds behind this state.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// The scores, one vector per layer.
    pub fn scores(&self) -> &[Vec<f32>] {
        &self.scores
    }

    /// What both sides expect of the masks of the next round.
    pub fn prior(&self) -> Arc<Prior> {
        Arc::clone(self.prior.get_or_init(|| Arc::new(self.session.prior(&self.scores))))
    }

    /// The digest that a broadcast carries.
    pub fn digest(&self) -> [u8; 8] {
        *self.digest.get_or_init(|| state_digest(&self.scores))
    }

    /// Computes what will be asked of this state, all of it at the same time.
    pub fn prepare(&self) {
        rayon::join(|| self.prior(), || self.digest());
    }

    /// Goes on to the state after `round` rounds: `change` moves the scores, which are then brought to the grid.
    pub fn advance<T>(&mut self, round: u32, change: impl FnOnce(&mut Vec<Vec<f32>>) -> T) -> T {
        (self.prior, self.digest, self.round) = (OnceLock::new(), OnceLock::new(), round);
        let result = change(&mut self.scores);
        self.round_to_grid();
        result
    }

    /// Every score's index on the downlink's grid, layer after layer; nothing where it has none.
    pub fn indices(&self) -> Vec<i32> {
        match self.session.downlink().grid() {
            Some(grid) => self.scores.iter().flatten().map(|&score| grid.index(score)).collect(),
            None => Vec::new(),
        }
    }

    fn round_to_grid(&mut self) {
        let Some(grid): Option<ScoreGrid> = self.session.downlink().grid() else { return };
        for scores in &mut self.scores {
            scores.par_iter_mut().with_min_len(MIN_CHUNK).for_each(|score| *score = grid.round(*score));
        }
    }
}
