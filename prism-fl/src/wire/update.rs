//! [`Update`]: a client's answer, up to the server.
//!
//! ```text
//! payload    code of the mask (layers that cross as masks, one after another)  ||  the other layers' scores, f32
//! ```

use super::header::{Header, refuse};
use super::payload::{put_scores, take_scores};
use super::{Session, open};
use crate::codec::{Learned, Prior, sums};
use crate::secagg::RingVector;
use prism_core::error::Result;
use prism_core::mask::LayerBits;

/// A client's mask, and its scores in the layers that PRISM-alpha exempts.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Round number.
    pub round: u32,
    /// The client that sends it.
    pub client: u32,
    /// One bit per weight of the layers that cross as masks, layer after layer.
    pub mask: LayerBits,
    /// Under the uplink `flips`, the mask that the scores before the round would have drawn with the same numbers.
    pub expected: Option<LayerBits>,
    /// One vector for each layer that crosses as scores.
    pub scores: Vec<Vec<f32>>,
}

impl Update {
    /// The message in which `client` answers in `round`, from the scores that it learned of every layer.
    ///
    /// # Panics
    /// If the scores do not have the session's shapes, or the prior is of another session.
    pub fn encode(session: &Session, round: u32, client: u32, learned: &Learned<'_>) -> Vec<u8> {
        assert_eq!(session.layers().len(), learned.layers.len(), "one slice of scores per layer");
        let (layers, scores) = learned.layers.split_at(session.mask_layers().len());
        let shared = session.shared(round, client);
        let mut payload = session.uplink().encode(&Learned { layers, ..*learned }, shared);
        for (layer, scores) in session.score_layers_of(session.layers()).iter().zip(scores) {
            put_scores(&mut payload, layer, scores);
        }
        Header::update(session, round, client).seal(&payload)
    }

    /// Reads the update of `client` in `round`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](prism_core::Error::Corrupt) if the bytes are cut short, altered, of another kind, version,
    /// codec, round, client, seed or architecture, or hold a score that is no finite number.
    pub fn decode(bytes: &[u8], session: &Session, prior: &Prior, round: u32, client: u32) -> Result<Self> {
        let payload = open(bytes, &Header::update(session, round, client))?;
        Self::from_payload(payload, session, prior, round, client)
    }

    /// Reads what follows the header, which a relay leaves out.
    ///
    /// # Errors
    /// As for [`Update::decode`].
    pub fn from_payload(payload: &[u8], session: &Session, prior: &Prior, round: u32, client: u32) -> Result<Self> {
        let score_layers = session.score_layers_of(session.layers());
        let tail: usize = score_layers.iter().map(|layer| 4 * layer.weights()).sum();
        let most = session.uplink().most_bytes(prior.len());
        let (code, mut rest) = payload
            .len()
            .checked_sub(tail)
            .filter(|&code| code <= most)
            .map(|code| payload.split_at(code))
            .ok_or_else(|| {
                refuse(format!(
                    "its payload has {} bytes and this session's updates have {tail} to {}",
                    payload.len(),
                    most + tail
                ))
            })?;
        let shared = session.shared(round, client);
        let (mask, expected) = session.uplink().decode(code, prior, shared).map_err(refuse)?;
        let scores = score_layers.iter().map(|layer| take_scores(&mut rest, layer)).collect::<Result<_>>()?;
        Ok(Update { round, client, mask, expected, scores })
    }

    /// Reads the blinded numbers of `client` in `round`, of this width and attempt, under the uplink `sums`.
    ///
    /// # Errors
    /// As for [`Update::decode`].
    pub fn decode_sums(
        bytes: &[u8],
        session: &Session,
        sum: (u32, u32),
        round: u32,
        client: u32,
    ) -> Result<RingVector> {
        let payload = open(bytes, &Header::update(session, round, client))?;
        sums::decode(payload, session.mask_weights(), sum).map_err(refuse)
    }
}
