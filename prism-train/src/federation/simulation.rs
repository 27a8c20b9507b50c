//! The simulator: all clients and the server in one process, with every message crossing as bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Device;
use prism_core::file::Pending;
use prism_core::stream::{Purpose, StreamId};
use prism_core::wire::Reveal;
use prism_nn::{Error, Result};

use super::received::Known;
use super::resident::{Loaded, Resident};
use super::server::Outgoing;
use super::{Answer, LocalTraining, Opening, Server, Turn, Workers};
use crate::data::Dataset;
use crate::groups::Groups;
use crate::moments::{ClientMoments, sums};
use crate::run::client_files::{self, MomentsKey};
use crate::run::phases::{ClientSeconds, Lap, Phases};

/// A federation whose clients live in folders beside each other.
pub struct Simulation {
    /// The server.
    pub server: Server,
    /// What all clients share.
    pub training: LocalTraining,
    /// All clients' images. Client k reads those numbered `members[k]`, once.
    pub data: Dataset,
    /// The image numbers of each client.
    pub members: Vec<Vec<usize>>,
    /// Each client's own folder.
    pub folders: Vec<PathBuf>,
    /// For each client, the round of its optimiser state; 0 for none.
    pub client_rounds: Vec<u32>,
    /// The same as the last checkpoint has it.
    pub committed: Vec<u32>,
    /// Whether the states of the next round may stay in memory alone until [`Simulation::save`] is asked for.
    pub defer: bool,
    /// Whether moments are matched per class.
    pub conditional: bool,
    /// Which images' moments are matched together.
    pub groups: Groups,
    /// How the moments are protected.
    pub privacy: MomentPrivacy,
    /// Bytes of the clients' messages of moments that are not yet in any round's report.
    pub moment_bytes: u64,
    /// Clients asked in a round, at most all.
    pub asked: u32,
    /// Probability that a client asked never answers.
    pub dropout: f64,
    /// The threads that clients run on.
    pub workers: Workers,
    /// What stays in memory between rounds.
    pub resident: Resident,
    /// What happens to an update on its way to the server; nothing, by default. A test's hostile client stands here.
    pub transit: Option<Transit>,
}

/// Takes a client's update and says what arrives: the same bytes, others, nothing, or several messages.
pub type Transit = Box<dyn Fn(Turn, Vec<u8>) -> Vec<Vec<u8>> + Sync + Send>;

/// A message that the server refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// The client that sent it.
    pub client: u32,
    /// Why, in one sentence.
    pub reason: String,
}

/// How clients' moments are protected.
#[derive(Clone, Debug)]
pub enum MomentPrivacy {
    /// Not at all: each client measures its own and uses them as they are.
    None,
    /// Each client's folder holds moments that were released under this name before the first round.
    Released(String),
    /// All clients train on these, which were released before the first round.
    Shared(Box<ClientMoments>),
}

/// What one round did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// Clients that were asked, in order.
    pub asked: Vec<u32>,
    /// Clients whose answer was used, in order.
    pub answered: Vec<u32>,
    /// Mean loss of those who answered and may tell it.
    pub loss: Option<f64>,
    /// MADA's step.
    pub lambda: Option<f64>,
    /// Mean divergence of those who answered, and 32 bits for each score that crosses as a number, in bits per weight.
    pub kl_bits_per_weight: Option<f64>,
    /// Mean cross-entropy of those who answered, counted likewise, in bits per weight.
    pub cross_entropy_bits_per_weight: Option<f64>,
    /// Messages that were refused, in order.
    pub rejected: Vec<Rejected>,
    /// Bytes of the answers from clients to the server.
    pub uplink_bytes: u64,
    /// Bytes of messages of moments, which clients send once.
    pub moment_bytes: u64,
    /// Bytes from the server to clients.
    pub downlink_bytes: u64,
    /// What information theory asks for what the server sent, in bits, all clients together.
    pub downlink_bound_bits: f64,
    /// Where the time went; what happens around the round is not in it.
    pub phases: Phases,
}

