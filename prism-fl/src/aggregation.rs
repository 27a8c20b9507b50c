//! What the answers of a round come to: sums of masks, and of the scores of layers that cross as scores.
//!
//! ```text
//! decode   one client's message, if it is one of this round, federation and client; on any thread
//! add      what was decoded, once for each client
//! opened   under secure sums, what the answers add up to, once their blinds are off
//! finish   the aggregate, in the order of the clients: the order of arrival changes no bit
//! ```

use std::sync::Arc;

use prism_core::score::{logit, sigmoid};
use prism_core::{Error, Result};
use rayon::prelude::*;

use crate::codec::{Prior, flips};
use crate::global_state::{GlobalState, MIN_CHUNK};
use crate::mask_sum::MaskSum;
use crate::secagg::{RingVector, SecureSum};
use crate::wire::{Downlink, HEADER_BYTES, Session, Update};

/// Vote shares are clipped to this distance from 0 and 1, where their logits would be infinite.
const CLIP: f32 = 0.01;

/// Collects the answers to one round.
pub struct Aggregator {
    session: Session,
    round: u32,
    prior: Arc<Prior>,
    cohort: Vec<u32>,
    masks: MaskSum,
    /// Under secure sums, where the masks are added up.
    sum: Option<SecureSum>,
    answers: Vec<Answer>,
}

/// What is kept of a client's answer until the round ends.
struct Answer {
    client: u32,
    /// The layers that crossed as scores.
    scores: Vec<Vec<f32>>,
    /// The payload, where it will be relayed.
    payload: Vec<u8>,
}

/// A client's answer, decoded and not yet added.
pub struct DecodedUpdate {
    answer: Answer,
    mask: DecodedMask,
}

enum DecodedMask {
    Plain(Update),
    /// Numbers that mean something in sum only.
    Blinded(RingVector),
}

/// What the answers of a round come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    answers: u32,
    /// The masks' sum, over the weights of the layers that cross as masks, layer after layer.
    masks: MaskSum,
    /// For each layer that crosses as scores, their sums.
    scores: Vec<Vec<f64>>,
    /// Who answered, with the payload where it will be relayed.
    updates: Vec<(u32, Vec<u8>)>,
}

impl Aggregator {
    /// Collects the answers of `cohort` to the round that follows `state`; under secure sums, into `sum`.
    pub fn new(state: &GlobalState, cohort: Vec<u32>, sum: Option<SecureSum>) -> Self {
        let session = state.session().clone();
        let masks = MaskSum::zero(&session);
        let (round, prior) = (state.round() + 1, state.prior());
        Aggregator { session, round, prior, cohort, masks, sum, answers: Vec::new() }
    }

    /// The round.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// The prior of the round's beginning.
    pub fn prior(&self) -> Arc<Prior> {
        Arc::clone(&self.prior)
    }

    /// The clients of the round, as its broadcast names them: under secure sums, those that have shared keys.
    pub fn cohort(&self) -> Vec<u32> {
        self.sum.as_ref().map_or_else(|| self.cohort.clone(), SecureSum::dealers)
    }

    /// The clients to send the broadcast to: none under a secure sum that has failed, and none whose input it lacks once closed.
    pub fn asked(&self) -> Vec<u32> {
        self.sum.as_ref().map_or_else(|| self.cohort.clone(), SecureSum::asked)
    }

    /// The secure sum, where there is one.
    pub fn sum(&self) -> Option<&SecureSum> {
        self.sum.as_ref()
    }

    /// The secure sum, where there is one, to go on with.
    pub fn sum_mut(&mut self) -> Option<&mut SecureSum> {
        self.sum.as_mut()
    }

    /// Decodes the answer of `client`. Nothing is added, so that several can be decoded at once.
    ///
    /// # Errors
    /// If the client was not asked, or the bytes are not an update of this round, this client and this session.
    pub fn decode(&self, client: u32, bytes: &[u8]) -> Result<DecodedUpdate> {
        if !self.cohort.contains(&client) {
            return Err(refuse(format!("client {client} was not asked in round {}", self.round)));
        }
        let mut scores = Vec::new();
        let mask = match &self.sum {
            None => {
                let mut update = Update::decode(bytes, &self.session, &self.prior, self.round, client)?;
                scores = std::mem::take(&mut update.scores);
                DecodedMask::Plain(update)
            }
            Some(sum) => {
                DecodedMask::Blinded(Update::decode_sums(bytes, &self.session, sum.shape(), self.round, client)?)
            }
        };
        let payload = match self.session.downlink() {
            Downlink::Relay => bytes[HEADER_BYTES..].to_vec(),
            _ => Vec::new(),
        };
        Ok(DecodedUpdate { answer: Answer { client, scores, payload }, mask })
    }

