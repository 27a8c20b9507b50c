//! The server's half of the algorithm: broadcast the scores, average what comes back, step by MADA.
//!
//! ```text
//! theta_hat = mean over clients of M_k, clipped to [0.01, 0.99]
//! lambda    = hamming(M ~ theta, M' ~ theta_hat) / weights           (MADA; 1 without)
//! s         <- lambda * logit(theta_hat) + (1 - lambda) * s
//! ```
//!
//! Source: PRISM, section 3.3 and algorithm 1. The server sees bytes and nothing else of a client.

use prism_core::Result;
use prism_core::mask::{LayerBits, Mask};
use prism_core::score::{logit, sample_bits, sigmoid};
use prism_core::stream::{Purpose, StreamId};
use prism_core::wire::{Broadcast, LayerUpdate, Session, Update};

/// Vote shares are clipped to this distance from 0 and 1, where their logits would be infinite.
const CLIP: f32 = 0.01;

/// The server: the global scores, and what it must know to move them.
pub struct Server {
    session: Session,
    seed: u64,
    mada: bool,
    scores: Vec<Vec<f32>>,
}

/// Sum of the updates of one round.
pub struct Tally {
    round: u32,
    answers: u32,
    layers: Vec<LayerTally>,
}

enum LayerTally {
    /// How many clients keep each weight.
    Votes(Vec<u32>),
    /// Sum of the scores that clients sent for a PRISM-alpha layer.
    Scores(Vec<f64>),
}

impl Server {
    /// A server at `scores`, one vector per layer of the session's architecture.
    pub fn new(session: Session, seed: u64, mada: bool, scores: Vec<Vec<f32>>) -> Self {
        Server { session, seed, mada, scores }
    }

    /// The global scores, one vector per layer.
    pub fn scores(&self) -> &[Vec<f32>] {
        &self.scores
    }

    /// The message that opens `round`.
    pub fn broadcast(&self, round: u32) -> Vec<u8> {
        Broadcast { round, scores: self.scores.clone() }.encode(&self.session)
    }

    /// An empty tally for `round`.
    pub fn open_tally(&self, round: u32) -> Tally {
        let layers = self.session.layers().iter().enumerate().map(|(i, layer)| match self.session.is_score_layer(i) {
            false => LayerTally::Votes(vec![0; layer.weights()]),
            true => LayerTally::Scores(vec![0.0; layer.weights()]),
        });
        Tally { round, answers: 0, layers: layers.collect() }
    }

    /// Decodes one client's answer and adds it.
    ///
    /// # Errors
    /// If the bytes are not an update of this round, this client and this session; the tally is then unchanged.
    pub fn absorb(&self, tally: &mut Tally, client: u32, bytes: &[u8]) -> Result<()> {
        let update = Update::decode(bytes, &self.session, tally.round, client)?;
        for (sum, layer) in tally.layers.iter_mut().zip(&update.layers) {
            match (sum, layer) {
                (LayerTally::Votes(votes), LayerUpdate::Bits(bits)) => bits.iter_ones().for_each(|i| votes[i] += 1),
                (LayerTally::Scores(sums), LayerUpdate::Scores(scores)) => {
                    sums.iter_mut().zip(scores).for_each(|(sum, &score)| *sum += f64::from(score));
                }
                _ => unreachable!("a decoded update has the layer kinds of its session, as the tally has"),
            }
        }
        tally.answers += 1;
        Ok(())
    }

    /// Ends the round: moves the scores towards the tally and returns MADA's lambda, or `None` if nobody answered.
    pub fn aggregate(&mut self, tally: Tally) -> Option<f64> {
        if tally.answers == 0 {
            return None;
        }
        let targets: Vec<Vec<f32>> = tally.layers.into_iter().map(|layer| layer.target(tally.answers)).collect();
        let lambda = if self.mada { self.mask_distance(tally.round, &targets) } else { 1.0 };
        for (scores, targets) in self.scores.iter_mut().zip(&targets) {
            for (score, &target) in scores.iter_mut().zip(targets) {
                *score = (lambda * f64::from(target) + (1.0 - lambda) * f64::from(*score)) as f32;
            }
        }
        Some(lambda)
    }

    /// MADA's lambda: the share of weights on which a mask drawn from the old scores and one from the new differ.
    fn mask_distance(&self, round: u32, targets: &[Vec<f32>]) -> f64 {
        let draw = |purpose, scores: &[Vec<f32>]| {
            let id = StreamId::new(self.seed, purpose).round(round.into());
            Mask::new(scores.iter().enumerate().map(|(i, scores)| draw_layer(id.layer(i as u64), scores)).collect())
        };
        let (old, new) = (draw(Purpose::MadaOld, &self.scores), draw(Purpose::MadaNew, targets));
        old.hamming(&new) as f64 / old.len() as f64
    }
}

impl LayerTally {
    /// The scores that this layer's answers stand for.
    fn target(self, answers: u32) -> Vec<f32> {
        match self {
            LayerTally::Votes(votes) => {
                let logit_of = |kept| logit((kept as f32 / answers as f32).clamp(CLIP, 1.0 - CLIP));
                let logits: Vec<f32> = (0..=answers).map(logit_of).collect();
                votes.into_iter().map(|kept| logits[kept as usize]).collect()
            }
            LayerTally::Scores(sums) => sums.into_iter().map(|sum| (sum / f64::from(answers)) as f32).collect(),
        }
    }
}

/// A mask of one layer, drawn from the stream `id`: each weight kept with probability `sigmoid(score)`.
pub fn draw_layer(id: StreamId, scores: &[f32]) -> LayerBits {
    let theta: Vec<f32> = scores.iter().map(|&s| sigmoid(s)).collect();
    sample_bits(&theta, &mut id.open())
}
