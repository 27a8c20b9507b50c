//! The state that everybody holds: the scores at the beginning of a round, moved by messages alone.
//!
//! ```text
//! theta_hat = mean over clients of M_k, clipped to [0.01, 0.99]
//! lambda    = hamming(M ~ theta, M' ~ theta_hat) / weights           (MADA; 1 without)
//!             (uplink `flips`: theta + mean over clients of M_k - what theta draws with client k's numbers, clipped likewise)
//! s         <- lambda * logit(theta_hat) + (1 - lambda) * s          (then to the public grid, where the downlink has one)
//! ```
//!
//! Source: PRISM, section 3.3 and algorithm 1. The server makes this step from the updates that it receives. Under the
//! downlinks `counts` and `relay` every client makes it as well, from what the server passes on: the masks that lambda
//! compares come from shared streams, the arithmetic is that of IEEE 754 and `libm`, so all end at the same bits. A digest in
//! every broadcast makes sure of it.

use std::sync::{Arc, OnceLock};

use prism_core::codec::{Prior, ScoreGrid};
use prism_core::draw;
use prism_core::mask::{LayerBits, Mask};
use prism_core::stream::{Purpose, StreamId};
use prism_core::wire::{Broadcast, Downlink, Record, Session, Update, state_digest};
use prism_core::{Error, Result};
use rayon::prelude::*;

use super::tally::{MaskSum, Tally};

/// Weights that a thread takes at once, at least.
pub const PIECE: usize = 4096;

/// The scores after some rounds, and how they move.
#[derive(Clone, Debug)]
pub struct Global {
    session: Session,
    mada: bool,
    round: u32,
    scores: Vec<Vec<f32>>,
    /// The prior of `scores`, once somebody asked for it.
    prior: OnceLock<Arc<Prior>>,
    /// Their digest, likewise.
    digest: OnceLock<[u8; 8]>,
}

impl Global {
    /// The state before the first round, which everybody draws from the seed.
    pub fn initial(session: Session, mada: bool) -> Self {
        let scores = session.initial_scores();
        Self::at(session, mada, 0, scores)
    }

