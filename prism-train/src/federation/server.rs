//! The server's half of the algorithm: bring every client to the state of the round, sum what comes back, take the step.
//!
//! ```text
//! broadcast   what this client has not seen yet
//! ballot      every client's update, if it is one: wrong rounds, runs, clients and repetitions are refused by name
//! end_round   s <- the step towards what the masks say together (see [`super::global`])
//! ```
//!
//! Source: PRISM, section 3.3 and algorithm 1. The server sees bytes and nothing else of a client, and its state is a function
//! of these bytes and the seed.

use std::sync::OnceLock;

use prism_core::codec::{Prior, counts, differences, steps};
use prism_core::wire::{Broadcast, Downlink, Session, record};

use super::ballot::{Ballot, Count};
use super::global::{Global, advance, keeps_fine_scores};
use super::history::{Entry, History};
use super::tally::{MaskSum, Tally};

/// The server: the global scores, and what it must know to move them.
pub struct Server {
    session: Session,
    mada: bool,
    /// The scores that the steps move; between the points of the grid under `quantised`.
    scores: Vec<Vec<f32>>,
    /// What clients are told of them.
    known: Global,
    history: History,
    /// The snapshot of `known`, once a client needed it: it is the same for all.
    snapshot: OnceLock<Outgoing>,
}

/// A broadcast for one client.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The message.
    pub bytes: Vec<u8>,
    /// What information theory asks for its content, in bits.
    pub bound_bits: f64,
}

impl Server {
    /// A server after `round` rounds at `scores`, one vector per layer of the session's architecture.
    pub fn new(session: Session, mada: bool, round: u32, scores: Vec<Vec<f32>>, history: History) -> Self {
        let known = Global::at(session.clone(), mada, round, scores.clone());
        let scores = if keeps_fine_scores(session.downlink()) { scores } else { known.scores().to_vec() };
        Server { session, mada, scores, known, history, snapshot: OnceLock::new() }
    }

    /// The global scores, one vector per layer.
    pub fn scores(&self) -> &[Vec<f32>] {
        &self.scores
    }

    /// Whether steps are MADA's.
    pub fn mada(&self) -> bool {
        self.mada
    }

    /// What clients know of them.
    pub fn known(&self) -> &Global {
        &self.known
    }

    /// The records from which lagging clients are brought up to date.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The message that opens the next round for a client that holds the state after round `base`: the records since then
    /// or a snapshot, whichever is shorter.
    pub fn broadcast(&self, base: u32) -> Outgoing {
        let round = self.known.round() + 1;
        if self.session.downlink() == Downlink::Scores {
            let bytes = Broadcast::Scores(self.scores.clone()).encode(&self.session, round);
            return Outgoing { bytes, bound_bits: 32.0 * self.session.weights() as f64 };
        }
        let digest = self.known.digest();
        let replay = self.history.since(base).map(|entries| {
            let (records, bounds): (Vec<_>, Vec<_>) = entries.map(|e| (e.record.clone(), e.bound_bits)).unzip();
            let bytes = Broadcast::Replay { base, records, digest }.encode(&self.session, round);
            Outgoing { bytes, bound_bits: bounds.iter().sum() }
        });
        let least =
            self.session.downlink().grid().map_or(0, |grid| steps::least_snapshot_bytes(self.session.weights(), grid));
        match replay {
            // A snapshot takes its time, and would be no shorter.
            Some(replay) if base + 1 == round || replay.bytes.len() <= least => replay,
            Some(replay) if replay.bytes.len() <= self.snapshot().bytes.len() => replay,
            _ => self.snapshot().clone(),
        }
    }

    /// The whole state, computed when it is first asked for.
    fn snapshot(&self) -> &Outgoing {
        self.snapshot.get_or_init(|| {
            let indices = self.known.indices();
            let bound_bits = steps::entropy_bits(&indices);
            let broadcast = Broadcast::Snapshot { indices, digest: self.known.digest() };
            Outgoing { bytes: broadcast.encode(&self.session, self.known.round() + 1), bound_bits }
        })
    }

    /// An empty ballot for the next round, in which `asked` may answer.
    pub fn open_ballot(&self, asked: &[u32]) -> Ballot {
        Ballot::new(&self.session, self.known.round() + 1, self.known.prior(), asked)
    }

    /// Ends the round: moves the scores towards the answers and returns MADA's lambda, or `None` if nobody answered.
    ///
    /// `relay_bound` is the sum over answers of KL(client || prior) in bits, the bound of a relay; the server itself cannot
    /// know it and uses it for its report only.
    pub fn end_round(&mut self, ballot: Ballot, relay_bound: f64) -> Option<f64> {
        self.snapshot = OnceLock::new();
        let Count { round, prior, tally, updates } = ballot.close();
        let silent = tally.answers() == 0;
        let before = match self.session.downlink() {
            Downlink::Quantised(_) => self.known.indices(),
            _ => Vec::new(),
        };
        let lambda = if keeps_fine_scores(self.session.downlink()) {
            let lambda = advance(&self.session, self.mada, round, &mut self.scores, &tally);
            self.known = Global::at(self.session.clone(), self.mada, round, self.scores.clone());
            lambda
        } else {
            let lambda = self.known.end_round(&tally);
            self.scores = self.known.scores().to_vec();
            lambda
        };
        if self.session.downlink() == Downlink::Scores {
            return lambda;
        }
        let record = || match self.session.downlink() {
            _ if silent => (Vec::new(), 0.0),
            Downlink::Counts => self.record_of_sums(&prior, &tally),
            Downlink::Relay => (record::relay(&updates), relay_bound + self.score_bits(updates.len())),
            Downlink::Quantised(grid) => {
                let after = self.known.indices();
                let moved: Vec<i32> = before.iter().zip(&after).map(|(from, to)| to - from).collect();
                (steps::encode(&before, &after, grid), steps::entropy_bits(&moved))
            }
            // Left above.
            Downlink::Scores => (Vec::new(), 0.0),
        };
        // A record is coded weight by weight, which leaves the other threads time for what the next round begins with.
        let ((record, bound_bits), ()) = rayon::join(record, || self.known.prepare());
        self.history.push(Entry { record, bound_bits });
        lambda
    }

    /// The record of a round under the downlink `counts`, and its bound in bits.
    fn record_of_sums(&self, prior: &Prior, tally: &Tally) -> (Vec<u8>, f64) {
        let (answers, scores) = (tally.answers(), tally.mean_scores());
        let (record, bound_bits) = match tally.masks() {
            MaskSum::Votes(votes) => rayon::join(
                || record::counts(&self.session, prior, answers, votes, &scores),
                || counts::bound_bits(votes, answers, prior),
            ),
            MaskSum::Differences(sums) => rayon::join(
                || record::differences(&self.session, prior, answers, sums, &scores),
                || differences::bound_bits(sums, prior),
            ),
        };
        (record, bound_bits + self.score_bits(1))
    }

    /// Bits of the layers that cross as floats, `copies` times.
    fn score_bits(&self, copies: usize) -> f64 {
        32.0 * (copies * (self.session.weights() - self.session.mask_weights())) as f64
    }
}
