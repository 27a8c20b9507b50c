//! The client's half of Algorithm 1: take the scores, make E local steps, answer with a mask.
//!
//! ```text
//! broadcast -> theta = sigmoid(s)
//! E local steps of Adam on s                                                       (section 3.2; [`crate::local_step`])
//! M_k ~ Bernoulli(sigmoid(s_k)) -> update       or s_k itself for PRISM-alpha's last layers
//! ```
//!
//! Under the codecs `flips` and `sums` M_k is drawn with numbers that the server knows too. A client's images enter through its
//! feature moments only, which it measures once. Everything that it must remember is in its own folder: it can be killed at any
//! moment and opened again, by another process, with the same bytes out.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use prism_core::stream::Purpose;

use crate::baselines::mask_noise::MaskNoise;
use crate::client_setup;
use crate::client_state::{ReceivedState, StateFolder};
use crate::codec::{Learned, PrivateSource, Uplink};
use crate::context::{Privacy, Randomness, RunContext};
use crate::error::{Error, Result};
use crate::global_state::GlobalState;
use crate::local_step::{ClientRound, Trained};
use crate::moments::ClientMoments;
use crate::observer::Observer;
use crate::optimiser::OptimiserState;
use crate::privacy::gaussian::NoiseSource;
use crate::privacy::ledger::Ledger;
use crate::protected;
use crate::replay;
use crate::round_report::ClientReport;
use crate::secagg::{self, Blinds, Input, Peers, PublicKey};
use crate::strata::ClientData;
use crate::values::values;
use crate::wire::{Broadcast, Content, Preface, Update};

/// One client, between its rounds.
pub struct Client {
    id: u32,
    context: Arc<RunContext>,
    data: ClientData,
    folder: StateFolder,
    ledger: Option<Ledger>,
    moments: Option<ClientMoments>,
    /// The newest state, where it stayed in memory.
    state: Option<ClientState>,
    /// Whether states wait in memory until [`Client::save`] is called.
    deferred: bool,
}

/// What a client has after a round.
struct ClientState {
    round: u32,
    optimiser: OptimiserState,
    received: Arc<ReceivedState>,
    saved: bool,
}

/// A client's answer to a broadcast.
pub struct ClientResult {
    /// The update, as it crosses the wire.
    pub update: Vec<u8>,
    /// What it tells of its training.
    pub report: ClientReport,
}

impl Client {
    /// Opens client number `id`, whose images are `data` and whose state is in `folder`: as it was left, or new.
    pub fn open(context: Arc<RunContext>, id: u32, data: ClientData, folder: &Path) -> Self {
        let folder = StateFolder::new(folder);
        Client { id, context, data, folder, ledger: None, moments: None, state: None, deferred: false }
    }

    /// The same client, which writes every draw of noise into `ledger` first, and draws none that goes beyond its limit.
    pub fn with_ledger(mut self, ledger: Ledger) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// The same client, whose states wait in memory until [`Client::save`] is called.
    pub fn deferred(mut self, deferred: bool) -> Self {
        self.deferred = deferred;
        self
    }

    /// Takes part in a round: the answer to `broadcast`.
    ///
    /// # Errors
    /// [`Error::NeedsSnapshot`] if the broadcast builds on a state that is not here, or the client lacks what was agreed on before
    /// the first round ([`crate::Server::start_request`]); otherwise if it is not one of this
    /// federation, the computation fails, or the folder cannot be written.
    pub fn round(&mut self, broadcast: &[u8], observer: &dyn Observer) -> Result<ClientResult> {
        let preface = Broadcast::preface(broadcast, self.context.session())?;
        let turn = ClientRound { round: preface.round, client: self.id };
        self.check_promise(turn.round)?;
        if self.site().lacks_start() {
            return Err(Error::NeedsSnapshot { client: self.id, last: preface.last });
        }
        let input = self.sum_input(&preface, broadcast)?;
        self.prepare(observer)?;
        let (received, mut optimiser) = self.receive_from(broadcast, &preface)?;

        let moments = self.moments.as_ref().ok_or_else(|| Error::usage("the client has no moments"))?;
        let start = received.global.scores();
        let trained = self.context.trainer().train(turn, moments, &mut optimiser, start, observer)?;
        let blinds = if let Input::Due(blinds) = &input { blinds } else { &Blinds::default() };
        let mut result = self.answer(turn, &trained, &received.global, blinds, observer)?;
        match input {
            Input::Given(update) => result.update = update,
            Input::Due(_) => self.keep_input(&preface, broadcast, &result.update)?,
        }
        self.keep(preface, optimiser, received)?;
        Ok(result)
    }

