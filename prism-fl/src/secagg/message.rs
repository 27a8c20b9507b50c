//! The messages of a sum, under the header of [`crate::moments::envelope`].
//!
//! ```text
//! both       stage u8 (0 keys, 1 shares, 2 input, 3 survivors, 4 unmask), the sum's name (41), then
//!            request, down                                          reply, up
//! keys       clients that are asked                                 advert (160)
//! shares     count, then for each: client, advert (160)             for each client of the request: dealt (112)
//! input      -                                                      the blinded vector, packed
//! survivors  clients that dealt; clients whose input came           signature (64)
//! unmask     count, then for each: client, signature (64);          for each dealer: 0, or 1 and a share (33)
//!            for each dealer: dealt (112)
//! ```
//!
//! Clients are lists: their number, u32, then each, u32, ascending. `dealt` is the pair of shares under ChaCha20-Poly1305 (80),
//! then the hash of each share (16 each).

use prism_core::{Error, Result};

use super::keys::{ADVERT_BYTES, Advert};
use super::sum::{ID_BYTES, Purpose, Stage, SumId, hash};
use crate::moments::envelope::{self, Kind};

/// Bytes of a pair of shares, encrypted.
pub const SEALED_BYTES: usize = 80;
/// Bytes of the hash by which a share is known.
pub const TAG_BYTES: usize = 16;
/// Bytes of a [`Dealt`].
pub const DEALT_BYTES: usize = SEALED_BYTES + 2 * TAG_BYTES;
/// Bytes of a share that is given, or of none.
pub const GIVEN_BYTES: usize = 33;

/// A client's two shares of another's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dealt {
    /// Both, encrypted for the holder.
    pub sealed: [u8; SEALED_BYTES],
    /// The hash of the share of the pair secret, and of the share of the own one.
    pub tags: [[u8; TAG_BYTES]; 2],
}

impl Dealt {
    /// Its bytes.
    pub fn bytes(&self) -> [u8; DEALT_BYTES] {
        let mut bytes = [0; DEALT_BYTES];
        bytes[..SEALED_BYTES].copy_from_slice(&self.sealed);
        bytes[SEALED_BYTES..SEALED_BYTES + TAG_BYTES].copy_from_slice(&self.tags[0]);
        bytes[SEALED_BYTES + TAG_BYTES..].copy_from_slice(&self.tags[1]);
        bytes
    }

    /// Reads them.
    pub fn from_bytes(bytes: &[u8; DEALT_BYTES]) -> Self {
        let tag = |at: usize| std::array::from_fn(|i| bytes[at + i]);
        let tags = [tag(SEALED_BYTES), tag(SEALED_BYTES + TAG_BYTES)];
        Dealt { sealed: std::array::from_fn(|i| bytes[i]), tags }
    }
}

/// The server's message to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The sum.
    pub id: SumId,
    /// What it asks for.
    pub body: Body,
}

/// What a request asks for, and on what grounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An advert, for a sum of these clients.
    Keys(Vec<u32>),
    /// Shares for all who sent these adverts.
    Shares(Vec<(u32, Advert)>),
    /// A signature under who dealt shares, and whose input came.
    Survivors {
        /// U_2.
        dealers: Vec<u32>,
        /// U_3.
        survivors: Vec<u32>,
    },
    /// One share of each dealer, now that so many have signed.
    Unmask {
        /// What they signed with.
        signatures: Vec<(u32, [u8; 64])>,
        /// What each dealer dealt to the receiver.
        dealt: Vec<Dealt>,
    },
}

impl Body {
    /// Its stage.
    pub fn stage(&self) -> Stage {
        match self {
            Body::Keys(_) => Stage::Keys,
            Body::Shares(_) => Stage::Shares,
            Body::Survivors { .. } => Stage::Survivors,
            Body::Unmask { .. } => Stage::Unmask,
        }
    }
}

