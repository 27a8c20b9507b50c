//! The 50 bytes before every payload, and the checks that a message must pass before its payload is looked at.
//!
//! ```text
//! offset  0: magic "PRSM"        offset 18: architecture digest, 8 bytes
//!         4: version, u16               26: seed, u64
//!         6: kind, u8                   34: payload length, u64
//!         7: codec, u8                  42: checksum, 8 bytes: the first of SHA-256 over
//!         8: round, u32                     header bytes 0..42, then the payload
//!        12: client, u32 (0 in a broadcast)
//!        16: score layers, u16
//! ```

use sha2::{Digest, Sha256};

use super::{Session, first_eight};
use crate::codec::Uplink;
use prism_core::error::{Error, Result};

/// Version of the message format; a reader accepts no other.
pub const VERSION: u16 = 3;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 50;

const MAGIC: [u8; 4] = *b"PRSM";
const CHECKSUM_AT: usize = 42;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Server to clients: the scores of a round.
    Broadcast,
    /// Client to server: its mask.
    Update,
}

impl Kind {
    fn from_byte(byte: u8) -> Result<Self> {
        match byte {
            1 => Ok(Kind::Broadcast),
            2 => Ok(Kind::Update),
            _ => Err(refuse(format!("its kind is {byte}; this version knows 1 (broadcast) and 2 (update)"))),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Kind::Broadcast => 1,
            Kind::Update => 2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Broadcast => "a broadcast",
            Kind::Update => "an update",
        }
    }
}

/// How the payload is written: an update's codec, or a broadcast's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// Scores as 4-byte floats, mask bits packed eight to a byte.
    Raw,
    /// Mask by minimal random coding.
    Mrc,
    /// Mask under blinds that cancel in the sum.
    Sums,
    /// Differences from the mask that both sides expect.
    Flips,
    /// Records of the rounds since the receiver's state.
    Replay,
    /// The whole state on a grid.
    Snapshot,
}

impl Codec {
    fn from_byte(kind: Kind, byte: u8) -> Result<Self> {
        let known = match kind {
            Kind::Update => &[Codec::Raw, Codec::Mrc, Codec::Sums, Codec::Flips][..],
            Kind::Broadcast => &[Codec::Raw, Codec::Replay, Codec::Snapshot],
        };
        let codec = known.get(usize::from(byte)).copied();
        codec.ok_or_else(|| {
            refuse(format!("its codec is {byte}; this version knows 0 to {}: update the receiver", known.len() - 1))
        })
    }

    fn byte(self) -> u8 {
        match self {
            Codec::Raw => 0,
            Codec::Mrc | Codec::Replay => 1,
            Codec::Sums | Codec::Snapshot => 2,
            Codec::Flips => 3,
        }
    }
}

impl From<Uplink> for Codec {
    fn from(uplink: Uplink) -> Self {
        match uplink {
            Uplink::Raw => Codec::Raw,
            Uplink::Mrc => Codec::Mrc,
            Uplink::Sums => Codec::Sums,
            Uplink::Flips => Codec::Flips,
        }
    }
}

/// A message's header, whose magic, version and checksum have been found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Broadcast or update.
    pub kind: Kind,
    /// How the payload is written.
    pub codec: Codec,
    /// Round number.
    pub round: u32,
    /// The sending client; 0 in a broadcast.
    pub client: u32,
    /// How many of the last layers an update carries as scores.
    pub score_layers: u16,
    /// [`architecture_digest`](super::architecture_digest) of the sender's architecture.
    pub architecture: [u8; 8],
    /// Seed of the sender's frozen weights.
    pub seed: u64,
}

impl Header {
    /// The header of an update under the session's codec.
    pub fn update(session: &Session, round: u32, client: u32) -> Self {
        Self::new(session, Kind::Update, session.uplink().into(), round, client)
    }

    /// The header of a broadcast in the form of `codec`.
    pub fn broadcast(session: &Session, codec: Codec, round: u32) -> Self {
        Self::new(session, Kind::Broadcast, codec, round, 0)
    }

    fn new(session: &Session, kind: Kind, codec: Codec, round: u32, client: u32) -> Self {
        let (architecture, seed) = (session.digest, session.seed);
        // An architecture has at most 21 layers, so the count of score layers fits.
        let score_layers = session.score_layers as u16;
        Header { kind, codec, round, client, score_layers, architecture, seed }
    }

