//! [`Reveal`]: what lets the server take a lost client out of a blinded sum.
//!
//! ```text
//! payload    the client that was lost (4), the key that the sender shares with it (32)
//! ```

use super::header::Header;
use super::payload::{end, take_array, take_u32};
use super::{Session, open};
use crate::codec::Blind;
use prism_core::error::Result;

/// A key shared with a client that did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reveal {
    /// Round number.
    pub round: u32,
    /// The client that reveals.
    pub client: u32,
    /// The client that was lost.
    pub lost: u32,
    /// The key of both.
    pub key: [u8; 32],
}

impl Reveal {
    /// The message's bytes.
    pub fn encode(&self, session: &Session) -> Vec<u8> {
        let payload = [&self.lost.to_le_bytes()[..], &self.key].concat();
        Header::reveal(session, self.round, self.client).seal(&payload)
    }

    /// Reads what `client` reveals in `round`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](prism_core::Error::Corrupt) if the bytes are not such a message of this session.
    pub fn decode(bytes: &[u8], session: &Session, round: u32, client: u32) -> Result<Self> {
        let mut payload = open(bytes, &Header::reveal(session, round, client))?;
        let (lost, key) = (take_u32(&mut payload)?, take_array(&mut payload)?);
        end(payload)?;
        Ok(Reveal { round, client, lost, key })
    }

    /// What takes the sender's share of the lost client's blind out of the sum.
    pub fn correction(&self) -> Blind {
        Blind { key: self.key, added: self.client > self.lost }
    }
}