impl Request {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = preface(self.body.stage(), &self.id);
        match &self.body {
            Body::Keys(members) => put_clients(&mut payload, members),
            Body::Shares(adverts) => {
                put_number(&mut payload, adverts.len() as u32);
                for (client, advert) in adverts {
                    put_number(&mut payload, *client);
                    payload.extend(advert.bytes());
                }
            }
            Body::Survivors { dealers, survivors } => {
                put_clients(&mut payload, dealers);
                put_clients(&mut payload, survivors);
            }
            Body::Unmask { signatures, dealt } => {
                put_number(&mut payload, signatures.len() as u32);
                for (client, signature) in signatures {
                    put_number(&mut payload, *client);
                    payload.extend(signature);
                }
                dealt.iter().for_each(|dealt| payload.extend(dealt.bytes()));
            }
        }
        envelope::seal(Kind::SumRequest, &payload)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let payload = open(Kind::SumRequest, bytes)?;
        let (stage, id, mut rest) = take_preface(payload)?;
        let rest = &mut rest;
        let body = match stage {
            Stage::Keys => Body::Keys(take_clients(rest)?),
            Stage::Shares => {
                let list = take_table::<ADVERT_BYTES>(rest)?;
                Body::Shares(list.into_iter().map(|(client, advert)| (client, Advert::from_bytes(advert))).collect())
            }
            Stage::Survivors => Body::Survivors { dealers: take_clients(rest)?, survivors: take_clients(rest)? },
            Stage::Unmask => {
                let list = take_table::<64>(rest)?;
                let signatures = list.into_iter().map(|(client, signature)| (client, *signature)).collect();
                let (dealt, more) = std::mem::take(rest).as_chunks::<DEALT_BYTES>();
                *rest = more;
                Body::Unmask { signatures, dealt: dealt.iter().map(Dealt::from_bytes).collect() }
            }
            Stage::Input => return Err(refuse("nobody asks for a blinded vector in this form")),
        };
        match rest {
            [] => Ok(Request { id, body }),
            more => Err(refuse(format!("{} bytes follow its end", more.len()))),
        }
    }
}

/// What the sum is for that a message of the server is about; none where it is about no secure sum.
///
/// # Errors
/// [`Error::Corrupt`] if the bytes are such a request, damaged.
pub fn purpose(bytes: &[u8]) -> Result<Option<Purpose>> {
    if bytes.get(6..8) != Some(&(Kind::SumRequest as u16).to_le_bytes()[..]) {
        return Ok(None);
    }
    Ok(Some(take_preface(open(Kind::SumRequest, bytes)?)?.1.purpose))
}

/// The reply of a client in one stage of the sum `id`.
pub fn encode_reply(stage: Stage, id: &SumId, body: &[u8]) -> Vec<u8> {
    let mut payload = preface(stage, id);
    payload.extend_from_slice(body);
    envelope::seal(Kind::SumReply, &payload)
}

/// What a client replies in this stage of the sum `id`.
///
/// # Errors
/// [`Error::Corrupt`] if the bytes are a reply in another stage, to another sum, or none.
pub fn decode_reply<'a>(stage: Stage, id: &SumId, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let payload = open(Kind::SumReply, bytes)?;
    let (found, of, body) = take_preface(payload)?;
    if of != *id {
        return Err(refuse(format!("it is of the sum of {of}, and {id} goes on: a late message must be thrown away")));
    }
    if found != stage {
        let (found, stage) = (found.name(), stage.name());
        return Err(refuse(format!("it is of the exchange of {found}, and {stage} goes on")));
    }
    Ok(body)
}

/// A reply's body of `N` bytes.
///
/// # Errors
/// [`Error::Corrupt`] if it has more or fewer.
pub fn exactly<const N: usize>(body: &[u8]) -> Result<&[u8; N]> {
    body.try_into().map_err(|_| refuse(format!("it has {} bytes and {N} are due", body.len())))
}

/// What the clients whose input came sign in the exchange of survivors: all that they have seen of the sum.
pub fn transcript(id: &SumId, adverts: &[(u32, Advert)], dealers: &[u32], survivors: &[u32]) -> [u8; 32] {
    let mut seen = Vec::new();
    put_number(&mut seen, adverts.len() as u32);
    for (client, advert) in adverts {
        put_number(&mut seen, *client);
        seen.extend(advert.bytes());
    }
    put_clients(&mut seen, dealers);
    put_clients(&mut seen, survivors);
    hash("survivors", &[&id.bytes(), &seen])
}

/// The refusal of a message.
pub fn refuse(why: impl Into<String>) -> Error {
    Error::corrupt("a message of a secure sum", why)
}

fn open(kind: Kind, bytes: &[u8]) -> Result<&[u8]> {
    envelope::open(kind, bytes).map_err(|error| match error {
        prism_nn::Error::Core(error) => error,
        other => refuse(other.to_string()),
    })
}

fn preface(stage: Stage, id: &SumId) -> Vec<u8> {
    let mut payload = vec![stage as u8];
    payload.extend(id.bytes());
    payload
}

fn take_preface(payload: &[u8]) -> Result<(Stage, SumId, &[u8])> {
    let (&stage, rest) = payload.split_first().ok_or_else(short)?;
    let (id, rest) = rest.split_first_chunk::<ID_BYTES>().ok_or_else(short)?;
    let stage = Stage::ALL.get(usize::from(stage)).copied();
    let stage = stage.ok_or_else(|| refuse("it is of no exchange that this version knows: update the older side"))?;
    let id = SumId::from_bytes(id)
        .ok_or_else(|| refuse("it is of no sum that this version knows: update the older side"))?;
    Ok((stage, id, rest))
}

