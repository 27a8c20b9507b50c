//! The client's half of a sum (u in the paper): one answer to each exchange, whatever the server asks.

use std::path::Path;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use curve25519_dalek::Scalar;
use prism_core::Result;
use zeroize::Zeroizing;

use super::keys::{Advert, Secrets};
use super::message::{self, Body, Dealt, GIVEN_BYTES, Request, SEALED_BYTES, TAG_BYTES, refuse, transcript};
use super::peers::Peers;
use super::ring::Blinds;
use super::shamir;
use super::store::{self, Store};
use super::sum::{Purpose, Stage, SumId, Terms, hash};

/// A client in the sums of one purpose.
pub struct Participant<'a> {
    /// Its number.
    pub client: u32,
    /// Its folder, where its identity, its list of peers and its record are.
    pub folder: &'a Path,
    /// What was agreed on.
    pub terms: Terms,
}

/// What is due for a sum.
pub enum Input {
    /// The message that went already.
    Given(Vec<u8>),
    /// A summand under these blinds.
    Due(Blinds),
}

impl Participant<'_> {
    /// The answer to `request`: once it has been given, to this very request the same bytes, and to any other none.
    ///
    /// # Errors
    /// [`prism_core::Error::Corrupt`] if the request is none of this federation or breaks the protocol; otherwise if there is no
    /// list of peers, or the folder cannot be written.
    pub fn answer(&self, request: &[u8]) -> Result<Vec<u8>> {
        let Request { id, body } = Request::decode(request)?;
        self.check_federation(&id)?;
        let mut store = Store::open(self.folder, id.purpose)?;
        let stage = body.stage();
        if store.id() == Some(&id)
            && let Some(answer) = store.answer(stage, request)?
        {
            return Ok(answer);
        }
        let reply = match body {
            Body::Keys(members) => self.keys(&mut store, &id, &members)?,
            Body::Shares(adverts) => {
                self.shares(&current(&store, &id, Stage::Keys)?.secrets()?, &store, &id, &adverts)?
            }
            Body::Survivors { dealers, survivors } => {
                self.survivors(current(&store, &id, Stage::Input)?, &id, &dealers, &survivors)?
            }
            Body::Unmask { signatures, dealt } => {
                self.unmask(current(&store, &id, Stage::Survivors)?, &id, &signatures, &dealt)?
            }
        };
        let reply = message::encode_reply(stage, &id, &reply);
        store.keep(stage, request, &reply)?;
        Ok(reply)
    }

    fn check_federation(&self, id: &SumId) -> Result<()> {
        match id.federation == self.terms.federation {
            true => Ok(()),
            false => Err(refuse("it is of a federation with other settings: give both sides the same settings")),
        }
    }

    /// AdvertiseKeys: fresh keys, unless this purpose and round has been opened.
    fn keys(&self, store: &mut Store, id: &SumId, members: &[u32]) -> Result<Vec<u8>> {
        self.check_list("the clients that are asked", members, self.terms.asked as usize)?;
        if let Some(newest) = store.id() {
            if (newest.round, newest.attempt) >= (id.round, id.attempt) {
                return Err(refuse(format!("it begins the sum of {id} behind that of {newest}: sums go forward")));
            }
            if newest.round == id.round && store.is_opened() {
                return Err(refuse(format!(
                    "it begins the sum of {id}, and client {} has helped to open {newest}: the difference of two such sums \
                     would show who is in one of them only",
                    self.client
                )));
            }
        }
        // Refused before anything is begun where the list of peers is missing.
        let peers = Peers::load(self.folder)?;
        members.iter().try_for_each(|&member| peers.key(member).map(drop))?;
        let (identity, secrets) = (store::identity(self.folder)?, Secrets::generate()?);
        if *peers.key(self.client)? != identity.public() {
            return Err(prism_core::Error::usage(format!(
                "the list of peers has the key {} for client {}, whose own is {}; correct the list",
                peers.key(self.client)?,
                self.client,
                identity.public()
            )));
        }
        store.begin(id.clone(), &secrets);
        Ok(secrets.advert(id, self.client, &identity).bytes().to_vec())
    }

    /// ShareKeys: both secrets dealt to all who advertised, each pair of shares under the channel's key.
    fn shares(&self, secrets: &Secrets, store: &Store, id: &SumId, adverts: &[(u32, Advert)]) -> Result<Vec<u8>> {
        let members = members(store)?;
        let clients: Vec<u32> = adverts.iter().map(|(client, _)| *client).collect();
        self.check_list("the clients with keys", &clients, members.len())?;
        check_subset("the clients with keys", &clients, &members)?;
        let (peers, identity) = (Peers::load(self.folder)?, store::identity(self.folder)?);
        for (client, advert) in adverts {
            if *client == self.client && *advert != secrets.advert(id, self.client, &identity) {
                return Err(refuse(format!("the keys that it calls client {client}'s are not this client's own")));
            }
            if !peers.key(*client)?.verifies(&advert.text(id, *client), &advert.signature) {
                return Err(refuse(format!(
                    "the keys that it calls client {client}'s are not signed by that client's key in the list of peers"
                )));
            }
        }
        let threshold = self.terms.threshold();
        let pair = shamir::deal(secrets.pair, threshold, clients.iter().copied())?;
        let own = shamir::deal(secrets.own, threshold, clients.iter().copied())?;
        let mut reply = Vec::with_capacity(clients.len() * message::DEALT_BYTES);
        for ((holder, advert), shares) in adverts.iter().zip(pair.iter().zip(&own)) {
            let key = secrets.channel_key(&advert.channel, id, self.client, *holder)?;
            reply.extend(seal(&key, id, (self.client, *holder), [shares.0, shares.1])?.bytes());
        }
        Ok(reply)
    }

    /// MaskedInputCollection: what the client's summand of `width` bits a number goes under in the `sum` of a purpose and round,
    /// for `dealers` (U_2), in answer to `request`.
    ///
    /// # Errors
    /// If the exchanges before have not been, `dealers` are others or too few, or another request has been answered.
    pub fn input(&self, sum: (Purpose, u32), width: u32, dealers: &[u32], request: &[u8]) -> Result<Input> {
        let store = Store::open(self.folder, sum.0)?;
        let id = store.id().filter(|id| id.round == sum.1 && store.has_given(Stage::Shares)).ok_or_else(|| {
            refuse(format!("client {} has agreed on no keys for this sum; exchange keys and shares first", self.client))
        })?;
        self.check_federation(id)?;
        if let Some(given) = store.answer(Stage::Input, request)? {
            return Ok(Input::Given(given));
        }
        let adverts = adverts(&store)?;
        let clients: Vec<u32> = adverts.iter().map(|(client, _)| *client).collect();
        self.check_list("the clients that shared", dealers, clients.len())?;
        check_subset("the clients that shared", dealers, &clients)?;
        let peers =
            adverts.iter().filter(|(client, _)| *client != self.client && dealers.binary_search(client).is_ok());
        let peers = peers.map(|(client, advert)| (*client, &advert.pair));
        let list = store.secrets()?.blinds(id, self.client, peers)?;
        Ok(Input::Due(Blinds { attempt: id.attempt, width, list }))
    }

    /// Writes down that `reply` is the input for `dealers` in answer to `request`; it may leave once this returns.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn keep_input(&self, purpose: Purpose, dealers: &[u32], request: &[u8], reply: &[u8]) -> Result<()> {
        let mut store = Store::open(self.folder, purpose)?;
        store.note_dealers(dealers);
        store.keep(Stage::Input, request, reply)
    }

    /// The name of the newest sum of this purpose.
    ///
    /// # Errors
    /// If there is none, or the record is damaged.
    pub fn newest(&self, purpose: Purpose) -> Result<SumId> {
        Store::open(self.folder, purpose)?.id().cloned().ok_or_else(|| refuse("no sum has begun"))
    }

    /// ConsistencyCheck: a signature under all that the client has seen, and whose input the server says to have.
    fn survivors(&self, store: &Store, id: &SumId, dealers: &[u32], survivors: &[u32]) -> Result<Vec<u8>> {
        if dealers != store.dealers() {
            return Err(refuse(format!(
                "the clients that shared are {dealers:?} in it, and client {} blinded its input for {:?}",
                self.client,
                store.dealers()
            )));
        }
        self.check_list("the clients whose input came", survivors, dealers.len())?;
        check_subset("the clients whose input came", survivors, dealers)?;
        let text = transcript(id, &adverts(store)?, dealers, survivors);
        Ok(store::identity(self.folder)?.sign(&text).to_vec())
    }

    /// Unmasking: for each dealer one share, of the own secret where its input came and of the pair secret where it did not.
    fn unmask(&self, store: &Store, id: &SumId, signatures: &[(u32, [u8; 64])], dealt: &[Dealt]) -> Result<Vec<u8>> {
        let asked = Request::decode(&store.request(Stage::Survivors)?)?.body;
        let Body::Survivors { dealers, survivors } = asked else { return Err(refuse("its exchanges are mixed up")) };
        let adverts = adverts(store)?;
        let (text, peers) = (transcript(id, &adverts, &dealers, &survivors), Peers::load(self.folder)?);
        let threshold = self.terms.threshold();
        if signatures.len() < threshold || dealt.len() != dealers.len() {
            return Err(refuse(format!(
                "it has {} signatures and shares of {} clients, and it takes {threshold} signatures and shares of {}",
                signatures.len(),
                dealt.len(),
                dealers.len()
            )));
        }
        for (client, signature) in signatures {
            if !survivors.contains(client) || !peers.key(*client)?.verifies(&text, signature) {
                return Err(refuse(format!(
                    "client {client} has not signed the list of survivors that client {} has: the server shows different lists",
                    self.client
                )));
            }
        }
        let secrets = store.secrets()?;
        let mut reply = Vec::with_capacity(dealers.len() * GIVEN_BYTES);
        for (dealer, dealt) in dealers.iter().zip(dealt) {
            let at = adverts.binary_search_by_key(dealer, |(client, _)| *client);
            let (_, advert) = adverts[at.map_err(|_| refuse("a client dealt without keys"))?];
            let key = secrets.channel_key(&advert.channel, id, *dealer, self.client)?;
            let kind = usize::from(survivors.binary_search(dealer).is_ok());
            // What does not open, or is not what its dealer committed to, is left out: the dealer is to blame, or the server.
            let share = open(&key, id, (*dealer, self.client), dealt).map(|shares| shares[kind]);
            reply.push(u8::from(share.is_some()));
            reply.extend(share.map_or([0; 32], |share| share.to_bytes()));
        }
        Ok(reply)
    }

    /// Refuses lists that this client is not in, or of fewer clients than the sum takes, or of more: with fewer, noise that was promised would be missing.
    fn check_list(&self, what: &str, clients: &[u32], most: usize) -> Result<()> {
        let Terms { needed, asked, .. } = self.terms;
        if clients.len() < needed || clients.len() > most {
            return Err(refuse(format!(
                "{what} are {}, and it takes {needed} to {most} of {asked} that are asked",
                clients.len()
            )));
        }
        if !clients.contains(&self.client) || clients.iter().any(|&client| client >= self.terms.clients) {
            let last = self.terms.clients.saturating_sub(1);
            return Err(refuse(format!("{what} lack client {}, or are not all from 0 to {last}", self.client)));
        }
        Ok(())
    }
}

