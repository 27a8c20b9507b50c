//! The server's half of a sum: it passes on what clients say to each other, adds up what they send, and takes the blinds off.
//!
//! ```text
//! keys -> shares -> input -> survivors -> unmask -> opened
//!                   clients that answered: U_1, U_2, U_3, U_4, U_5; each exchange asks those of the one before
//! ```
//!
//! A server that is killed before the input is complete begins a new attempt, with fresh keys. From then on it has what it
//! needs in its folder, and goes on with the exchange that was interrupted: clients answer it with the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use prism_core::Result;

use super::keys::{ADVERT_BYTES, Advert};
use super::message::{
    self, Body, DEALT_BYTES, Dealt, GIVEN_BYTES, Request, decode_reply, encode_reply, exactly, refuse, transcript,
};
use super::opening::{self, Opening};
use super::peers::Peers;
use super::ring::RingVector;
use super::server_store::{Collected, ServerStore};
use super::sum::{Purpose, Stage, SumId, Terms};

/// Where a sum stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This exchange goes on.
    Open(Stage),
    /// The sum is known.
    Opened,
    /// It cannot be opened any more, for this reason.
    Failed(String),
}

/// What is to be summed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it is for.
    pub purpose: Purpose,
    /// The round; 0 before the first.
    pub round: u32,
    /// Bits of its numbers, and how many there are.
    pub shape: (u32, usize),
}

/// One attempt at a sum.
pub struct SecureSum {
    store: ServerStore,
    terms: Terms,
    peers: Peers,
    collected: Collected,
    standing: Standing,
    /// Bodies of the replies in this exchange.
    replies: BTreeMap<u32, Vec<u8>>,
    /// The sum of the inputs so far, then without blinds.
    total: RingVector,
}

impl SecureSum {
    /// Begins a sum of the `asked` clients, with the list of peers in `folder`; under `folder` its state is kept.
    ///
    /// # Errors
    /// If there is no list of peers, or the folder cannot be written.
    pub fn begin(folder: &Path, terms: Terms, plan: &Plan, asked: Vec<u32>) -> Result<Self> {
        let peers = Peers::load(folder)?;
        let earlier = ServerStore::new(folder).load(&plan.id(&terms, 0))?;
        let attempt = earlier.map_or(1, |(collected, _)| collected.id.attempt + 1);
        let collected = Collected::new(plan.id(&terms, attempt), asked);
        let store = ServerStore::new(folder);
        store.save(&collected)?;
        let total = RingVector::zeros(plan.shape.0, plan.shape.1);
        let standing = Standing::Open(Stage::Keys);
        let replies = BTreeMap::new();
        let mut sum = SecureSum { store, terms, peers, collected, standing, replies, total };
        if sum.collected.asked.len() < terms.needed {
            sum.fail(format!("{} clients can be asked", sum.collected.asked.len()));
        }
        Ok(sum)
    }

    /// The sum as it was left in `folder`, if its input was complete.
    ///
    /// # Errors
    /// If its state is damaged.
    pub fn resume(folder: &Path, terms: Terms, plan: &Plan) -> Result<Option<Self>> {
        let mut store = ServerStore::new(folder);
        let Some((collected, Some(total))) = store.load(&plan.id(&terms, 0))? else { return Ok(None) };
        let total = RingVector::unpack(plan.shape.0, plan.shape.1, &total).map_err(refuse)?;
        let standing = match (collected.opened, collected.signatures.is_empty()) {
            (true, _) => Standing::Opened,
            (false, false) => Standing::Open(Stage::Unmask),
            (false, true) => Standing::Open(Stage::Survivors),
        };
        let (peers, replies) = (Peers::load(folder)?, BTreeMap::new());
        Ok(Some(SecureSum { store, terms, peers, collected, standing, replies, total }))
    }

    /// The name of this attempt.
    pub fn id(&self) -> &SumId {
        &self.collected.id
    }

    /// Bits of its numbers, and the attempt.
    pub fn shape(&self) -> (u32, u32) {
        (self.total.width(), self.id().attempt)
    }

    /// Where it stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The clients that the present exchange asks.
    pub fn asked(&self) -> Vec<u32> {
        match self.standing {
            Standing::Open(Stage::Keys) => self.collected.asked.clone(),
            Standing::Open(Stage::Shares) => self.collected.adverts.keys().copied().collect(),
            Standing::Open(Stage::Input) => self.dealers(),
            Standing::Open(Stage::Survivors) | Standing::Opened => self.collected.survivors.clone(),
            Standing::Open(Stage::Unmask) => self.collected.signatures.keys().copied().collect(),
            Standing::Failed(_) => Vec::new(),
        }
    }

    /// The clients that shared keys, U_2: those for whom an input is blinded.
    pub fn dealers(&self) -> Vec<u32> {
        self.collected.dealt.keys().copied().collect()
    }

    /// The clients whose inputs are in the sum, U_3; nobody before it is complete.
    pub fn survivors(&self) -> &[u32] {
        &self.collected.survivors
    }

