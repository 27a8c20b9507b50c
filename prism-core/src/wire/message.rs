//! The two messages: [`Broadcast`] down to the clients, [`Update`] up to the server.

use super::Session;
use super::header::{Codec, Header, Kind, refuse};
use crate::arch::Layer;
use crate::error::Result;
use crate::mask::{self, LayerBits};

/// Server to clients: the scores of every layer at the start of a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// Round number.
    pub round: u32,
    /// One score per weight, layer by layer in the order of the architecture.
    pub scores: Vec<Vec<f32>>,
}

/// Client to server: one mask bit per weight, or real scores for the layers that PRISM-alpha exempts.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Round number.
    pub round: u32,
    /// The client that sends it.
    pub client: u32,
    /// Layer by layer in the order of the architecture.
    pub layers: Vec<LayerUpdate>,
}

/// One layer of an [`Update`].
#[derive(Clone, Debug, PartialEq)]
pub enum LayerUpdate {
    /// A mask drawn from the client's probabilities.
    Bits(LayerBits),
    /// The client's scores themselves.
    Scores(Vec<f32>),
}

impl Broadcast {
    /// The message's bytes.
    ///
    /// # Panics
    /// If the scores do not have the session's shapes.
    pub fn encode(&self, session: &Session) -> Vec<u8> {
        let layers = session.layers();
        assert_eq!(layers.len(), self.scores.len(), "one vector of scores per layer");
        let mut payload = Vec::with_capacity(session.broadcast_bytes());
        for (layer, scores) in layers.iter().zip(&self.scores) {
            put_scores(&mut payload, layer, scores);
        }
        Header::new(session, Kind::Broadcast, Codec::Raw, self.round, 0).seal(&payload)
    }

    /// Reads a broadcast of `round`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the bytes are cut short, altered, of another kind, version, round,
    /// seed or architecture, or hold a score that is no finite number.
    pub fn decode(bytes: &[u8], session: &Session, round: u32) -> Result<Self> {
        let wanted = Header::new(session, Kind::Broadcast, Codec::Raw, round, 0);
        let mut payload = open(bytes, &wanted, session.broadcast_bytes())?;
        let scores = session.layers().iter().map(|layer| take_scores(&mut payload, layer)).collect::<Result<_>>()?;
        Ok(Broadcast { round, scores })
    }
}

impl Update {
    /// The message's bytes.
    ///
    /// # Panics
    /// If the layers do not have the session's shapes and kinds.
    pub fn encode(&self, session: &Session) -> Vec<u8> {
        let layers = session.layers();
        assert_eq!(layers.len(), self.layers.len(), "one update per layer");
        let mut payload = Vec::with_capacity(session.update_bytes());
        for (index, (layer, update)) in layers.iter().zip(&self.layers).enumerate() {
            match update {
                LayerUpdate::Scores(scores) if session.is_score_layer(index) => {
                    put_scores(&mut payload, layer, scores);
                }
                LayerUpdate::Bits(bits) if !session.is_score_layer(index) => {
                    assert_eq!(bits.len(), layer.weights(), "one bit per weight of layer {}", layer.name);
                    payload.extend_from_slice(&mask::to_bytes(bits));
                }
                _ => panic!("layer {} must be sent as the session agreed, as bits or as scores", layer.name),
            }
        }
        Header::new(session, Kind::Update, Codec::Raw, self.round, self.client).seal(&payload)
    }

    /// Reads the update of `client` in `round`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the bytes are cut short, altered, of another kind, version, round,
    /// client, seed or architecture, or hold a score that is no finite number.
    pub fn decode(bytes: &[u8], session: &Session, round: u32, client: u32) -> Result<Self> {
        let wanted = Header::new(session, Kind::Update, Codec::Raw, round, client);
        let mut payload = open(bytes, &wanted, session.update_bytes())?;
        let take = |(index, layer)| match session.is_score_layer(index) {
            true => take_scores(&mut payload, layer).map(LayerUpdate::Scores),
            false => take_bits(&mut payload, layer).map(LayerUpdate::Bits),
        };
        let layers = session.layers().iter().enumerate().map(take).collect::<Result<_>>()?;
        Ok(Update { round, client, layers })
    }
}

/// Checks everything outside the payload and returns the payload.
fn open<'a>(bytes: &'a [u8], wanted: &Header, length: usize) -> Result<&'a [u8]> {
    Header::parse(bytes)?.expect(wanted)?;
    if bytes.len() != length {
        return Err(refuse(format!("it has {} bytes and this architecture's messages have {length}", bytes.len())));
    }
    Ok(&bytes[super::HEADER_BYTES..])
}

fn put_scores(payload: &mut Vec<u8>, layer: &Layer, scores: &[f32]) {
    assert_eq!(scores.len(), layer.weights(), "one score per weight of layer {}", layer.name);
    scores.iter().for_each(|score| payload.extend_from_slice(&score.to_le_bytes()));
}

fn take_scores(payload: &mut &[u8], layer: &Layer) -> Result<Vec<f32>> {
    let (bytes, _) = take(payload, 4 * layer.weights())?.as_chunks::<4>();
    let scores: Vec<f32> = bytes.iter().map(|score| f32::from_le_bytes(*score)).collect();
    match scores.iter().position(|score| !score.is_finite()) {
        None => Ok(scores),
        Some(at) => Err(refuse(format!(
            "score {at} of layer {} is {}; scores must be finite: the sender's training diverged, so lower its lr",
            layer.name, scores[at]
        ))),
    }
}

fn take_bits(payload: &mut &[u8], layer: &Layer) -> Result<LayerBits> {
    let bytes = take(payload, layer.weights().div_ceil(8))?;
    mask::from_bytes(bytes, layer.weights())
        .ok_or_else(|| refuse(format!("a bit behind the last one of layer {} is set: it was altered", layer.name)))
}

fn take<'a>(payload: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) =
        payload.split_at_checked(length).ok_or_else(|| refuse("its payload ends before its last layer"))?;
    *payload = rest;
    Ok(taken)
}
