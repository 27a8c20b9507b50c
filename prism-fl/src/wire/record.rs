//! [`Record`]: what one round adds to the state that everybody holds.
//!
//! ```text
//! nobody answered   no bytes
//! counts            answers (4), length (4), code of the votes or (under the uplinks flips and sums) of the differences;
//!                   mean scores of the layers that cross as scores, f32
//! relay             answers, at most 4095 (4), then for each: client (4), length (4), the payload of its update
//! ```

use std::collections::HashSet;

use super::header::refuse;
use super::payload::{end, put_block, put_scores, take_block, take_scores, take_u32};
use super::{Downlink, Session};
use crate::codec::counts::{self, MOST_ANSWERS};
use crate::codec::{Prior, differences};
use prism_core::error::Result;

/// The record of one round.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// Nobody answered, so nothing moved.
    Silent,
    /// How many of the clients that answered keep each weight.
    Counts {
        /// How many clients answered.
        answers: u32,
        /// One count per weight of the layers that cross as masks.
        votes: Vec<u32>,
        /// The mean of the scores that clients sent, for each layer that crosses as scores.
        scores: Vec<Vec<f32>>,
    },
    /// The same where masks count as differences from expected ones.
    Differences {
        /// How many clients answered.
        answers: u32,
        /// How many more of them keep a weight than were expected to, for each weight of the layers that cross as
        /// masks.
        differences: Vec<i32>,
        /// As in [`Record::Counts`].
        scores: Vec<Vec<f32>>,
    },
    /// The clients that answered and the payloads of their updates, in the order in which the server counted them, for
    /// [`Update::from_payload`](super::Update::from_payload). A payload of some bytes may stand for a mask of every
    /// weight, so the masks are left to be read one after another.
    Relay(Vec<(u32, &'a [u8])>),
}

/// A `counts` record. Arguments as in [`Record::Counts`]; `prior` is that of the round's beginning.
pub fn counts(session: &Session, prior: &Prior, answers: u32, votes: &[u32], scores: &[Vec<f32>]) -> Vec<u8> {
    sums(session, answers, &counts::encode(votes, answers, prior), scores)
}

/// A `counts` record where masks count as differences. Arguments as in [`Record::Differences`]; `prior` is that of the
/// round's beginning.
pub fn differences(
    session: &Session,
    prior: &Prior,
    answers: u32,
    differences: &[i32],
    scores: &[Vec<f32>],
) -> Vec<u8> {
    sums(session, answers, &differences::encode(differences, answers, prior), scores)
}

fn sums(session: &Session, answers: u32, code: &[u8], scores: &[Vec<f32>]) -> Vec<u8> {
    let mut record = answers.to_le_bytes().to_vec();
    put_block(&mut record, code);
    let layers = session.score_layers_of(session.layers());
    layers.iter().zip(scores).for_each(|(layer, scores)| put_scores(&mut record, layer, scores));
    record
}

/// A `relay` record of updates as they came in: their clients and payloads, in the order in which they were counted.
///
/// # Panics
/// If there are more than [`MOST_ANSWERS`].
pub fn relay(updates: &[(u32, Vec<u8>)]) -> Vec<u8> {
    assert!(updates.len() <= MOST_ANSWERS as usize, "at most {MOST_ANSWERS} updates can be relayed");
    let mut record = (updates.len() as u32).to_le_bytes().to_vec();
    for (client, payload) in updates {
        record.extend_from_slice(&client.to_le_bytes());
        put_block(&mut record, payload);
    }
    record
}

impl<'a> Record<'a> {
    /// Reads a record; `prior` is that of the round's beginning.
    ///
    /// # Errors
    /// [`Error::Corrupt`](prism_core::Error::Corrupt) if the bytes are not a record of this session.
    pub fn decode(bytes: &'a [u8], session: &Session, prior: &Prior) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Record::Silent);
        }
        match session.downlink() {
            Downlink::Scores => Err(refuse("it holds a record, and this session's downlink is f32, which has none")),
            Downlink::Counts => take_counts(bytes, session, prior),
            Downlink::Relay => take_relay(bytes),
        }
    }
}

fn take_counts<'a>(mut bytes: &[u8], session: &Session, prior: &Prior) -> Result<Record<'a>> {
    let answers = take_u32(&mut bytes)?;
    if answers == 0 {
        return Err(refuse("it counts the votes of no clients"));
    }
    let code = take_block(&mut bytes)?;
    let layers = session.score_layers_of(session.layers());
    let scores = layers.iter().map(|layer| take_scores(&mut bytes, layer)).collect::<Result<_>>()?;
    end(bytes)?;
    if !session.uplink().expects() {
        let votes = counts::decode(code, answers, prior).map_err(refuse)?;
        return Ok(Record::Counts { answers, votes, scores });
    }
    let differences = differences::decode(code, answers, prior).map_err(refuse)?;
    Ok(Record::Differences { answers, differences, scores })
}

fn take_relay(mut bytes: &[u8]) -> Result<Record<'_>> {
    let answers = take_u32(&mut bytes)?;
    if answers == 0 {
        return Err(refuse("it relays the updates of no clients"));
    }
    if answers > MOST_ANSWERS {
        return Err(refuse(format!("it relays the updates of {answers} clients and the limit is {MOST_ANSWERS}")));
    }
    let (mut updates, mut clients) = (Vec::new(), HashSet::new());
    for _ in 0..answers {
        let client = take_u32(&mut bytes)?;
        if !clients.insert(client) {
            return Err(refuse(format!("it relays two updates of client {client}")));
        }
        updates.push((client, take_block(&mut bytes)?));
    }
    end(bytes)?;
    Ok(Record::Relay(updates))
}