impl Simulation {
    /// Runs one round: broadcast, local training, answers, aggregation.
    ///
    /// `on_step` is called after every local step, from several threads. Each client's optimiser state is kept under this
    /// round; the caller commits those of the clients that answered by [`Simulation::save`], a checkpoint with
    /// [`Simulation::client_rounds`] and [`Simulation::commit`], now or after later rounds. A message that the server refuses is
    /// reported, and the round goes on without it.
    ///
    /// # Errors
    /// If a client's computation fails or its folder cannot be written. Nothing must then be committed any more: states of
    /// before the round may be gone from memory.
    pub fn round(&mut self, round: u32, on_step: &(dyn Fn() + Sync)) -> Result<Round> {
        let asked = self.sample_clients(round);
        let answering: Vec<u32> = asked.iter().copied().filter(|&client| !self.drops_out(round, client)).collect();
        let mut clock = Lap::start();
        let openings = self.openings(&asked);
        let broadcasting = clock.lap();
        let known = self.receive(round, &answering, &openings)?;
        let receiving = clock.lap();
        let opening = |client: u32| &openings[&self.base(client)];
        let visits = self.workers.map(&answering, |&client| {
            let known = &known[&self.base(client)];
            self.visit(Turn { round, client }, Opening { known, asked: &asked }, on_step)
        })?;
        let (answers, saved): (Vec<Answer>, Vec<Option<Pending>>) = visits.into_iter().unzip();
        let mut report = Round {
            downlink_bytes: asked.iter().map(|&client| opening(client).bytes.len() as u64).sum(),
            downlink_bound_bits: asked.iter().map(|&client| opening(client).bound_bits).sum(),
            moment_bytes: std::mem::take(&mut self.moment_bytes),
            asked,
            ..Round::default()
        };
        known.into_values().for_each(|known| self.resident.remember(known));
        let mut phases = Phases { broadcasting, receiving, clients: clock.lap(), ..Phases::default() };
        answers.iter().for_each(|answer| phases.client.add(&answer.seconds));
        self.count(round, &answering, answers, &mut report)?;
        // The disk was busy while clients trained and the server counted; only now does anything depend on it.
        saved.into_iter().flatten().try_for_each(Pending::finish)?;
        report.phases = Phases { aggregating: clock.lap(), ..phases };
        Ok(report)
    }

    /// Counts the answers and ends the round.
    fn count(&mut self, round: u32, answering: &[u32], mut answers: Vec<Answer>, report: &mut Round) -> Result<()> {
        let mut ballot = self.server.open_ballot(&report.asked);
        let mut messages = Vec::new();
        for (&client, answer) in answering.iter().zip(&mut answers) {
            let bytes = std::mem::take(&mut answer.bytes);
            messages.extend(self.arrivals(Turn { round, client }, bytes).into_iter().map(|bytes| (client, bytes)));
        }
        // As many at a time as can be read at once: decoded, they are larger than as messages.
        for batch in messages.chunks(self.workers.count()) {
            report.uplink_bytes += batch.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
            let read = self.workers.map(batch, |(client, bytes)| Ok(ballot.read(*client, bytes)))?;
            for ((client, _), read) in batch.iter().zip(read) {
                match read.and_then(|reading| ballot.count(reading)) {
                    Ok(()) => report.answered.push(*client),
                    Err(error) => report.rejected.push(Rejected { client: *client, reason: error.to_string() }),
                }
            }
        }
        let counted = |client: &u32| report.answered.contains(client);
        let counted: Vec<&Answer> =
            answering.iter().zip(&answers).filter(|(client, _)| counted(client)).map(|(_, answer)| answer).collect();
        report.answered.iter().for_each(|&client| self.client_rounds[client as usize] = round);
        let missing: Vec<(u32, u32)> = ballot.missing().collect();
        for (client, lost) in missing {
            let key = Turn { round, client }.shared_key(lost, self.training.seed);
            let bytes = Reveal { round, client, lost, key }.encode(&self.training.session);
            report.uplink_bytes += bytes.len() as u64;
            if let Err(error) = ballot.reveal(client, &bytes) {
                report.rejected.push(Rejected { client, reason: error.to_string() });
            }
        }
        report.loss = mean(counted.iter().filter_map(|a| a.loss));
        report.kl_bits_per_weight = self.rate(counted.iter().map(|a| a.kl_bits));
        report.cross_entropy_bits_per_weight = self.rate(counted.iter().map(|a| a.cross_entropy_bits));
        report.lambda = self.server.end_round(ballot, counted.iter().map(|a| a.kl_bits).sum());
        Ok(())
    }

    /// The mean of clients' `bits` for their masks, and 32 for each of their scores, per weight: over the same weights as the
    /// rate that it bounds.
    fn rate(&self, bits: impl Iterator<Item = f64>) -> Option<f64> {
        let (weights, masks) = (self.training.session.weights(), self.training.session.mask_weights());
        mean(bits).map(|bits| (bits + 32.0 * (weights - masks) as f64) / weights as f64)
    }

    fn arrivals(&self, turn: Turn, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        match &self.transit {
            None => vec![bytes],
            Some(transit) => transit(turn, bytes),
        }
    }

    /// The round after which a client's copy of the global state is: that before its last answer.
    fn base(&self, client: u32) -> u32 {
        self.client_rounds[client as usize].saturating_sub(1)
    }

