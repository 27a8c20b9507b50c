//! The answers to one round: read one by one, on any thread, then counted in order.
//!
//! ```text
//! read     one client's message, if it is one of this round, run and client
//! count    what was read, once for each client
//! reveal   under blinded sums, the key of a client that was lost
//! close    what the answers come to
//! ```

use std::sync::Arc;

use prism_core::codec::{Prior, Sums, Uplink, flips};
use prism_core::mask::LayerBits;
use prism_core::wire::{Downlink, HEADER_BYTES, Reveal, Session, Update};
use prism_core::{Error, Result};

use super::tally::Tally;

/// The answers to one round.
pub struct Ballot {
    session: Session,
    round: u32,
    prior: Arc<Prior>,
    tally: Tally,
    /// Under blinded sums, the clients asked and the sum so far.
    sums: Option<(Vec<u32>, Sums)>,
    /// Who answered, with the payload where it will be relayed.
    updates: Vec<(u32, Vec<u8>)>,
}

/// A client's answer, read and not yet counted.
pub struct Reading {
    client: u32,
    mask: ReadMask,
    /// The payload, where it will be relayed.
    relayed: Vec<u8>,
}

enum ReadMask {
    Plain(Update),
    /// Numbers that mean something in sum only, and the mask that is to be taken off the sum.
    Blinded(Sums, LayerBits),
}

/// What the answers of a round come to.
pub struct Count {
    /// The round.
    pub round: u32,
    /// The prior of the round's beginning.
    pub prior: Arc<Prior>,
    /// The answers' sum.
    pub tally: Tally,
    /// Who answered, with the payload where it will be relayed.
    pub updates: Vec<(u32, Vec<u8>)>,
}

impl Ballot {
    /// An empty ballot of `round`, before which clients knew `prior`, and in which `asked` may answer.
    pub fn new(session: &Session, round: u32, prior: Arc<Prior>, asked: &[u32]) -> Self {
        let blinded = session.uplink() == Uplink::Sums;
        let sums = blinded.then(|| (asked.to_vec(), Sums::new(session.mask_weights(), asked.len())));
        Ballot { session: session.clone(), round, prior, tally: Tally::new(session), sums, updates: Vec::new() }
    }

    /// Decodes the answer of `client`. Nothing is counted, so that several can be read at once.
    ///
    /// # Errors
    /// If the bytes are not an update of this round, this client and this session.
    pub fn read(&self, client: u32, bytes: &[u8]) -> Result<Reading> {
        let mask = match &self.sums {
            None => ReadMask::Plain(Update::decode(bytes, &self.session, &self.prior, self.round, client)?),
            Some((asked, _)) => ReadMask::Blinded(
                Update::decode_sums(bytes, &self.session, asked.len(), self.round, client)?,
                flips::expected(&self.prior, self.session.shared(self.round, client)),
            ),
        };
        let relayed = match self.session.downlink() {
            Downlink::Relay => bytes[HEADER_BYTES..].to_vec(),
            _ => Vec::new(),
        };
        Ok(Reading { client, mask, relayed })
    }

    /// Counts an answer.
    ///
    /// # Errors
    /// If the client has answered already, or the answer was read for another ballot; this one is then unchanged.
    pub fn count(&mut self, reading: Reading) -> Result<()> {
        let Reading { client, mask, relayed } = reading;
        if self.answered(client) {
            return Err(Error::corrupt(
                "a message",
                format!("client {client} has already answered in round {}: only the first answer counts", self.round),
            ));
        }
        match (mask, &mut self.sums) {
            (ReadMask::Blinded(numbers, expected), Some((_, sums))) => {
                sums.add(&numbers);
                self.tally.expect(&expected);
            }
            (ReadMask::Plain(update), None) => self.tally.add(&update),
            _ => return Err(Error::corrupt("a message", "it was read for a round of another uplink")),
        }
        self.updates.push((client, relayed));
        Ok(())
    }

    fn answered(&self, client: u32) -> bool {
        self.updates.iter().any(|(who, _)| *who == client)
    }

    /// Under blinded sums, the clients that answered and for each of them those whose blinds it must reveal: none otherwise,
    /// or if all answered, or if nobody did.
    pub fn missing(&self) -> impl Iterator<Item = (u32, u32)> {
        let asked = self.sums.iter().flat_map(|(asked, _)| asked.iter().copied());
        let lost = asked.filter(|&client| !self.answered(client));
        lost.flat_map(|lost| self.updates.iter().map(move |(client, _)| (*client, lost)))
    }

    /// Takes a lost client's blind out of the sum, as far as `client` shared it.
    ///
    /// # Errors
    /// If the bytes are not what `client` reveals in this round about a client that did not answer.
    pub fn reveal(&mut self, client: u32, bytes: &[u8]) -> Result<()> {
        let reveal = Reveal::decode(bytes, &self.session, self.round, client)?;
        if !self.missing().any(|pair| pair == (client, reveal.lost)) {
            return Err(Error::corrupt(
                "a message",
                format!("client {client} reveals the key of client {}, which nobody asked for", reveal.lost),
            ));
        }
        if let Some((_, sums)) = &mut self.sums {
            sums.blind(&reveal.correction());
        }
        Ok(())
    }

    /// Ends the round.
    ///
    /// Where a blinded sum is above the number of clients, somebody's blinds were wrong; nobody can say whose, so the round counts
    /// as one that nobody answered.
    pub fn close(self) -> Count {
        let Ballot { session, round, prior, mut tally, sums, updates } = self;
        if let Some((_, sums)) = sums
            && !tally.add_votes(&sums.votes())
        {
            tally = Tally::new(&session);
        }
        Count { round, prior, tally, updates }
    }
}