    /// Reads and checks a whole message's header, for a receiver that must know what came before it decodes it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] on a wrong magic, version, length or checksum.
    pub fn parse(message: &[u8]) -> Result<Self> {
        let mut fields = Fields { bytes: header_bytes(message)? };
        if fields.take::<4>() != MAGIC {
            return Err(refuse("it does not begin with `PRSM`: this is not a PRISM message"));
        }
        let version = u16::from_le_bytes(fields.take());
        if version != VERSION {
            return Err(refuse(format!(
                "its version is {version} and this program speaks version {VERSION}: update the older side"
            )));
        }
        let [kind] = fields.take();
        let [codec] = fields.take();
        let kind = Kind::from_byte(kind)?;
        let header = Header {
            kind,
            codec: Codec::from_byte(kind, codec)?,
            round: u32::from_le_bytes(fields.take()),
            client: u32::from_le_bytes(fields.take()),
            score_layers: u16::from_le_bytes(fields.take()),
            architecture: fields.take(),
            seed: u64::from_le_bytes(fields.take()),
        };
        check_payload(message, u64::from_le_bytes(fields.take()))?;
        Ok(header)
    }

    /// The checksum of a whole message whose header was parsed.
    pub(super) fn checksum_of(message: &[u8]) -> [u8; 8] {
        message[CHECKSUM_AT..].first_chunk().copied().unwrap_or_default()
    }

    /// Appends `payload` to the header's bytes and fills in length and checksum.
    pub fn seal(&self, payload: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER_BYTES + payload.len());
        message.extend_from_slice(&MAGIC);
        message.extend_from_slice(&VERSION.to_le_bytes());
        message.extend_from_slice(&[self.kind.byte(), self.codec.byte()]);
        message.extend_from_slice(&self.round.to_le_bytes());
        message.extend_from_slice(&self.client.to_le_bytes());
        message.extend_from_slice(&self.score_layers.to_le_bytes());
        message.extend_from_slice(&self.architecture);
        message.extend_from_slice(&self.seed.to_le_bytes());
        message.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        let sum = checksum(&message, payload);
        message.extend_from_slice(&sum);
        message.extend_from_slice(payload);
        message
    }

    /// Refuses a message of another kind, round, client, seed or architecture than the receiver waits for.
    pub(super) fn expect(&self, wanted: &Header) -> Result<()> {
        let (kind, wanted_kind) = (self.kind.name(), wanted.kind.name());
        if self.kind != wanted.kind {
            return Err(refuse(format!("it is {kind}, and the receiver waits for {wanted_kind}")));
        }
        if self.architecture != wanted.architecture {
            return Err(refuse(format!(
                "its architecture has the digest {:016x} and the receiver's {:016x}: give both sides the same settings",
                u64::from_be_bytes(self.architecture),
                u64::from_be_bytes(wanted.architecture)
            )));
        }
        if self.codec != wanted.codec {
            return Err(refuse(format!(
                "its codec is {:?} and the receiver waits for {:?}: give both sides the same codec",
                self.codec, wanted.codec
            )));
        }
        let numbers = [
            ("seed", self.seed, wanted.seed, "give both sides the same seed"),
            ("round", self.round.into(), wanted.round.into(), "a late message must be thrown away"),
            ("client", self.client.into(), wanted.client.into(), "only the client that was asked may answer"),
            (
                "number of score layers",
                self.score_layers.into(),
                wanted.score_layers.into(),
                "give both sides the same alpha",
            ),
        ];
        for (what, found, wanted, remedy) in numbers {
            if found != wanted {
                return Err(refuse(format!("its {what} is {found} and the receiver waits for {wanted}: {remedy}")));
            }
        }
        Ok(())
    }
}

/// The refusal of a message.
pub(super) fn refuse(why: impl Into<String>) -> Error {
    Error::corrupt("a message", why)
}

fn header_bytes(message: &[u8]) -> Result<&[u8; HEADER_BYTES]> {
    message.first_chunk().ok_or_else(|| {
        refuse(format!("it has {} bytes and a header alone takes {HEADER_BYTES}: it was cut short", message.len()))
    })
}

fn check_payload(message: &[u8], claimed: u64) -> Result<()> {
    let (header, payload) = message.split_at(HEADER_BYTES);
    if payload.len() as u64 != claimed {
        return Err(refuse(format!(
            "its payload has {} bytes and its header says {claimed}: it was cut short or altered",
            payload.len()
        )));
    }
    if checksum(&header[..CHECKSUM_AT], payload) != header[CHECKSUM_AT..] {
        return Err(refuse("its checksum is wrong: it was altered on the way, so send it again"));
    }
    Ok(())
}

fn checksum(header: &[u8], payload: &[u8]) -> [u8; 8] {
    first_eight(Sha256::new().chain_update(header).chain_update(payload))
}

/// Reads fixed-size fields one after another; the fields of [`Header::parse`] end before the header does.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        let (head, rest) = self.bytes.split_at(N.min(self.bytes.len()));
        field[..head.len()].copy_from_slice(head);
        self.bytes = rest;
        field
    }
}
