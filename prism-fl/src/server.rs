//! The server's half of Algorithm 1: ask a cohort, bring everybody to the state of the round, sum what comes back, step.
//!
//! ```text
//! theta_hat = mean over clients of M_k, clipped to [0.01, 0.99]
//! lambda    = hamming(M ~ theta, M' ~ theta_hat) / weights           (MADA; 1 without)
//! s         <- lambda * logit(theta_hat) + (1 - lambda) * s          (then to the public grid, where the downlink has one)
//! ```
//!
//! Source: PRISM, section 3.3 and algorithm 1. The server sees bytes and nothing else of a client, and its state is a function of
//! these bytes and the seed. It can be killed at any moment and opened again from its folder.

mod exchanges;

use std::sync::Arc;

use prism_core::draw;
use prism_core::mask::{LayerBits, Mask};
use prism_core::privacy::Total;
use prism_core::stream::{Purpose, StreamId};
use prism_export::checkpoint::Description;
use prism_export::{Checkpoint, RunFolder};
use rayon::prelude::*;

use crate::aggregation::{Aggregate, Aggregator, DecodedUpdate};
use crate::codec::Uplink;
use crate::context::RunContext;
use crate::downlink::{Broadcaster, Outgoing, RecordLog, record_of};
use crate::error::{Error, Refused, Result};
use crate::first_checkpoint::first_checkpoint;
use crate::global_state::{GlobalState, MIN_CHUNK};
use crate::observer::Observer;
use crate::one_shot::OneShotTrainer;
use crate::round_report::{ClientReport, RoundReport};
use crate::secagg::{self, Stage, Standing};
use crate::server_setup::ServerSetup;

/// The server, between messages.
pub struct Server {
    context: Arc<RunContext>,
    folder: RunFolder,
    setup: ServerSetup,
    state: GlobalState,
    log: RecordLog,
    /// The round that is open for answers, and what is known of it.
    open: Option<(Aggregator, RoundReport)>,
    /// In the mode one-shot: the scores of all components, and their training once the moments are there.
    alone: (Vec<Vec<f32>>, Option<OneShotTrainer>),
    description: Description,
}

/// Moves `state` by the answers of the round that follows it; returns MADA's lambda, or `None` if nobody answered.
///
/// Clients make this step too, from what the server passes on ([`crate::replay`]).
pub fn server_step(state: &mut GlobalState, aggregate: &Aggregate) -> Option<f64> {
    let (session, mada, round) = (state.session().clone(), state.mada(), state.round() + 1);
    state.advance(round, |scores| {
        if aggregate.answers() == 0 {
            return None;
        }
        let targets = aggregate.target_scores(&session, scores);
        let lambda = if mada { mada_lambda(session.seed(), round, scores, &targets) } else { 1.0 };
        for (scores, targets) in scores.iter_mut().zip(&targets) {
            scores.par_iter_mut().zip(targets).with_min_len(MIN_CHUNK).for_each(|(score, &target)| {
                *score = (lambda * f64::from(target) + (1.0 - lambda) * f64::from(*score)) as f32;
            });
        }
        Some(lambda)
    })
}

/// MADA's lambda: the share of weights on which a mask drawn from the old scores and one from the new differ.
fn mada_lambda(seed: u64, round: u32, scores: &[Vec<f32>], targets: &[Vec<f32>]) -> f64 {
    let draw = |purpose, scores: &[Vec<f32>]| {
        let id = StreamId::new(seed, purpose).round(round.into());
        Mask::new(scores.iter().enumerate().map(|(i, scores)| draw_layer(id.layer(i as u64), scores)).collect())
    };
    let (old, new) = rayon::join(|| draw(Purpose::MadaOld, scores), || draw(Purpose::MadaNew, targets));
    old.hamming(&new) as f64 / old.len().max(1) as f64
}

/// A mask of one layer, drawn from the stream `id`: each weight kept with probability `sigmoid(score)`.
fn draw_layer(id: StreamId, scores: &[f32]) -> LayerBits {
    let mut stream = id.open();
    draw::mask(scores, |bytes| stream.fill(bytes))
}

impl Server {
    /// Opens the server of the run in `folder`: at its checkpoint, or before the first round.
    ///
    /// # Errors
    /// If a file is damaged, or the checkpoint is of another run.
    pub fn open(context: Arc<RunContext>, folder: RunFolder) -> Result<Self> {
        let first = first_checkpoint(&context);
        let checkpoint = match folder.checkpoint().exists() {
            true => Checkpoint::read(&folder.checkpoint())?,
            false => first.clone(),
        };
        checkpoint.description.check_same_run(&first.description, &folder.checkpoint())?;
        let Checkpoint { description, scores } = checkpoint;
        let (session, round) = (context.session().clone(), description.model.training.rounds);
        let clients = context.agreement().settings.federation.clients;
        let log = RecordLog::load(&session, clients, round, &folder.records())?;
        let setup = ServerSetup::open(&context, &folder.shared())?;
        let (of_rounds, alone) = if context.is_one_shot() { (Vec::new(), scores) } else { (scores, Vec::new()) };
        let state = GlobalState::at(session, context.mada(), round, of_rounds);
        Ok(Server { context, folder, setup, state, log, open: None, alone: (alone, None), description })
    }