fn put_number(payload: &mut Vec<u8>, number: u32) {
    payload.extend(number.to_le_bytes());
}

fn put_clients(payload: &mut Vec<u8>, clients: &[u32]) {
    put_number(payload, clients.len() as u32);
    clients.iter().for_each(|&client| put_number(payload, client));
}

fn take_number(rest: &mut &[u8]) -> Result<u32> {
    let (number, more) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    *rest = more;
    Ok(u32::from_le_bytes(*number))
}

fn take_clients(rest: &mut &[u8]) -> Result<Vec<u32>> {
    let clients: Vec<u32> = take_table::<0>(rest)?.into_iter().map(|(client, _)| client).collect();
    Ok(clients)
}

/// Entries of `N` bytes under ascending clients. Their number is bounded by the bytes that are there.
fn take_table<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<Vec<(u32, &'a [u8; N])>> {
    let count = take_number(rest)? as usize;
    if count > rest.len() / (4 + N) {
        return Err(short());
    }
    let mut table: Vec<(u32, &[u8; N])> = Vec::with_capacity(count);
    for _ in 0..count {
        let client = take_number(rest)?;
        if table.last().is_some_and(|(last, _)| *last >= client) {
            return Err(refuse(format!("it lists client {client} behind one of a higher number, or twice")));
        }
        let (entry, more) = rest.split_first_chunk::<N>().ok_or_else(short)?;
        *rest = more;
        table.push((client, entry));
    }
    Ok(table)
}

fn short() -> Error {
    refuse("it ends before its last field")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> SumId {
        SumId { federation: [3; 32], purpose: Purpose::Moments, round: 0, attempt: 2 }
    }

    fn requests() -> Vec<Request> {
        let advert = Advert { channel: [1; 32], pair: [2; 32], commitment: [3; 32], signature: [4; 64] };
        let dealt = Dealt { sealed: [5; SEALED_BYTES], tags: [[6; TAG_BYTES], [7; TAG_BYTES]] };
        let bodies = [
            Body::Keys(vec![0, 3, 9]),
            Body::Shares(vec![(0, advert), (9, advert)]),
            Body::Survivors { dealers: vec![0, 3, 9], survivors: vec![3, 9] },
            Body::Unmask { signatures: vec![(3, [8; 64]), (9, [9; 64])], dealt: vec![dealt; 3] },
        ];
        bodies.map(|body| Request { id: id(), body }).into()
    }

    #[test]
    fn every_request_goes_through_its_bytes_and_no_shorter_ones() {
        for request in requests() {
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes).unwrap(), request);
            let payload = envelope::open(Kind::SumRequest, &bytes).unwrap();
            for length in 0..payload.len() {
                let cut = Request::decode(&envelope::seal(Kind::SumRequest, &payload[..length]));
                // Only what is dealt has no count before it.
                let whole = cut.is_err() || request.body.stage() == Stage::Unmask;
                assert!(whole && Request::decode(&bytes[..length]).is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn a_reply_is_of_one_stage_and_sum() {
        let bytes = encode_reply(Stage::Shares, &id(), b"dealt");
        assert_eq!(decode_reply(Stage::Shares, &id(), &bytes).unwrap(), b"dealt");
        let other = SumId { attempt: 1, ..id() };
        assert!(decode_reply(Stage::Shares, &other, &bytes).unwrap_err().to_string().contains("late message"));
        assert!(decode_reply(Stage::Unmask, &id(), &bytes).unwrap_err().to_string().contains("exchange of shares"));
    }

    proptest! {
        /// Under a right checksum, so that what is behind it is reached.
        #[test]
        fn random_and_mutated_bytes_are_refused_or_have_one_form(
            which in 0usize..5, at in any::<prop::sample::Index>(), flip in 1u8.., tail in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut payload = match requests().get(which) {
                Some(request) => envelope::open(Kind::SumRequest, &request.encode()).unwrap().to_vec(),
                None => preface(Stage::ALL[tail.len() % 5], &id()),
            };
            if which < 4 {
                let at = at.index(payload.len());
                payload[at] ^= flip;
            }
            if which == 4 || flip > 128 {
                payload.extend(&tail);
            }
            let sealed = envelope::seal(Kind::SumRequest, &payload);
            if let Ok(request) = Request::decode(&sealed) {
                prop_assert_eq!(request.encode(), sealed);
            }
            let reply = envelope::seal(Kind::SumReply, &payload);
            for stage in Stage::ALL {
                let _ = decode_reply(stage, &id(), &reply).and_then(exactly::<ADVERT_BYTES>);
            }
            let _ = (Request::decode(&payload), Request::decode(&tail));
        }
    }
}