    /// Adds an answer.
    ///
    /// # Errors
    /// If the client has answered already, or the answer was decoded for another round; nothing is then added.
    pub fn add(&mut self, update: DecodedUpdate) -> Result<()> {
        let DecodedUpdate { answer, mask } = update;
        let client = answer.client;
        if self.has_answered(client) {
            return Err(refuse(format!(
                "client {client} has already answered in round {}: only the first answer counts",
                self.round
            )));
        }
        match (mask, &mut self.sum) {
            (DecodedMask::Blinded(numbers), Some(sum)) => sum.add_input(client, &numbers)?,
            (DecodedMask::Plain(update), None) if update.round == self.round => self.masks.add(&update),
            _ => return Err(refuse("it was decoded for another round".into())),
        }
        self.answers.push(answer);
        Ok(())
    }

    /// The clients that have answered, in the order in which they did.
    pub fn answered(&self) -> impl Iterator<Item = u32> {
        self.answers.iter().map(|answer| answer.client)
    }

    fn has_answered(&self, client: u32) -> bool {
        self.answered().any(|who| who == client)
    }

    /// Ends the round, as one that nobody answered where a secure sum is not opened.
    ///
    /// Where one exceeds the number of clients, somebody's input was no mask; nobody can say whose, so the round counts as one that
    /// nobody answered.
    pub fn finish(mut self) -> Aggregate {
        if let Some(sum) = self.sum.take() {
            return self.finish_sum(&sum);
        }
        let answers = self.answers.len() as u32;
        // Sums of floats depend on their order, and a relay lists its updates: both go by client.
        self.answers.sort_by_key(|answer| answer.client);
        let mut aggregate = Aggregate { answers, masks: self.masks, ..Aggregate::new(&self.session) };
        for Answer { client, scores, payload } in self.answers {
            aggregate.add_scores(&scores);
            aggregate.updates.push((client, payload));
        }
        aggregate
    }

    /// The masks of all whose input is in the opened sum, as differences from those expected of them.
    fn finish_sum(mut self, sum: &SecureSum) -> Aggregate {
        let none = Aggregate::new(&self.session);
        let Some(opened) = sum.opened() else { return none };
        for &client in sum.survivors() {
            self.masks.subtract(&flips::expected(&self.prior, self.session.shared(self.round, client)));
        }
        let votes: Vec<u32> = opened.values().iter().map(|&votes| votes as u32).collect();
        let answers = sum.survivors().len() as u32;
        match self.masks.add_votes(&votes, answers) {
            true => Aggregate { answers, masks: self.masks, ..none },
            false => none,
        }
    }
}

fn refuse(why: String) -> Error {
    Error::corrupt("a message", why)
}

impl Aggregate {
    /// The aggregate of no answers.
    pub fn new(session: &Session) -> Self {
        let zeros = |layer: &prism_core::arch::Layer| vec![0.0; layer.weights()];
        let scores = session.score_layers_of(session.layers()).iter().map(zeros).collect();
        Aggregate { answers: 0, masks: MaskSum::zero(session), scores, updates: Vec::new() }
    }

    /// The aggregate of `answers` clients from the sum of their masks and their mean scores.
    pub fn from_sums(answers: u32, masks: MaskSum, scores: &[Vec<f32>]) -> Self {
        let sum = |layer: &Vec<f32>| layer.iter().map(|&s| f64::from(s) * f64::from(answers)).collect();
        Aggregate { answers, masks, scores: scores.iter().map(sum).collect(), updates: Vec::new() }
    }

    /// Adds one client's update.
    pub fn add(&mut self, update: &Update) {
        self.masks.add(update);
        self.add_scores(&update.scores);
        self.answers += 1;
    }

    fn add_scores(&mut self, scores: &[Vec<f32>]) {
        for (sums, scores) in self.scores.iter_mut().zip(scores) {
            sums.iter_mut().zip(scores).for_each(|(sum, &score)| *sum += f64::from(score));
        }
    }

    /// Number of answers.
    pub fn answers(&self) -> u32 {
        self.answers
    }

    /// The masks' sum, over the weights of the layers that cross as masks.
    pub fn masks(&self) -> &MaskSum {
        &self.masks
    }

    /// Who answered, in order, with the payload where it will be relayed.
    pub fn updates(&self) -> &[(u32, Vec<u8>)] {
        &self.updates
    }