    /// One message for each state that clients may have.
    fn openings(&self, clients: &[u32]) -> BTreeMap<u32, Outgoing> {
        let mut openings = BTreeMap::new();
        for &client in clients {
            openings.entry(self.base(client)).or_insert_with_key(|&base| self.server.broadcast(base));
        }
        openings
    }

    /// What `clients` know once they have the message to those at their state, by that state: computed with all threads, once for
    /// the clients at each.
    fn receive(&self, round: u32, clients: &[u32], openings: &BTreeMap<u32, Outgoing>) -> Result<BTreeMap<u32, Known>> {
        let (session, mut received) = (&self.training.session, BTreeMap::new());
        for &client in clients {
            let base = self.base(client);
            if received.contains_key(&base) {
                continue;
            }
            let mut global = match self.resident.known(base) {
                Some(known) => known.global.clone(),
                None => {
                    let (folder, before) = (&self.folders[client as usize], self.client_rounds[client as usize]);
                    client_files::load_global(folder, before, session, self.server.mada())?
                }
            };
            global.receive(&openings[&base].bytes, round)?;
            received.insert(base, Known::new(global));
        }
        Ok(received)
    }

    /// One client's turn, in its own folder.
    fn visit(
        &self,
        turn: Turn,
        opening: Opening<'_>,
        on_step: &(dyn Fn() + Sync),
    ) -> Result<(Answer, Option<Pending>)> {
        let mut clock = Lap::start();
        let mut loaded = self.load(turn.client)?;
        let loading = clock.lap();
        let Loaded { moments, state } = &mut loaded;
        let mut answer = self.training.local_round(turn, moments, state, opening, on_step)?;
        clock.lap();
        let saved = self.keep(turn, loaded, opening.known)?;
        answer.seconds = ClientSeconds { loading, saving: clock.lap(), ..answer.seconds };
        Ok((answer, saved))
    }

    /// What a client trains with, from memory or from its folder.
    fn load(&self, client: u32) -> Result<Loaded> {
        let (folder, before) = (&self.folders[client as usize], self.client_rounds[client as usize]);
        if let Some(loaded) = self.resident.take(client, before) {
            return Ok(loaded);
        }
        let generator = self.training.step.generator();
        let (arch, device) = (generator.arch(), generator.device());
        let moments = self.training.weigh(self.moments(client as usize, device)?)?;
        let state = client_files::load_state(folder, before, arch, self.training.seed, device)?;
        Ok(Loaded { moments, state })
    }

    /// A client's feature moments: measured on its first turn, and read from its folder ever after. Protected ones are never
    /// measured here.
    fn moments(&self, client: usize, device: &Device) -> Result<ClientMoments> {
        let privacy = match &self.privacy {
            MomentPrivacy::Shared(moments) => return Ok((**moments).clone()),
            MomentPrivacy::Released(name) => name.clone(),
            MomentPrivacy::None => client_files::RAW.to_string(),
        };
        let members = &self.members[client];
        let key = MomentsKey {
            data: self.data.digest().to_string(),
            members: self.groups.digest(members),
            encoder: self.training.step.encoder().digest().to_string(),
            conditional: self.conditional,
            styles: self.groups.styles().count(),
            privacy,
        };
        let groups = self.groups.count();
        if let Some(moments) = client_files::load_moments(&self.folders[client], &key, groups, device)? {
            return Ok(moments);
        }
        if let MomentPrivacy::Released(_) = self.privacy {
            let folder = self.folders[client].display();
            return Err(Error::usage(format!(
                "the protected moments of client {client} are gone from {folder}; resume the run to draw them again, which the \
                 privacy ledger counts"
            )));
        }
        let moments = ClientMoments::from_sums(
            sums::measure(self.training.step.encoder(), &self.data, members, &self.groups, device)?,
            device,
        )?;
        client_files::save_moments(&self.folders[client], &key, &moments)?;
        Ok(moments)
    }

    /// The clients asked in `round`, without replacement.
    pub(super) fn sample_clients(&self, round: u32) -> Vec<u32> {
        let all = self.folders.len();
        let mut clients: Vec<u32> = (0..all as u32).collect();
        StreamId::new(self.training.seed, Purpose::ClientSample).round(round.into()).open().shuffle(&mut clients);
        clients.truncate(self.asked as usize);
        clients.sort_unstable();
        clients
    }

    pub(super) fn drops_out(&self, round: u32, client: u32) -> bool {
        let id = StreamId::new(self.training.seed, Purpose::Dropout).round(round.into()).client(client.into());
        id.open().uniform() < self.dropout
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}
