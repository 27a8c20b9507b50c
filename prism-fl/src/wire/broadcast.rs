//! [`Broadcast`]: what opens a round, down to the clients.
//!
//! ```text
//! last (4); under the uplink sums: clients of the round (4), each client (4)
//! then   scores      every layer's scores, f32
//!        replay      downlink, grid bits, state digest (8), then for each round base+1 .. round-1: length (4), record
//!        snapshot    downlink, grid bits, state digest (8), code of every score's index on the grid
//! ```
//!
//! `last` is the round of the receiver's last answer that counted, 0 for none. When it gave that answer it knew the state after
//! round base = last - 1 (0 before its first); from there it replays the records of the rounds that it missed
//! ([`super::record`]). One that missed too many, or has lost its state, takes a snapshot. The digest is that of the state which
//! either must lead to.

use sha2::{Digest, Sha256};

use super::header::{Codec, HEADER_BYTES, Header, refuse};
use super::payload::{end, put_block, put_scores, take_array, take_block, take_scores, take_u32};
use super::{Session, first_eight};
use crate::codec::counts::MOST_ANSWERS;
use crate::codec::{Uplink, snapshot};
use prism_core::error::Result;

/// The message that opens a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// The round of the receiver's last answer that counted; 0 for none.
    pub last: u32,
    /// The clients of the round, where these must know each other (secure sums); empty elsewhere.
    pub cohort: Vec<u32>,
    /// The state, in the one form that the session allows or the two that catch up.
    pub content: Content,
}

/// What a broadcast says before its content.
#[derive(Clone, Debug, PartialEq)]
pub struct Preface {
    /// The round that it opens.
    pub round: u32,
    /// See [`Broadcast::last`].
    pub last: u32,
    /// See [`Broadcast::cohort`].
    pub cohort: Vec<u32>,
    /// Whether it goes on from the state that the receiver last knew.
    pub is_replay: bool,
    /// The message's checksum.
    pub checksum: [u8; 8],
}

/// How a broadcast brings the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The scores of every layer.
    Scores(Vec<Vec<f32>>),
    /// What happened since the state that the receiver last knew.
    Replay {
        /// The records of the rounds from [`Broadcast::base`] + 1 to the one before this broadcast's.
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
    /// The round after which the state was that a client knew in its round `last`.
    pub fn base_of(last: u32) -> u32 {
        last.saturating_sub(1)
    }

    /// The round after which the receiver's state is taken to be.
    pub fn base(&self) -> u32 {
        Self::base_of(self.last)
    }

    /// The message's bytes.
    ///
    /// # Panics
    /// If the scores do not have the session's shapes, or the session's downlink has no such broadcast.
    pub fn encode(&self, session: &Session, round: u32) -> Vec<u8> {
        let mut payload = self.last.to_le_bytes().to_vec();
        if session.uplink() == Uplink::Sums {
            let numbers = std::iter::once(self.cohort.len() as u32).chain(self.cohort.iter().copied());
            numbers.for_each(|number| payload.extend_from_slice(&number.to_le_bytes()));
        }
        let codec = match &self.content {
            Content::Scores(scores) => {
                assert_eq!(session.layers().len(), scores.len(), "one vector of scores per layer");
                session.layers().iter().zip(scores).for_each(|(layer, s)| put_scores(&mut payload, layer, s));
                Codec::Raw
            }
            Content::Replay { records, digest } => {
                payload.extend(preface(session, digest));
                records.iter().for_each(|record| put_block(&mut payload, record));
                Codec::Replay
            }
            Content::Snapshot { indices, digest } => {
                let grid = session.downlink().grid().expect("a downlink without a grid has no snapshots");
                payload.extend(preface(session, digest));
                payload.extend_from_slice(&snapshot::encode(indices, grid));
                Codec::Snapshot
            }
        };
        Header::broadcast(session, codec, round).seal(&payload)
    }

    /// What the broadcast `bytes` says before its content.
    ///
    /// # Errors
    /// [`Error::Corrupt`](prism_core::Error::Corrupt) if the bytes are cut short, altered, or of another kind, version, seed or
    /// architecture.
    pub fn preface(bytes: &[u8], session: &Session) -> Result<Preface> {
        Ok(take_start(bytes, session)?.0)
    }

    /// The round that the broadcast `bytes` opens, and what it says.
    ///
    /// # Errors
    /// [`Error::Corrupt`](prism_core::Error::Corrupt) if the bytes are cut short, altered, of another kind, version,
    /// seed, architecture or downlink, or hold a score that is no finite number.
    pub fn decode(bytes: &[u8], session: &Session) -> Result<(u32, Self)> {
        let (Preface { round, last, cohort, .. }, codec, payload) = take_start(bytes, session)?;
        let content = take_content(codec, session, Self::base_of(last)..round, payload)?;
        Ok((round, Broadcast { last, cohort, content }))
    }
}