    /// Rounds that have ended.
    pub fn round(&self) -> u32 {
        self.description.model.training.rounds
    }

    /// The global scores, one vector a layer, of every component in turn.
    pub fn scores(&self) -> &[Vec<f32>] {
        if self.context.is_one_shot() { &self.alone.0 } else { self.state.scores() }
    }

    /// The state that clients know.
    pub fn state(&self) -> &GlobalState {
        &self.state
    }

    /// For each client, the round of its last answer that counted; 0 for none.
    pub fn last_rounds(&self) -> &[u32] {
        &self.description.client_rounds
    }

    /// What must be agreed on before the first round.
    pub fn setup(&self) -> &ServerSetup {
        &self.setup
    }

    /// Opens the next round and chooses its cohort among the `available` clients, without replacement. Where a secure sum of this
    /// round was complete when the server stopped, those whose input is in it are asked again.
    ///
    /// # Errors
    /// If a secure sum has no list of peers, or the folder cannot be written.
    pub fn ask(&mut self, available: &[u32]) -> Result<Vec<u32>> {
        let federation = &self.context.agreement().settings.federation;
        let mut clients: Vec<u32> = (0..federation.clients).collect();
        let number = u64::from(self.round() + 1);
        StreamId::new(federation.seed, Purpose::ClientSample).round(number).open().shuffle(&mut clients);
        let mut away: Vec<u32> = clients.extract_if(.., |client| !available.contains(client)).collect();
        if clients.len() >= federation.cohort_size() as usize {
            away.clear();
        }
        clients.truncate(federation.cohort_size() as usize);
        clients.sort_unstable();
        let mut sum = None;
        if self.context.session().uplink() == Uplink::Sums {
            let begun = self.begin_sum(&clients)?;
            if !begun.survivors().is_empty() {
                clients = begun.survivors().to_vec();
            }
            sum = Some(begun);
        }
        let report = RoundReport { asked: clients.clone(), away, ..RoundReport::default() };
        self.open = Some((Aggregator::new(&self.state, clients.clone(), sum), report));
        Ok(clients)
    }

    /// The clients to send the round's broadcast to: those that [`Server::ask`] gave, or under secure sums those that have since
    /// shared keys.
    pub fn cohort(&self) -> Vec<u32> {
        self.open.as_ref().map_or_else(Vec::new, |(aggregator, _)| aggregator.asked())
    }