/// The store, if the sum `id` goes on in it and the exchange before has been.
fn current<'a>(store: &'a Store, id: &SumId, before: Stage) -> Result<&'a Store> {
    match store.id() {
        Some(newest) if newest == id && store.has_given(before) => Ok(store),
        Some(newest) if newest == id => Err(refuse(format!("its exchange of {} has not been", before.name()))),
        Some(newest) => Err(refuse(format!("it is of {id}, and {newest} goes on: a late message must be thrown away"))),
        None => Err(refuse(format!("it is of {id}, which has not begun"))),
    }
}

fn members(store: &Store) -> Result<Vec<u32>> {
    match Request::decode(&store.request(Stage::Keys)?)?.body {
        Body::Keys(members) => Ok(members),
        _ => Err(refuse("its exchanges are mixed up")),
    }
}

fn adverts(store: &Store) -> Result<Vec<(u32, Advert)>> {
    match Request::decode(&store.request(Stage::Shares)?)?.body {
        Body::Shares(adverts) => Ok(adverts),
        _ => Err(refuse("its exchanges are mixed up")),
    }
}

fn check_subset(what: &str, clients: &[u32], all: &[u32]) -> Result<()> {
    match clients.iter().find(|client| all.binary_search(client).is_err()) {
        None => Ok(()),
        Some(other) => Err(refuse(format!("{what} include client {other}, which was not in the exchange before"))),
    }
}