    /// The mean scores of the layers that cross as scores.
    pub fn mean_scores(&self) -> Vec<Vec<f32>> {
        let mean = |sums: &Vec<f64>| sums.iter().map(|sum| (sum / f64::from(self.answers.max(1))) as f32).collect();
        self.scores.iter().map(mean).collect()
    }

    /// `logit(theta_hat)`, layer by layer: the scores that the answers stand for, and the mean where scores crossed.
    ///
    /// ```text
    /// theta_hat = mean over clients of M_k                                                   votes
    /// theta_hat = theta + mean over clients of (M_k - the mask expected of client k)         differences
    /// ```
    ///
    /// both clipped to [0.01, 0.99]. Of differences, a weight that nobody moved stays as it was in `scores`, to the bit.
    pub fn target_scores(&self, session: &Session, scores: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let answers = self.answers.max(1);
        let logit_of = |kept| logit((kept as f32 / answers as f32).clamp(CLIP, 1.0 - CLIP));
        let logits: Vec<f32> = (0..=answers).map(logit_of).collect();
        let mut at = 0;
        let masks = session.mask_layers().iter().zip(scores).map(|(layer, scores)| {
            let here = at..at + layer.weights();
            at = here.end;
            match &self.masks {
                MaskSum::Votes(votes) => votes[here].iter().map(|&kept| logits[kept as usize]).collect(),
                MaskSum::Differences(sums) => {
                    let pairs = sums[here].par_iter().zip(scores).with_min_len(MIN_CHUNK);
                    pairs.map(|(&sum, &score)| moved(score, sum, answers)).collect()
                }
            }
        });
        let mut targets: Vec<Vec<f32>> = masks.collect();
        targets.extend(self.mean_scores());
        targets
    }
}

/// `score` after so many more of `answers` clients kept its weight than were expected to.
fn moved(score: f32, more: i32, answers: u32) -> f32 {
    if more == 0 {
        return score;
    }
    let theta = f64::from(sigmoid(score)) + f64::from(more) / f64::from(answers);
    logit((theta as f32).clamp(CLIP, 1.0 - CLIP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Uplink;
    use crate::wire::Downlink;
    use prism_core::Architecture;
    use prism_core::mask;

    #[test]
    fn every_kept_weight_gets_a_vote() {
        let arch = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 0, label_scale: 3.0 };
        let session = Session::new(&arch, 0, 1).unwrap();
        let bits = |step| (0..session.mask_weights()).map(move |i| i % step == 0);
        let mut aggregate = Aggregate::new(&session);
        for step in [2, 3] {
            let scores = vec![vec![step as f32; 9]];
            aggregate.add(&Update {
                round: 1,
                client: step as u32,
                mask: mask::pack(bits(step)),
                expected: None,
                scores,
            });
        }
        let expected: Vec<u32> = bits(2).zip(bits(3)).map(|(a, b)| u32::from(a) + u32::from(b)).collect();
        // 125 of the weights cross as masks, so the last byte is not whole.
        assert_eq!((aggregate.masks(), expected.len()), (&MaskSum::Votes(expected.clone()), 125));
        assert_eq!((aggregate.answers(), aggregate.mean_scores()), (2, vec![vec![2.5; 9]]));
    }

    /// Three clients keep what none or one of them was expected to; a fourth weight is as expected.
    #[test]
    fn differences_move_the_probability_and_nothing_else() {
        let arch = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 0, label_scale: 3.0 };
        let session = Session::new(&arch, 0, 0).unwrap().with_codecs(Uplink::Flips, Downlink::Scores);
        let scores: Vec<Vec<f32>> = session.layers().iter().map(|layer| vec![-1.5; layer.weights()]).collect();
        let mut aggregate = Aggregate::new(&session);
        for client in 0..3 {
            let mask = mask::pack((0..session.mask_weights()).map(|i| i < 2));
            let expected =
                mask::pack((0..session.mask_weights()).map(|i| i == 1 && client == 0 || i == 2 && client < 2));
            aggregate.add(&Update { round: 1, client, mask, expected: Some(expected), scores: vec![] });
        }
        let targets = aggregate.target_scores(&session, &scores).concat();
        let theta = 1.0 / (1.0 + 1.5f64.exp());
        for (target, probability) in targets.iter().zip([theta + 1.0, theta + 2.0 / 3.0, theta - 2.0 / 3.0]) {
            let probability = probability.clamp(0.01, 0.99);
            assert!((f64::from(*target) - (probability / (1.0 - probability)).ln()).abs() < 1e-4, "{target}");
        }
        assert!(targets[3..].iter().all(|&target| target == -1.5));
    }
}