/// The header and the fields before the content, the content's codec and its bytes.
fn take_start<'a>(bytes: &'a [u8], session: &Session) -> Result<(Preface, Codec, &'a [u8])> {
    let header = Header::parse(bytes)?;
    let round = header.round;
    header.expect(&Header::broadcast(session, header.codec, round))?;
    let mut payload = &bytes[HEADER_BYTES..];
    let last = take_u32(&mut payload)?;
    if last >= round {
        return Err(refuse(format!("it builds on the receiver's round {last} and opens round {round}")));
    }
    let cohort = if session.uplink() == Uplink::Sums { take_cohort(&mut payload)? } else { Vec::new() };
    let (is_replay, checksum) = (header.codec == Codec::Replay, Header::checksum_of(bytes));
    Ok((Preface { round, last, cohort, is_replay, checksum }, header.codec, payload))
}

fn take_cohort(payload: &mut &[u8]) -> Result<Vec<u32>> {
    let clients = take_u32(payload)?;
    if clients > MOST_ANSWERS {
        return Err(refuse(format!("it names {clients} clients, and a round has {MOST_ANSWERS} at most")));
    }
    let cohort = (0..clients).map(|_| take_u32(payload)).collect::<Result<Vec<_>>>()?;
    match cohort.windows(2).all(|pair| pair[0] < pair[1]) {
        true => Ok(cohort),
        false => Err(refuse("its clients are not in ascending order")),
    }
}

/// Reads the rest of the `payload`, of a broadcast whose receiver knows the state after the first round of `rounds` and which
/// opens the round at their end.
fn take_content(codec: Codec, session: &Session, rounds: std::ops::Range<u32>, mut payload: &[u8]) -> Result<Content> {
    match (codec, session.downlink().grid()) {
        (Codec::Raw, None) => {
            let take = |layer| take_scores(&mut payload, layer);
            let scores = session.layers().iter().map(take).collect::<Result<_>>()?;
            end(payload)?;
            Ok(Content::Scores(scores))
        }
        (Codec::Replay, Some(_)) => {
            let digest = take_preface(session, &mut payload)?;
            let records = rounds.skip(1).map(|_| Ok(take_block(&mut payload)?.to_vec())).collect::<Result<_>>()?;
            end(payload)?;
            Ok(Content::Replay { records, digest })
        }
        (Codec::Snapshot, Some(grid)) => {
            let digest = take_preface(session, &mut payload)?;
            // An index takes at most its own bits' worth of adaptive decisions, each at most 11 bits long.
            let most = 16 * session.weights() + 1024;
            if payload.len() > most {
                return Err(refuse(format!("its snapshot has {} bytes; the limit is {most}", payload.len())));
            }
            let indices = snapshot::decode(payload, session.weights(), grid).map_err(refuse)?;
            Ok(Content::Snapshot { indices, digest })
        }
        (codec, _) => Err(refuse(format!(
            "it is coded as {codec:?} and this session's downlink is {}: give both sides the same codec",
            session.downlink()
        ))),
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
            "its downlink is number {} on a grid of {} bits, and this session's is {} ({} on {}): give both sides the same codec",
            found[0],
            found[1],
            session.downlink(),
            wanted[0],
            wanted[1]
        )));
    }
    take_array(payload)
}