    /// The clients that have answered in this exchange.
    pub fn answered(&self) -> impl Iterator<Item = u32> {
        self.replies.keys().copied()
    }

    /// The sum, once it is opened.
    pub fn opened(&self) -> Option<&RingVector> {
        (self.standing == Standing::Opened).then_some(&self.total)
    }

    /// The message to `client` in the present exchange, unless it is that of input.
    ///
    /// # Errors
    /// If no such exchange goes on, or the client is not asked.
    pub fn request(&self, client: u32) -> Result<Vec<u8>> {
        let stage = self.exchange_of(client)?;
        let collected = &self.collected;
        let body = match stage {
            Stage::Keys => Body::Keys(collected.asked.clone()),
            Stage::Shares => Body::Shares(self.adverts()),
            Stage::Survivors => Body::Survivors { dealers: self.dealers(), survivors: collected.survivors.clone() },
            Stage::Unmask => {
                let signatures = collected.signatures.iter().take(self.terms.threshold());
                let signatures = signatures.map(|(client, signature)| (*client, *signature)).collect();
                Body::Unmask { signatures, dealt: self.dealt_to(client)? }
            }
            Stage::Input => {
                return Err(refuse("the request for input is the round's broadcast or the setup's request"));
            }
        };
        Ok(Request { id: self.id().clone(), body }.encode())
    }

    fn adverts(&self) -> Vec<(u32, Advert)> {
        self.collected.adverts.iter().map(|(client, bytes)| (*client, Advert::from_bytes(bytes))).collect()
    }

    pub(super) fn dealt_to(&self, client: u32) -> Result<Vec<Dealt>> {
        let at = self.collected.adverts.keys().position(|&holder| holder == client);
        let at = at.ok_or_else(|| refuse(format!("client {client} has no keys in this sum")))?;
        let entry = |dealt: &Vec<u8>| {
            let bytes =
                dealt.as_chunks::<DEALT_BYTES>().0.get(at).ok_or_else(|| refuse("a client dealt too few shares"))?;
            Ok(Dealt::from_bytes(bytes))
        };
        self.collected.dealt.values().map(entry).collect()
    }

    fn exchange_of(&self, client: u32) -> Result<Stage> {
        let stage = match &self.standing {
            Standing::Open(stage) => *stage,
            Standing::Opened => return Err(refuse(format!("the sum of {} is opened: it is too late", self.id()))),
            Standing::Failed(why) => return Err(refuse(format!("the sum of {} has failed: {why}", self.id()))),
        };
        match self.asked().contains(&client) {
            true => Ok(stage),
            false => Err(refuse(format!(
                "client {client} is not asked for {} in the sum of {}: it missed an exchange before",
                stage.name(),
                self.id()
            ))),
        }
    }

    /// Takes a client's reply in an exchange other than that of input.
    ///
    /// # Errors
    /// If it is not the client's first, right reply in this exchange; nothing is then kept of it.
    pub fn accept(&mut self, client: u32, reply: &[u8]) -> Result<()> {
        let stage = self.exchange_of(client)?;
        let body = decode_reply(stage, self.id(), reply)?;
        if self.replies.contains_key(&client) {
            return Err(refuse(format!("client {client} has already answered: only the first answer counts")));
        }
        match stage {
            Stage::Keys => {
                let advert = Advert::from_bytes(exactly::<ADVERT_BYTES>(body)?);
                if !self.peers.key(client)?.verifies(&advert.text(self.id(), client), &advert.signature) {
                    return Err(refuse(format!(
                        "its keys are not signed by client {client}'s key in the list of peers"
                    )));
                }
            }
            Stage::Shares => check_length(body, self.collected.adverts.len() * DEALT_BYTES)?,
            Stage::Input => return Err(refuse("an input is a client's update or its reply to the setup's request")),
            Stage::Survivors => {
                let text = transcript(self.id(), &self.adverts(), &self.dealers(), &self.collected.survivors);
                if !self.peers.key(client)?.verifies(&text, exactly::<64>(body)?) {
                    return Err(refuse(format!("it is not client {client}'s signature under the list of survivors")));
                }
            }
            Stage::Unmask => self.check_given(client, body)?,
        }
        self.replies.insert(client, body.to_vec());
        let sent = self.request(client)?.len();
        self.collected.traffic.0 += reply.len() as u64;
        self.collected.traffic.1 += sent as u64;
        Ok(())
    }

    /// Bytes of the exchanges, up and down, beside those of inputs.
    pub fn traffic(&self) -> (u64, u64) {
        self.collected.traffic
    }

    fn check_given(&self, client: u32, body: &[u8]) -> Result<()> {
        check_length(body, self.collected.dealt.len() * GIVEN_BYTES)?;
        let dealers = self.dealers();
        for ((dealer, dealt), given) in
            dealers.iter().zip(self.dealt_to(client)?).zip(body.as_chunks::<GIVEN_BYTES>().0)
        {
            let kind = usize::from(self.collected.survivors.binary_search(dealer).is_ok());
            opening::check_share(self.id(), (*dealer, client), (kind, &dealt), given)?;
        }
        Ok(())
    }

