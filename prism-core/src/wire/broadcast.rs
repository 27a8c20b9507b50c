//! [`Broadcast`]: what opens a round, down to the clients.
//!
//! ```text
//! scores      every layer's scores, f32
//! replay      downlink, grid bits, state digest (8), base (4), then for each round base+1 .. round-1: length (4), record
//! snapshot    downlink, grid bits, state digest (8), code of every score's index on the grid
//! ```
//!
//! A client that holds the state after round `base` replays the records of the rounds that it missed ([`super::record`]);
//! one that missed too many takes a snapshot. The digest is that of the state which either must lead to.

use sha2::{Digest, Sha256};

use super::header::{Codec, HEADER_BYTES, Header, refuse};
use super::payload::{end, put_block, put_scores, take_array, take_block, take_scores, take_u32};
use super::{Session, first_eight};
use crate::codec::steps;
use crate::error::Result;

/// The message that opens a round, in the one form that the session allows or the two that catch up.
#[derive(Clone, Debug, PartialEq)]
pub enum Broadcast {
    /// The scores of every layer.
    Scores(Vec<Vec<f32>>),
    /// What happened since the state after round `base`.
    Replay {
        /// The round after which the receiver's state is taken to be.
        base: u32,
        /// The records of the rounds from `base + 1` to the one before this broadcast's.
        records: Vec<Vec<u8>>,
        /// [`state_digest`] of the state that they lead to.
        digest: [u8; 8],
    },
    /// The whole state, as indices on the session's grid, layer after layer.
    Snapshot {
        /// One index per weight.
        indices: Vec<i32>,
        /// [`state_digest`] of the state.
        digest: [u8; 8],
    },
}

impl Broadcast {
    /// The message's bytes.
    ///
    /// # Panics
    /// If the scores do not have the session's shapes, or the session's downlink has no such broadcast.
    pub fn encode(&self, session: &Session, round: u32) -> Vec<u8> {
        match self {
            Broadcast::Scores(scores) => {
                assert_eq!(session.layers().len(), scores.len(), "one vector of scores per layer");
                let mut payload = Vec::with_capacity(4 * session.weights());
                session.layers().iter().zip(scores).for_each(|(layer, s)| put_scores(&mut payload, layer, s));
                Header::broadcast(session, Codec::Raw, round).seal(&payload)
            }
            Broadcast::Replay { base, records, digest } => {
                let mut payload = preface(session, digest);
                payload.extend_from_slice(&base.to_le_bytes());
                records.iter().for_each(|record| put_block(&mut payload, record));
                Header::broadcast(session, Codec::Replay, round).seal(&payload)
            }
            Broadcast::Snapshot { indices, digest } => {
                let grid = session.downlink().grid().expect("a downlink without a grid has no snapshots");
                let mut payload = preface(session, digest);
                payload.extend_from_slice(&steps::encode_snapshot(indices, grid));
                Header::broadcast(session, Codec::Snapshot, round).seal(&payload)
            }
        }
    }

    /// Reads the broadcast of `round`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the bytes are cut short, altered, of another kind, version, round,
    /// seed, architecture or downlink, or hold a score that is no finite number.
    pub fn decode(bytes: &[u8], session: &Session, round: u32) -> Result<Self> {
        let header = Header::parse(bytes)?;
        header.expect(&Header::broadcast(session, header.codec, round))?;
        let mut payload = &bytes[HEADER_BYTES..];
        match (header.codec, session.downlink().grid()) {
            (Codec::Raw, None) => {
                let take = |layer| take_scores(&mut payload, layer);
                let scores = session.layers().iter().map(take).collect::<Result<_>>()?;
                end(payload)?;
                Ok(Broadcast::Scores(scores))
            }
            (Codec::Replay, Some(_)) => {
                let digest = take_preface(session, &mut payload)?;
                let base = take_u32(&mut payload)?;
                if base >= round {
                    return Err(refuse(format!(
                        "it goes on from the state after round {base} and opens round {round}"
                    )));
                }
                let mut records = Vec::new();
                for _ in base + 1..round {
                    records.push(take_block(&mut payload)?.to_vec());
                }
                end(payload)?;
                Ok(Broadcast::Replay { base, records, digest })
            }
            (Codec::Snapshot, Some(grid)) => {
                let digest = take_preface(session, &mut payload)?;
                // An index takes at most its own bits' worth of adaptive decisions, each at most 11 bits long.
                let most = 16 * session.weights() + 1024;
                if payload.len() > most {
                    return Err(refuse(format!("its snapshot has {} bytes; the limit is {most}", payload.len())));
                }
                let indices = steps::decode_snapshot(payload, session.weights(), grid).map_err(refuse)?;
                Ok(Broadcast::Snapshot { indices, digest })
            }
            (codec, _) => Err(refuse(format!(
                "it is coded as {codec:?} and this session's downlink is {}: give both sides the same --downlink",
                session.downlink()
            ))),
        }
    }
}

/// The first 8 bytes of SHA-256 over `prism-state-v1`, a zero byte, then every score as 4 bytes of `f32`.
pub fn state_digest(scores: &[Vec<f32>]) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(b"prism-state-v1\0");
    let mut bytes = Vec::with_capacity(4 * 4096);
    for chunk in scores.iter().flat_map(|layer| layer.chunks(4096)) {
        bytes.clear();
        chunk.iter().for_each(|score| bytes.extend_from_slice(&score.to_le_bytes()));
        hash.update(&bytes);
    }
    first_eight(hash)
}

fn preface(session: &Session, digest: &[u8; 8]) -> Vec<u8> {
    [&session.downlink().bytes()[..], digest].concat()
}

fn take_preface(session: &Session, payload: &mut &[u8]) -> Result<[u8; 8]> {
    let (found, wanted) = (take_array::<2>(payload)?, session.downlink().bytes());
    if found != wanted {
        return Err(refuse(format!(
            "its downlink is number {} on a grid of {} bits, and this session's is {} ({} on {}): give both sides the same --downlink",
            found[0],
            found[1],
            session.downlink(),
            wanted[0],
            wanted[1]
        )));
    }
    take_array(payload)
}