    /// The state after `round` rounds, whose scores are brought to the downlink's grid if they are not on it.
    pub fn at(session: Session, mada: bool, round: u32, mut scores: Vec<Vec<f32>>) -> Self {
        if let Some(grid) = session.downlink().grid() {
            round_to(grid, &mut scores);
        }
        Global { session, mada, round, scores, prior: OnceLock::new(), digest: OnceLock::new() }
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

    /// Forgets what followed from the scores, which are about to move.
    fn move_on(&mut self) {
        (self.prior, self.digest) = (OnceLock::new(), OnceLock::new());
    }

    /// Every score's index on the downlink's grid, layer after layer; nothing where it has none.
    pub fn indices(&self) -> Vec<i32> {
        match self.session.downlink().grid() {
            Some(grid) => self.scores.iter().flatten().map(|&score| grid.index(score)).collect(),
            None => Vec::new(),
        }
    }

    /// Ends a round in which these answers came in; returns lambda, or `None` if there were none and nothing moved.
    pub fn end_round(&mut self, tally: &Tally) -> Option<f64> {
        self.round += 1;
        self.move_on();
        let lambda = advance(&self.session, self.mada, self.round, &mut self.scores, tally)?;
        if let Some(grid) = self.session.downlink().grid() {
            round_to(grid, &mut self.scores);
        }
        Some(lambda)
    }

    /// A client's side: takes the broadcast that opens `round`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not one of this round and session, does not go on from this state, or does not lead to
    /// the state that the server has.
    pub fn receive(&mut self, broadcast: &[u8], round: u32) -> Result<()> {
        let refuse = |why: String| Error::corrupt("a broadcast", why);
        let digest = match Broadcast::decode(broadcast, &self.session, round)? {
            Broadcast::Scores(scores) => {
                self.move_on();
                self.scores = scores;
                None
            }
            Broadcast::Replay { base, records, digest } => {
                if base != self.round {
                    return Err(refuse(format!(
                        "it goes on from the state after round {base} and this client has that after round {}: \
                         ask for a snapshot",
                        self.round
                    )));
                }
                records.iter().try_for_each(|record| self.replay(record))?;
                Some(digest)
            }
            Broadcast::Snapshot { indices, digest } => {
                self.set_indices(&indices);
                Some(digest)
            }
        };
        self.round = round.saturating_sub(1);
        let Some(digest) = digest else { return Ok(()) };
        self.prepare();
        if digest != self.digest() {
            return Err(refuse(
                "it leads this client to another state than the server's: give both sides the same settings".into(),
            ));
        }
        Ok(())
    }

    /// Moves by one round's record.
    fn replay(&mut self, record: &[u8]) -> Result<()> {
        let (prior, round) = (self.prior(), self.round + 1);
        let record = Record::decode(record, &self.session, &prior, || self.indices())?;
        let mut tally = Tally::new(&self.session);
        match record {
            Record::Silent => {}
            Record::Counts { answers, votes, scores } => {
                tally = Tally::from_sums(answers, MaskSum::Votes(votes), &scores);
            }
            Record::Differences { answers, differences, scores } => {
                tally = Tally::from_sums(answers, MaskSum::Differences(differences), &scores);
            }
            // One mask at a time: together they could take far more memory than the record.
            Record::Relay(updates) => {
                for (client, payload) in updates {
                    tally.add(&Update::from_payload(payload, &self.session, &prior, round, client)?);
                }
            }
            Record::Indices(indices) => {
                self.set_indices(&indices);
                self.round += 1;
                return Ok(());
            }
        }
        self.end_round(&tally);
        Ok(())
    }

    fn set_indices(&mut self, indices: &[i32]) {
        let Some(grid) = self.session.downlink().grid() else { return };
        self.move_on();
        self.scores.iter_mut().flatten().zip(indices).for_each(|(score, &index)| *score = grid.score(index));
    }
}

/// Brings every score to `grid`.
fn round_to(grid: ScoreGrid, scores: &mut [Vec<f32>]) {
    scores.iter_mut().for_each(|scores| {
        scores.par_iter_mut().with_min_len(PIECE).for_each(|score| *score = grid.round(*score));
    });
}

/// Moves `scores` towards the answers of `round`; returns lambda.
pub fn advance(session: &Session, mada: bool, round: u32, scores: &mut [Vec<f32>], tally: &Tally) -> Option<f64> {
    if tally.answers() == 0 {
        return None;
    }
    let targets = tally.targets(session, scores);
    let lambda = if mada { mask_distance(session.seed(), round, scores, &targets) } else { 1.0 };
    for (scores, targets) in scores.iter_mut().zip(&targets) {
        scores.par_iter_mut().zip(targets).with_min_len(PIECE).for_each(|(score, &target)| {
            *score = (lambda * f64::from(target) + (1.0 - lambda) * f64::from(*score)) as f32;
        });
    }
    Some(lambda)
}

/// MADA's lambda: the share of weights on which a mask drawn from the old scores and one from the new differ.
fn mask_distance(seed: u64, round: u32, scores: &[Vec<f32>], targets: &[Vec<f32>]) -> f64 {
    let draw = |purpose, scores: &[Vec<f32>]| {
        let id = StreamId::new(seed, purpose).round(round.into());
        Mask::new(scores.iter().enumerate().map(|(i, scores)| draw_layer(id.layer(i as u64), scores)).collect())
    };
    let (old, new) = rayon::join(|| draw(Purpose::MadaOld, scores), || draw(Purpose::MadaNew, targets));
    old.hamming(&new) as f64 / old.len().max(1) as f64
}

/// A mask of one layer, drawn from the stream `id`: each weight kept with probability `sigmoid(score)`.
fn draw_layer(id: StreamId, scores: &[f32]) -> LayerBits {
    let mut stream = id.open();
    draw::mask(scores, |bytes| stream.fill(bytes))
}

/// Whether the server's own scores may lie between the points of the grid that clients know.
pub fn keeps_fine_scores(downlink: Downlink) -> bool {
    !downlink.recomputes()
}
