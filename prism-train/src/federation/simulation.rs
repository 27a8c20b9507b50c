//! The simulator: all clients and the server in one process, with every message crossing as bytes.

use std::path::PathBuf;

use candle_core::Device;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::{Error, Result};

use super::{Answer, LocalTraining, OptimiserState, Server, Turn, Workers};
use crate::data::Dataset;
use crate::moments::ClientMoments;
use crate::run::client_files::{self, MomentsKey};

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
    /// For each client, the round of its saved optimiser state; 0 for none.
    pub client_rounds: Vec<u32>,
    /// Whether moments are matched per class.
    pub conditional: bool,
    /// How the moments are protected.
    pub privacy: MomentPrivacy,
    /// Share of the clients asked in a round.
    pub fraction: f64,
    /// Probability that a client asked never answers.
    pub dropout: f64,
    /// The threads that clients run on.
    pub workers: Workers,
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
    /// Mean loss of those who answered.
    pub loss: Option<f64>,
    /// MADA's step.
    pub lambda: Option<f64>,
    /// Mean divergence of those who answered, in bits per weight.
    pub kl_bits_per_weight: Option<f64>,
    /// Bytes from clients to the server.
    pub uplink_bytes: u64,
    /// Bytes from the server to clients.
    pub downlink_bytes: u64,
}

impl Simulation {
    /// Runs one round: broadcast, local training, answers, aggregation.
    ///
    /// `on_step` is called after every local step, from several threads. Each answering client's optimiser state is saved
    /// under this round; the caller commits them by writing a checkpoint with [`Simulation::client_rounds`].
    ///
    /// # Errors
    /// If a client's computation fails or its folder cannot be written. The server has then not moved.
    pub fn round(&mut self, round: u32, on_step: &(dyn Fn() + Sync)) -> Result<Round> {
        let asked = self.sample_clients(round);
        let answering: Vec<u32> = asked.iter().copied().filter(|&client| !self.drops_out(round, client)).collect();
        let broadcast = self.server.broadcast(round);
        let answers =
            self.workers.map(&answering, |&client| self.visit(Turn { round, client }, &broadcast, on_step))?;

        let mut tally = self.server.open_tally(round);
        for (&client, answer) in answering.iter().zip(&answers) {
            self.server.absorb(&mut tally, client, &answer.bytes)?;
            self.client_rounds[client as usize] = round;
        }
        Ok(Round {
            lambda: self.server.aggregate(tally),
            loss: mean(answers.iter().map(|a| a.loss)),
            kl_bits_per_weight: mean(answers.iter().map(|a| a.kl_bits_per_weight)),
            uplink_bytes: answers.iter().map(|a| a.bytes.len() as u64).sum(),
            downlink_bytes: (broadcast.len() * asked.len()) as u64,
            asked,
            answered: answering,
        })
    }

    /// One client's turn, in its own folder.
    fn visit(&self, turn: Turn, broadcast: &[u8], on_step: &(dyn Fn() + Sync)) -> Result<Answer> {
        let client = turn.client as usize;
        let generator = self.training.step.generator();
        let (arch, device) = (generator.arch(), generator.device());
        let folder = &self.folders[client];
        let moments = self.moments(client, device)?;
        let mut state: OptimiserState =
            client_files::load_state(folder, self.client_rounds[client], arch, self.training.seed, device)?;
        let answer = self.training.local_round(turn, &moments, &mut state, broadcast, on_step)?;
        client_files::save_state(folder, turn.round, arch, self.training.seed, &state)?;
        Ok(answer)
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
            members: crate::hash::of_numbers(members),
            encoder: self.training.step.encoder().digest().to_string(),
            conditional: self.conditional,
            privacy,
        };
        if let Some(moments) = client_files::load_moments(&self.folders[client], &key, device)? {
            return Ok(moments);
        }
        if let MomentPrivacy::Released(_) = self.privacy {
            let folder = self.folders[client].display();
            return Err(Error::usage(format!(
                "the protected moments of client {client} are gone from {folder}; resume the run to draw them again, which the \
                 privacy ledger counts"
            )));
        }
        let moments =
            ClientMoments::measure(self.training.step.encoder(), &self.data, members, self.conditional, device)?;
        client_files::save_moments(&self.folders[client], &key, &moments)?;
        Ok(moments)
    }

    /// The clients asked in `round`: a share of all, at least one, without replacement.
    fn sample_clients(&self, round: u32) -> Vec<u32> {
        let all = self.folders.len();
        let count = ((all as f64 * self.fraction).round() as usize).clamp(1, all);
        let mut clients: Vec<u32> = (0..all as u32).collect();
        StreamId::new(self.training.seed, Purpose::ClientSample).round(round.into()).open().shuffle(&mut clients);
        clients.truncate(count);
        clients.sort_unstable();
        clients
    }

    fn drops_out(&self, round: u32, client: u32) -> bool {
        let id = StreamId::new(self.training.seed, Purpose::Dropout).round(round.into()).client(client.into());
        id.open().uniform() < self.dropout
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}