    /// Bytes of the inputs that are in the sum, as replies to the setup's request.
    pub fn input_bytes(&self) -> u64 {
        (self.survivors().len() * encode_input(self.id(), &self.total).len()) as u64
    }

    /// Reads a client's reply to the setup's request: its input. Nothing is added yet.
    ///
    /// # Errors
    /// If it is none of this attempt.
    pub fn decode_input(&self, reply: &[u8]) -> Result<RingVector> {
        let body = decode_reply(Stage::Input, self.id(), reply)?;
        RingVector::unpack(self.total.width(), self.total.values().len(), body).map_err(refuse)
    }

    /// Adds a client's input. One that comes again after a restart, in the sum already, is not added twice.
    ///
    /// # Errors
    /// If the client is not asked or has answered; nothing is then added.
    pub fn add_input(&mut self, client: u32, input: &RingVector) -> Result<()> {
        if self.survivors().contains(&client) && !matches!(self.standing, Standing::Failed(_)) {
            return Ok(());
        }
        match self.exchange_of(client)? {
            Stage::Input if !self.replies.contains_key(&client) => {
                self.total.add(input);
                self.replies.insert(client, Vec::new());
                Ok(())
            }
            Stage::Input => Err(refuse(format!("client {client} has already answered: only the first answer counts"))),
            stage => Err(refuse(format!("inputs to {} are closed, and {} goes on", self.id(), stage.name()))),
        }
    }

    /// Ends the present exchange with the replies that came in. With too few the sum fails, and can be tried again.
    ///
    /// # Errors
    /// If no exchange goes on, or the folder cannot be written.
    pub fn end(&mut self) -> Result<()> {
        let Standing::Open(stage) = self.standing else { return Err(refuse("no exchange goes on in this sum")) };
        let needed = if stage <= Stage::Input { self.terms.needed } else { self.terms.threshold() };
        if self.replies.len() < needed {
            let asked = self.asked().len();
            let (answered, stage) = (self.replies.len(), stage.name());
            self.fail(format!("{answered} of {asked} clients answered in the exchange of {stage}"));
            return Ok(());
        }
        let replies = std::mem::take(&mut self.replies);
        match stage {
            Stage::Keys => self.collected.adverts = fixed(replies)?,
            Stage::Shares => self.collected.dealt = replies,
            Stage::Input => {
                self.collected.survivors = replies.into_keys().collect();
                self.store.save_input(&self.collected, &self.total)?;
            }
            Stage::Survivors => {
                self.collected.signatures = fixed(replies)?;
                self.store.save(&self.collected)?;
            }
            Stage::Unmask => return self.open(&replies),
        }
        self.standing = Standing::Open(Stage::ALL[stage as usize + 1]);
        Ok(())
    }

    fn open(&mut self, replies: &BTreeMap<u32, Vec<u8>>) -> Result<()> {
        let (adverts, dealers) = (self.adverts(), self.dealers());
        let opening = Opening {
            id: self.id(),
            adverts: &adverts,
            dealers: &dealers,
            survivors: &self.collected.survivors,
            threshold: self.terms.threshold(),
        };
        match opening.blinds(replies) {
            Ok(blinds) => {
                self.total.blind(&blinds);
                self.collected.opened = true;
                self.standing = Standing::Opened;
                self.store.save_input(&self.collected, &self.total)
            }
            Err(why) => {
                self.fail(why);
                Ok(())
            }
        }
    }

    fn fail(&mut self, why: String) {
        let (needed, threshold) = (self.terms.needed, self.terms.threshold());
        self.replies.clear();
        self.standing =
            Standing::Failed(format!("{why}; the sum takes the input of {needed} clients, and {threshold} to open it"));
    }

    /// Tries the exchange again that failed, where the input is complete: clients that have answered give the same bytes.
    pub fn retry(&mut self) {
        if matches!(self.standing, Standing::Failed(_)) && !self.collected.survivors.is_empty() {
            let stage = if self.collected.signatures.is_empty() { Stage::Survivors } else { Stage::Unmask };
            self.standing = Standing::Open(stage);
        }
    }
}

impl Plan {
    fn id(&self, terms: &Terms, attempt: u32) -> SumId {
        SumId { federation: terms.federation, purpose: self.purpose, round: self.round, attempt }
    }
}

/// A client's input as a reply to the setup's request.
pub fn encode_input(id: &SumId, input: &RingVector) -> Vec<u8> {
    encode_reply(Stage::Input, id, &input.pack())
}

fn fixed<const N: usize>(replies: BTreeMap<u32, Vec<u8>>) -> Result<BTreeMap<u32, [u8; N]>> {
    replies.into_iter().map(|(client, body)| Ok((client, *message::exactly::<N>(&body)?))).collect()
}

fn check_length(body: &[u8], due: usize) -> Result<()> {
    match body.len() == due {
        true => Ok(()),
        false => Err(refuse(format!("it has {} bytes and {due} are due", body.len()))),
    }
}