    /// Closes the round to further answers; under secure sums, exchanges follow. Nothing else has to be closed.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn close(&mut self) -> Result<()> {
        let sum = self.open.as_mut().and_then(|(aggregator, _)| aggregator.sum_mut());
        match sum {
            Some(sum) if *sum.standing() == Standing::Open(Stage::Input) => Ok(sum.end()?),
            _ => Ok(()),
        }
    }

    /// The messages that open the round, by the round of the receiver's last answer that counted.
    pub fn broadcaster(&self) -> Broadcaster<'_> {
        let cohort = self.open.as_ref().map_or_else(Vec::new, |(aggregator, _)| aggregator.cohort());
        Broadcaster::new(&self.state, &self.log, cohort)
    }

    /// The message that opens the round for `client`.
    pub fn broadcast(&self, client: u32) -> Outgoing {
        self.broadcaster().message(self.last_round(client))
    }

    /// The whole state, for a client that does not have the one that [`Server::broadcast`] builds on.
    pub fn snapshot(&self, client: u32) -> Outgoing {
        self.broadcaster().snapshot(self.last_round(client))
    }

    fn last_round(&self, client: u32) -> u32 {
        self.last_rounds().get(client as usize).copied().unwrap_or(0)
    }

    /// Takes a client's update.
    ///
    /// # Errors
    /// If it is not the client's first update of this round; the round goes on without it.
    pub fn accept(&mut self, client: u32, update: &[u8]) -> Result<(), Refused> {
        let decoded = self.decode(client, update);
        self.add(client, update.len(), decoded)
    }

    /// Decodes a client's update without adding it, so that several can be decoded at once.
    ///
    /// # Errors
    /// If it is not an update of this round and client.
    pub fn decode(&self, client: u32, update: &[u8]) -> prism_core::Result<DecodedUpdate> {
        let closed = || prism_core::Error::corrupt("a message", "no round is open that it could be an answer to");
        self.open.as_ref().ok_or_else(closed)?.0.decode(client, update)
    }

    /// Adds what [`Server::decode`] made of a message of `bytes` bytes.
    ///
    /// # Errors
    /// As for [`Server::accept`].
    pub fn add(
        &mut self,
        client: u32,
        bytes: usize,
        decoded: prism_core::Result<DecodedUpdate>,
    ) -> Result<(), Refused> {
        let Some((aggregator, report)) = &mut self.open else {
            return Err(Refused { client, reason: "no round is open".into() });
        };
        report.traffic.uplink_bytes += bytes as u64;
        let added = decoded.and_then(|update| aggregator.add(update));
        match added {
            Ok(()) => report.answered.push(client),
            Err(error) => {
                let refused = Refused { client, reason: error.to_string() };
                report.refused.push(refused.clone());
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Notes what a client that answered tells of its training, and what it was sent.
    pub fn note(&mut self, client: u32, report: ClientReport) {
        if let Some((_, round)) = &mut self.open
            && round.answered.contains(&client)
        {
            round.clients.push(report);
        }
    }

    /// Notes that a broadcast went out.
    pub fn note_sent(&mut self, sent: &Outgoing) {
        if let Some((_, round)) = &mut self.open {
            round.traffic.downlink_bytes += sent.bytes.len() as u64;
            round.traffic.downlink_bound_bits += sent.bound_bits;
        }
    }

    /// Ends the round: steps by the answers that came in. A server that trains alone takes its steps here.
    ///
    /// # Errors
    /// If a computation fails or the folder cannot be written.
    pub fn end_round(&mut self, observer: &dyn Observer) -> Result<RoundReport> {
        let mut report = match self.context.is_one_shot() {
            true => self.train_alone(observer)?,
            false => self.step()?,
        };
        if self.round() == 0 {
            report.traffic.moment_bytes = self.setup.bytes();
        }
        let training = &mut self.description.model.training;
        training.rounds += 1;
        training.uplink_bytes += report.traffic.uplink_bytes + report.traffic.moment_bytes;
        training.downlink_bytes += report.traffic.downlink_bytes;
        for &client in &report.answered {
            self.description.client_rounds[client as usize] = self.description.model.training.rounds;
        }
        Ok(report)
    }

    fn step(&mut self) -> Result<RoundReport> {
        let Some((aggregator, mut report)) = self.open.take() else {
            return Err(Error::usage("no round is open; ask clients first"));
        };
        if let Some(sum) = aggregator.sum() {
            let (up, down) = sum.traffic();
            report.traffic.uplink_bytes += up;
            report.traffic.downlink_bytes += down;
            report.failed = exchanges::failure_of(sum);
            report.answered = if report.failed.is_none() { sum.survivors().to_vec() } else { Vec::new() };
        }
        let prior = aggregator.prior();
        let aggregate = aggregator.finish();
        report.answered.sort_unstable();
        report.lambda = server_step(&mut self.state, &aggregate);
        let (session, kl_bits) = (self.context.session(), report.clients.iter().map(|client| client.kl_bits).sum());
        // A record is coded weight by weight, which leaves the other threads time for what the next round begins with.
        let record = || record_of(session, &prior, &aggregate, kl_bits);
        if let (Some(entry), ()) = rayon::join(record, || self.state.prepare()) {
            self.log.push(entry);
            self.log.save(&self.folder.records())?;
        }
        Ok(report)
    }

    fn train_alone(&mut self, observer: &dyn Observer) -> Result<RoundReport> {
        let round = self.round() + 1;
        let (scores, trainer) = &mut self.alone;
        if trainer.is_none() {
            let moments = self.setup.moments(&self.context)?;
            let moments = moments.ok_or_else(|| Error::usage("a server that trains alone has no moments yet"))?;
            *trainer = Some(OneShotTrainer::new(&self.context, moments, &self.folder.shared())?);
        }
        let Some(trainer) = trainer else { return Err(Error::usage("there is no training")) };
        let loss = trainer.round(round, scores, observer)?;
        let client = ClientReport { loss: Some(loss), ..ClientReport::default() };
        Ok(RoundReport { clients: vec![client], ..RoundReport::default() })
    }

    /// What a checkpoint has of the present state.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { description: self.description.clone(), scores: self.scores().to_vec() }
    }

    /// Whether the scores are dense weights: a baseline that has no artifact.
    pub fn is_dense(&self) -> bool {
        self.description.dense
    }

    /// States in the model what all draws on the clients' images promise together.
    pub fn state_total(&mut self, total: Total) {
        self.description.model.training.claim = self.context.privacy_claim(Some(total));
    }

    /// Commits the rounds that have ended: before it, a server that is opened again repeats them; after it, it never does. Under
    /// secure sums each round must be committed before the next, since clients help to open no round twice.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self) -> Result<()> {
        self.checkpoint().write(&self.folder.checkpoint())?;
        secagg::forget(&self.folder.shared())?;
        Ok(self.log.tidy(&self.folder.records())?)
    }
}