    /// Answers the server's `request` in an exchange beside the rounds ([`crate::exchange`]).
    ///
    /// # Errors
    /// If it is not one of this federation or breaks the protocol of a secure sum, the computation fails, or the folder cannot be
    /// written.
    pub fn reply(&mut self, request: &[u8], observer: &dyn Observer) -> Result<Vec<u8>> {
        let (site, reply) = (self.site(), client_setup::answer);
        Ok(reply(&site, request, observer)?)
    }

    /// The public key by which others know this client in secure sums. Its secret is made at the first call, in the folder.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn public_key(&self) -> Result<PublicKey> {
        Ok(secagg::store::identity(self.folder.path())?.public())
    }

    /// Keeps the list of all clients' public keys, by which this client knows its peers in secure sums: as the file `peers` in its
    /// folder, where it may also be put by hand. Secure sums protect this client as far as the list is right.
    ///
    /// # Errors
    /// If another list is there, or the folder cannot be written.
    pub fn keep_peers(&self, peers: &Peers) -> Result<()> {
        Ok(peers.keep(self.folder.path())?)
    }

    /// Makes sure that the client has moments to train on: those in its folder, or measured now.
    ///
    /// # Errors
    /// If they cannot be read, measured or written.
    pub fn prepare(&mut self, observer: &dyn Observer) -> Result<()> {
        if self.moments.is_none() {
            self.moments = Some(client_setup::moments(&self.site(), observer)?);
        }
        Ok(())
    }

    /// Refuses what can be refused before an image is looked at: a client that is too small for its privacy, and a folder of
    /// other images.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] or [`prism_core::Error::Corrupt`] saying why.
    pub fn check(&self) -> Result<()> {
        Ok(client_setup::check(&self.site())?)
    }

    /// Whether moments are in its folder or in memory.
    pub fn is_prepared(&self) -> bool {
        self.moments.is_some() || client_setup::has_moments(&self.site())
    }

    /// Whether all noise is drawn that it will ever draw before the first round.
    pub fn has_drawn(&self) -> bool {
        client_setup::has_drawn(&self.site())
    }

    /// Computes with all threads what [`Client::round`] will know of `broadcast`, for all clients that are at the same state.
    ///
    /// # Errors
    /// As for [`Client::round`].
    pub fn receive(&self, broadcast: &[u8]) -> Result<()> {
        let preface = Broadcast::preface(broadcast, self.context.session())?;
        let state = self.state.as_ref().filter(|state| state.round == preface.last);
        let global = match state {
            Some(state) => state.received.global.clone(),
            None => self.folder.load_global(preface.last, self.context.session(), self.context.mada())?,
        };
        self.receive_at(global, broadcast, &preface).map(drop)
    }

    /// Writes the newest state, if it is in memory alone.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&mut self) -> Result<()> {
        let arch = self.context.architecture();
        if let Some(state) = self.state.as_mut().filter(|state| !state.saved) {
            state.received.save(&self.folder, state.round)?;
            let seed = self.context.session().seed();
            self.folder.begin_save_optimiser(state.round, &arch, seed, &state.optimiser)?.finish()?;
            state.saved = true;
        }
        Ok(())
    }

    /// Removes states of other rounds than `last`, which the server has committed.
    ///
    /// # Errors
    /// If the folder cannot be read or a file not removed.
    pub fn commit(&self, last: u32) -> Result<()> {
        Ok(self.folder.keep_only(&[last])?)
    }

    /// Bytes that its state and moments hold in memory.
    pub fn memory_bytes(&self) -> u64 {
        let state = self.state.iter().flat_map(|state| state.optimiser.tensors());
        let tensors = state.chain(self.moments.iter().flat_map(ClientMoments::tensors));
        tensors.map(|tensor| (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64).sum()
    }

    /// Drops from memory what is in the folder, writing what is not.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn unload(&mut self) -> Result<()> {
        self.save()?;
        (self.state, self.moments) = (None, None);
        Ok(())
    }

    fn site(&self) -> client_setup::Site<'_> {
        let (context, data, folder) = (&*self.context, &self.data, self.folder.path());
        client_setup::Site { id: self.id, context, data, folder, ledger: self.ledger.as_ref() }
    }

    /// The state that `broadcast` leads to, and the optimiser after the client's last round that counted.
    fn receive_from(&mut self, broadcast: &[u8], preface: &Preface) -> Result<(Arc<ReceivedState>, OptimiserState)> {
        let Preface { last, .. } = *preface;
        if let Some(state) = self.state.take_if(|state| state.round == last) {
            let received = self.receive_at(state.received.global.clone(), broadcast, preface)?;
            return Ok((received, state.optimiser));
        }
        let session = self.context.session();
        let here = last == 0 || self.folder.has_optimiser(last);
        if !here && preface.is_replay {
            return Err(Error::NeedsSnapshot { client: self.id, last });
        }
        // A snapshot can be taken at any state. The optimiser that fits best is then the newest one.
        let from = if here { last } else { self.folder.rounds().last().copied().unwrap_or(0) };
        let known = if here { last } else { 0 };
        let global = self.folder.load_global(known, session, self.context.mada())?;
        let received = self.receive_at(global, broadcast, preface)?;
        let (arch, device) = (self.context.architecture(), self.context.device());
        Ok((received, self.folder.load_optimiser(from, &arch, session.seed(), device)?))
    }

    fn receive_at(&self, mut global: GlobalState, bytes: &[u8], preface: &Preface) -> Result<Arc<ReceivedState>> {
        let whole = global.session().downlink().grid().is_none();
        let before = if whole { [0; 8] } else { global.digest() };
        self.context.received.get((preface.round, before, preface.checksum), || {
            let (round, broadcast) = Broadcast::decode(bytes, self.context.session())?;
            debug_assert!(whole == matches!(broadcast.content, Content::Scores(_)));
            let asked = self.context.agreement().settings.federation.cohort_size();
            replay::receive(&mut global, broadcast, round, asked)?;
            Ok(global)
        })
    }

    /// The update that the `trained` scores make, and what it would cost at least.
    fn answer(
        &self,
        turn: ClientRound,
        trained: &Trained,
        global: &GlobalState,
        blinds: &Blinds,
        observer: &dyn Observer,
    ) -> Result<ClientResult> {
        // Read where they are: a copy would fetch as much memory again for every client.
        let held: Vec<_> = trained.scores.iter().map(|scores| scores.storage_and_layout()).collect();
        let learned = trained.scores.iter().zip(&held).map(|(s, (storage, layout))| values(s, storage, layout));
        let mut learned = learned.collect::<prism_nn::Result<Vec<_>>>()?;
        let mut loss = Some(trained.loss);
        if let Privacy::Masks(noise, _) = self.context.privacy() {
            learned =
                self.noised(noise, turn.round, (&learned, global), observer)?.into_iter().map(Cow::Owned).collect();
            loss = None;
        }
        let (session, prior, private) = (self.context.session(), global.prior(), self.private_source(turn)?);
        let layers: Vec<&[f32]> = learned.iter().map(AsRef::as_ref).collect();
        let [cross_entropy_bits, kl_bits] = prior.costs(layers[..session.mask_layers().len()].iter().copied());
        let threads = rayon::current_num_threads();
        let learned = Learned { layers: &layers, prior: &prior, private: &private, blinds, threads };
        let update = Update::encode(session, turn.round, turn.client, &learned);
        Ok(ClientResult { update, report: ClientReport { loss, kl_bits, cross_entropy_bits } })
    }

    /// Refuses a round that the promise of a federation with noise on masks does not cover, or that is behind an answered one.
    fn check_promise(&self, round: u32) -> Result<()> {
        let Privacy::Masks(..) = self.context.privacy() else { return Ok(()) };
        let rounds = self.context.agreement().settings.federation.rounds;
        if round > rounds {
            let why = format!("it asks for round {round}, and epsilon was agreed on for {rounds} rounds");
            return Err(prism_core::Error::corrupt("a broadcast", why).into());
        }
        protected::load(self.folder.path(), round).map(drop).map_err(Into::into)
    }

    /// The learned scores under the client's noise of this round, which is drawn once and written into its ledger first.
    fn noised(
        &self,
        noise: &MaskNoise,
        round: u32,
        (learned, global): (&[Cow<'_, [f32]>], &GlobalState),
        observer: &dyn Observer,
    ) -> Result<Vec<Vec<f32>>> {
        let site = self.site();
        if let Some(kept) = protected::load(site.folder, round)? {
            return Ok(kept);
        }
        client_setup::record(&site, observer)?;
        let noised = noise.protect(learned, global.scores(), NoiseSource::OperatingSystem)?;
        protected::save(site.folder, round, &noised)?;
        Ok(noised)
    }

    /// Numbers that nobody else has, for the codecs that leave a client a choice.
    fn private_source(&self, turn: ClientRound) -> Result<PrivateSource> {
        if self.context.randomness() == Randomness::Seed {
            let seed = self.context.session().seed();
            return Ok(PrivateSource::simulated(turn.stream(seed, Purpose::UplinkMask)));
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|e| {
            prism_core::Error::io("draw randomness from", "the operating system", std::io::Error::other(e.to_string()))
        })?;
        Ok(PrivateSource::new(key))
    }

    /// What hides this client's mask in the sum over the broadcast's clients, or the update that went; nothing where the session
    /// does not sum.
    fn sum_input(&self, preface: &Preface, broadcast: &[u8]) -> Result<Input> {
        if self.context.session().uplink() != Uplink::Sums {
            return Ok(Input::Due(Blinds::default()));
        }
        let (site, purpose) = (self.site(), secagg::Purpose::Round);
        let participant = site.participant(purpose)?;
        let width = participant.terms.vote_bits();
        Ok(participant.input((purpose, preface.round), width, &preface.cohort, broadcast)?)
    }

    /// Writes down which update goes into a secure sum: from then on it is the only one.
    fn keep_input(&self, preface: &Preface, broadcast: &[u8], update: &[u8]) -> Result<()> {
        if self.context.session().uplink() != Uplink::Sums {
            return Ok(());
        }
        let (site, purpose) = (self.site(), secagg::Purpose::Round);
        Ok(site.participant(purpose)?.keep_input(purpose, &preface.cohort, broadcast, update)?)
    }

    /// Keeps the state after a round, and the one before it until it is known which of the two counts.
    fn keep(&mut self, preface: Preface, optimiser: OptimiserState, received: Arc<ReceivedState>) -> Result<()> {
        let Preface { round, last, .. } = preface;
        self.state = Some(ClientState { round, optimiser, received, saved: false });
        if !self.deferred {
            self.save()?;
            self.folder.keep_only(&[last, round])?;
        }
        Ok(())
    }
}