/// The hash by which a share is known: [`Dealt::tags`].
pub fn share_tag(id: &SumId, (dealer, holder): (u32, u32), kind: usize, share: &[u8; 32]) -> [u8; TAG_BYTES] {
    let parts: [&[u8]; 5] = [&id.bytes(), &dealer.to_le_bytes(), &holder.to_le_bytes(), &[kind as u8], share];
    let whole = hash("share", &parts);
    std::array::from_fn(|i| whole[i])
}

/// The key serves this one message, so its nonce is 0.
fn seal(key: &[u8; 32], id: &SumId, ends: (u32, u32), shares: [&Scalar; 2]) -> Result<Dealt> {
    let mut sealed = [0; SEALED_BYTES];
    let mut text = Zeroizing::new([0; 64]);
    text[..32].copy_from_slice(shares[0].as_bytes());
    text[32..].copy_from_slice(shares[1].as_bytes());
    let cipher = ChaCha20Poly1305::new(key.into());
    let tag = cipher.encrypt_inout_detached(&[0; 12].into(), b"", (&mut text[..]).into());
    let tag = tag.map_err(|_| refuse("a share cannot be encrypted"))?;
    sealed[..64].copy_from_slice(&*text);
    sealed[64..].copy_from_slice(tag.as_slice());
    let tags = [0, 1].map(|kind| share_tag(id, ends, kind, shares[kind].as_bytes()));
    Ok(Dealt { sealed, tags })
}

/// The shares, if they are what their dealer sealed and committed to.
fn open(key: &[u8; 32], id: &SumId, ends: (u32, u32), dealt: &Dealt) -> Option<[Scalar; 2]> {
    let mut text = Zeroizing::new([0; 64]);
    text.copy_from_slice(&dealt.sealed[..64]);
    let tag: [u8; 16] = *dealt.sealed.last_chunk()?;
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.decrypt_inout_detached(&[0; 12].into(), b"", (&mut text[..]).into(), &tag.into()).ok()?;
    let part = |kind: usize| -> Option<Scalar> {
        let bytes: [u8; 32] = std::array::from_fn(|i| text[32 * kind + i]);
        let known = share_tag(id, ends, kind, &bytes) == dealt.tags[kind];
        Option::<Scalar>::from(Scalar::from_canonical_bytes(bytes)).filter(|_| known)
    };
    Some([part(0)?, part(1)?])
}
