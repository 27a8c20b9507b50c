//! The 24 bytes before a message of moments, and what a receiver checks before it looks at the payload.
//!
//! ```text
//! offset 0: magic "PRSO"        offset  8: payload length, u64
//!        4: version, u16               16: checksum, 8 bytes: the first of SHA-256 over bytes 0..16, then the payload
//!        6: kind, u16
//! ```

use prism_core::Error;
use prism_nn::Result;
use sha2::{Digest, Sha256};

const MAGIC: [u8; 4] = *b"PRSO";
const VERSION: u16 = 2;
const CHECKSUM_AT: usize = 16;
/// Bytes before the payload.
pub const BYTES: usize = 24;

/// What a message of moments holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client's moments without noise ([`super::message`]).
    Moments = 1,
    /// A client's own noisy release ([`crate::privacy::message`]).
    Noisy = 2,
    /// A client's part of a secure sum (ibid).
    Ring = 3,
    /// The server's request before the first round ([`crate::setup`]).
    Setup = 4,
    /// The reply of a client that has nothing to tell (ibid).
    Done = 5,
    /// The server's request in a secure sum ([`crate::secagg::message`]).
    SumRequest = 6,
    /// A client's reply to it (ibid).
    SumReply = 7,
    /// A client's counts without noise ([`crate::privacy::message`]).
    Counts = 8,
}

/// The message that carries `payload`.
pub fn seal(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES + payload.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((kind as u16).to_le_bytes());
    bytes.extend((payload.len() as u64).to_le_bytes());
    bytes.extend(checksum(&bytes, payload));
    bytes.extend(payload);
    bytes
}

/// The payload of the message `bytes`.
///
/// # Errors
/// [`Error::Corrupt`] if it is not a whole and undamaged message of this kind and version.
pub fn open(kind: Kind, bytes: &[u8]) -> Result<&[u8]> {
    let refuse = |why: String| Err(Error::corrupt("a message of moments", why).into());
    let Some((header, payload)) = bytes.split_at_checked(BYTES) else {
        return refuse(format!("it has {} bytes, and its header alone {BYTES}", bytes.len()));
    };
    let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if header[..4] != MAGIC || short(4) != VERSION {
        return refuse(format!("it does not begin as version {VERSION} does"));
    }
    if short(6) != kind as u16 {
        return refuse(format!("it is of kind {} where {} ({kind:?}) is due", short(6), kind as u16));
    }
    if header[8..CHECKSUM_AT] != (payload.len() as u64).to_le_bytes() {
        return refuse(format!("its payload of {} bytes is not as long as it says", payload.len()));
    }
    if header[CHECKSUM_AT..] != checksum(&header[..CHECKSUM_AT], payload) {
        return refuse("its checksum is wrong".into());
    }
    Ok(payload)
}

fn checksum(header: &[u8], payload: &[u8]) -> [u8; 8] {
    let hash = Sha256::new().chain_update(header).chain_update(payload).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_message_is_opened() {
        let message = seal(Kind::Noisy, b"seven by");
        assert_eq!(message.len(), 32);
        assert_eq!(open(Kind::Noisy, &message).unwrap(), b"seven by");
        assert!(open(Kind::Ring, &message).unwrap_err().to_string().contains("kind 2"));
        for length in 0..message.len() {
            assert!(open(Kind::Noisy, &message[..length]).is_err(), "length {length}");
        }
        for bit in 0..8 * message.len() {
            let mut damaged = message.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(Kind::Noisy, &damaged).is_err(), "bit {bit}");
        }
        assert!(open(Kind::Noisy, &[&message[..], b"x"].concat()).is_err());
    }
}
