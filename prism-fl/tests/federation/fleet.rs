//! Three clients and a server in one process, small enough for a debug build.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use prism_data::{LoadOptions, Source};
use prism_export::RunFolder;
use prism_fl::local_step::ClientRound;
use prism_fl::settings::{Settings, TrainingMask, UpdateCodec};
use prism_fl::{
    Agreement, Client, ClientData, DataDescription, Error, Peers, Randomness, RoundReport, RunContext, Server,
};

pub const CLIENTS: u32 = 3;
pub const SEED: u64 = 4;

/// What arrives of a client's update.
pub type Fault = Box<dyn Fn(ClientRound, Vec<u8>) -> Vec<Vec<u8>>>;

/// Whether a client's reply to the exchange of a title arrives.
pub type Arrives = Box<dyn Fn(&str, ClientRound) -> bool>;

pub struct Fleet {
    pub context: Arc<RunContext>,
    pub server: Server,
    pub clients: Vec<Client>,
    pub fault: Option<Fault>,
    pub arrives: Option<Arrives>,
    /// After how many exchanges of a round, its answers counted as one, everything stops.
    pub stop_after: Option<usize>,
}

/// A tiny unconditional federation of PRISM as published, under `codec`.
pub fn settings(codec: UpdateCodec) -> Settings {
    let mut settings = Settings::default();
    (settings.federation.clients, settings.federation.seed, settings.federation.local_steps) = (CLIENTS, SEED, 1);
    settings.federation.rounds = 9;
    (settings.model.image_size, settings.model.ngf, settings.model.latent) = (8, 2, 8);
    (settings.model.score_scale, settings.model.label_scale) = (1.0, 3.0);
    (settings.training.encoder, settings.training.batch_size) = ("random:1".into(), 4);
    (settings.training.classes_per_step, settings.training.lr) = (1, 0.1);
    settings.training.training_mask = TrainingMask::Drawn;
    settings.wire.codec = codec;
    settings
}

pub fn agreement(settings: Settings, class_names: Vec<String>) -> Agreement {
    let data =
        DataDescription { name: "strokes".into(), channels: 1, class_names, images: 30, partition: "iid".into() };
    Agreement { settings, data }
}

/// The ten images of `client`.
pub fn images(client: u32) -> ClientData {
    let options =
        LoadOptions { image_size: 8, channels: Some(1), limit: Some(30), seed: SEED, ..LoadOptions::default() };
    let first = client as usize * 10;
    ClientData {
        members: (first..first + 10).collect(),
        ..ClientData::whole(prism_data::load(Source::Strokes, &options).unwrap())
    }
}

impl Fleet {
    /// Opens the federation in `folder`: new, or as it was left.
    pub fn open(folder: &Path, settings: Settings) -> Self {
        Self::open_with(folder, agreement(settings, Vec::new()), Randomness::Seed)
    }

    pub fn open_with(folder: &Path, agreement: Agreement, randomness: Randomness) -> Self {
        let context = RunContext::new(agreement, Device::Cpu, randomness).unwrap();
        let run = RunFolder::new(folder);
        let server = Server::open(Arc::clone(&context), run.clone()).unwrap();
        let client = |id| Client::open(Arc::clone(&context), id, images(id), &run.client(id));
        let clients: Vec<Client> = (0..CLIENTS).map(client).collect();
        if context.sums_securely() {
            let peers = Peers::new(clients.iter().map(|client| client.public_key().unwrap()));
            server.keep_peers(&peers).unwrap();
            clients.iter().for_each(|client| client.keep_peers(&peers).unwrap());
        }
        Fleet { clients, server, fault: None, arrives: None, stop_after: None, context }
    }

    pub fn with_losses(mut self, arrives: impl Fn(&str, ClientRound) -> bool + 'static) -> Self {
        self.arrives = Some(Box::new(arrives));
        self
    }

    pub fn with_fault(mut self, fault: impl Fn(ClientRound, Vec<u8>) -> Vec<Vec<u8>> + 'static) -> Self {
        self.fault = Some(Box::new(fault));
        self
    }

    /// What is agreed on before the first round, with replies in the order of `clients`.
    pub fn set_up(&mut self, clients: &[u32]) {
        while let Some(exchange) = self.server.exchange().unwrap() {
            for &id in clients.iter().filter(|id| exchange.clients.contains(id)) {
                let reply = self.clients[id as usize].reply(&self.server.request(id).unwrap(), &()).unwrap();
                self.server.accept_reply(id, &reply).unwrap();
            }
            self.server.end_exchange().unwrap();
        }
    }

    /// Whether the process is stopped here.
    fn stops(&mut self) -> bool {
        let left = self.stop_after.as_mut().map(|left| {
            *left -= 1;
            *left
        });
        left == Some(0)
    }

    /// The exchanges that are due in a round; none where the process is stopped.
    fn exchange(&mut self) -> Option<()> {
        let round = self.server.round() + 1;
        while let Some(exchange) = self.server.exchange().unwrap() {
            for id in exchange.clients {
                let reply = self.clients[id as usize].reply(&self.server.request(id).unwrap(), &()).unwrap();
                let turn = ClientRound { round, client: id };
                if self.arrives.as_ref().is_none_or(|arrives| arrives(&exchange.title, turn)) {
                    self.server.accept_reply(id, &reply).unwrap();
                }
            }
            self.server.end_exchange().unwrap();
            if self.stops() {
                return None;
            }
        }
        Some(())
    }

    /// Runs one round and commits it, as a real fleet does.
    pub fn round(&mut self) -> RoundReport {
        self.begin_round().unwrap();
        let report = self.server.end_round(&()).unwrap();
        self.server.save().unwrap();
        report
    }

    /// All messages of a round; none where the process is stopped.
    pub fn begin_round(&mut self) -> Option<()> {
        self.server.ask(&(0..CLIENTS).collect::<Vec<_>>()).unwrap();
        self.exchange()?;
        let round = self.server.round() + 1;
        for id in self.server.cohort() {
            let sent = self.server.broadcast(id);
            self.server.note_sent(&sent);
            let client = &mut self.clients[id as usize];
            let result = match client.round(&sent.bytes, &()) {
                Err(Error::NeedsSnapshot { .. }) => {
                    let start = self.server.start_request().unwrap();
                    start.iter().for_each(|start| _ = client.reply(start, &()).unwrap());
                    client.round(&self.server.snapshot(id).bytes, &())
                }
                result => result,
            };
            let result = result.unwrap();
            let arrived = match &self.fault {
                None => vec![result.update],
                Some(fault) => fault(ClientRound { round, client: id }, result.update),
            };
            arrived.iter().for_each(|update| _ = self.server.accept(id, update));
            self.server.note(id, result.report);
        }
        self.server.close().unwrap();
        if self.stops() {
            return None;
        }
        self.exchange()
    }

    /// The digest of the server's scores.
    pub fn digest(&self) -> [u8; 8] {
        self.server.state().digest()
    }
}
