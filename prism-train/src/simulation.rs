//! A fleet in one process: the server, and clients in folders beside each other, with every message crossing as bytes.
//!
//! The calls are those of a real fleet; only the order in which clients answer, and what waits in memory between rounds, is
//! decided here.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prism_export::RunFolder;
use prism_fl::codec::Uplink;
use prism_fl::context::Privacy;
use prism_fl::downlink::Outgoing;
use prism_fl::local_step::ClientRound;
use prism_fl::{
    Client, ClientData, ClientResult, Ledger, Observer, Peers, Result, RoundReport, RunContext, Server,
    write_into_ledger,
};

use crate::phases::{Phases, Stopwatch};
use crate::workers::Workers;

/// Bytes of clients' states that may stay in memory between rounds; what does not fit is read from their folders.
const CLIENT_MEMORY: u64 = 512 << 20;

/// Takes a client's update and says what arrives: the same bytes, others, nothing, or several messages. For tests.
pub type FaultInjector = Box<dyn Fn(ClientRound, Vec<u8>) -> Vec<Vec<u8>> + Sync + Send>;

/// A fleet in one process.
pub struct Simulation {
    context: Arc<RunContext>,
    /// The server.
    pub server: Server,
    clients: Vec<Mutex<Client>>,
    /// Images of each client.
    sizes: Vec<usize>,
    /// All clients' images.
    images: ClientData,
    workers: Workers,
    /// Clients that took part in rounds that are not committed yet.
    uncommitted: BTreeSet<u32>,
    /// What happens to updates on their way; nothing, by default.
    pub faults: Option<FaultInjector>,
}

impl Simulation {
    /// A fleet whose client k holds `clients[k]` and lives in `folder`, computing on `threads` threads.
    ///
    /// # Errors
    /// If the folder holds another run, or the system refuses the threads.
    pub fn open(
        context: Arc<RunContext>,
        clients: Vec<ClientData>,
        folder: &RunFolder,
        threads: usize,
    ) -> Result<Self> {
        // A GPU is kept busy by one client; on the CPU several share the cores. A server that trains alone asks nobody.
        let side_by_side = if context.is_one_shot() || !context.device().is_cpu() { 1 } else { clients.len() };
        let workers = Workers::new(if context.is_one_shot() { 1 } else { threads }, side_by_side)?;
        let server = Server::open(Arc::clone(&context), folder.clone())?;
        let deferred = can_defer(&context);
        let images = all_images(&clients)?;
        let sizes = clients.iter().map(|client| client.members.len()).collect();
        let client = |(id, data): (usize, ClientData)| {
            let client = Client::open(Arc::clone(&context), id as u32, data, &folder.client(id as u32));
            Mutex::new(client.deferred(deferred))
        };
        let clients: Vec<_> = clients.into_iter().enumerate().map(client).collect();
        if context.sums_securely() {
            gather_keys(&server, &clients)?;
        }
        Ok(Simulation { context, server, clients, sizes, images, workers, uncommitted: BTreeSet::new(), faults: None })
    }

    /// Refuses what can be refused before any image is looked at, or noise drawn.
    ///
    /// # Errors
    /// The first client's refusal.
    pub fn check(&self) -> Result<()> {
        (0..self.clients.len()).try_for_each(|id| self.client(id as u32).check())
    }

    /// Brings the fleet to its first round: what all agree on, and noise that clients draw for themselves. Where noise will be
    /// drawn, `ledger` says so first.
    ///
    /// # Errors
    /// If a computation fails, a folder cannot be written, or the process is asked to stop.
    pub fn set_up(&mut self, ledger: Option<&Ledger>, run: &Path, observer: &dyn Observer) -> Result<()> {
        let phases = self.server.setup().phase().is_some();
        let draws = match self.context.privacy() {
            Privacy::None => false,
            Privacy::Moments(_) => phases || !(0..self.clients.len()).all(|id| self.client(id as u32).is_prepared()),
            Privacy::Masks(..) => !(0..self.clients.len()).any(|id| self.client(id as u32).has_drawn()),
        };
        if let (Some(claim), Some(ledger)) = (self.context.claim(), ledger) {
            if draws && !self.is_drawn() {
                write_into_ledger(ledger, claim, (&self.images, run), observer)?;
            }
            self.server.state_total(ledger.total(claim, &self.images)?);
        }
        self.announce_measuring(&self.ids(), observer);
        self.exchange(observer)?;
        if self.context.mechanism().is_some() && !self.context.is_one_shot() {
            (0..self.clients.len()).try_for_each(|id| self.client(id as u32).prepare(observer))?;
        }
        Ok(())
    }

    /// Says how many images those of the clients `ids` hold that have measured none yet.
    fn announce_measuring(&self, ids: &[u32], observer: &dyn Observer) {
        let left = |&id: &u32| if self.client(id).is_prepared() { 0 } else { self.sizes[id as usize] };
        observer.on_measuring(ids.iter().map(left).sum());
    }

    /// Puts every request that is due to the clients that it is for, one after another.
    fn exchange(&mut self, observer: &dyn Observer) -> Result<()> {
        while let Some(exchange) = self.server.exchange()? {
            for id in exchange.clients {
                let reply = self.client(id).reply(&self.server.request(id)?, observer)?;
                self.server.accept_reply(id, &reply).map_err(|e| prism_fl::Error::usage(e.to_string()))?;
            }
            self.server.end_exchange()?;
        }
        Ok(())
    }

    /// Whether all clients have drawn their noise already.
    fn is_drawn(&self) -> bool {
        self.context.mechanism().is_some() && (0..self.clients.len()).all(|id| self.client(id as u32).has_drawn())
    }

    /// Runs one round: broadcast, local training, answers, aggregation.
    ///
    /// # Errors
    /// If a client's computation fails or a folder cannot be written. Nothing must then be committed any more.
    pub fn round(&mut self, observer: &dyn Observer) -> Result<(RoundReport, Phases)> {
        let mut clock = Stopwatch::start();
        if self.context.is_one_shot() {
            let report = self.server.end_round(observer)?;
            return Ok((report, Phases { clients: clock.lap(), ..Phases::default() }));
        }
        self.server.ask(&self.ids())?;
        // Images are measured before anything of the round is changed: a run may be asked to stop meanwhile.
        self.announce_measuring(&self.server.cohort(), observer);
        self.workers.map(&self.server.cohort(), |&id| self.client(id).prepare(observer))?;
        self.exchange(observer)?;
        let asked = self.server.cohort();
        self.uncommitted.extend(&asked);
        let broadcasts = self.broadcasts(&asked)?;
        let broadcasting = clock.lap();
        let results =
            self.workers.map(&asked, |&id| self.client(id).round(&broadcasts[&self.last_round(id)].bytes, observer))?;
        asked.iter().for_each(|&id| self.server.note_sent(&broadcasts[&self.last_round(id)]));
        let clients = clock.lap();
        self.collect(&asked, results, observer)?;
        let report = self.server.end_round(observer)?;
        if let Some(why) = &report.failed {
            observer.on_warning(&format!("round {} counts no answer: {why}", self.server.round()));
        }
        self.trim_memory()?;
        Ok((report, Phases { broadcasting, clients, aggregating: clock.lap(), ..Phases::default() }))
    }

    /// One message for each state that clients may have; each is decoded once, with all threads.
    fn broadcasts(&self, asked: &[u32]) -> Result<BTreeMap<u32, Outgoing>> {
        let broadcaster = self.server.broadcaster();
        let mut broadcasts = BTreeMap::new();
        for &id in asked {
            let last = self.last_round(id);
            if let Entry::Vacant(entry) = broadcasts.entry(last) {
                let sent = entry.insert(broadcaster.message(last));
                self.client(id).receive(&sent.bytes)?;
            }
        }
        Ok(broadcasts)
    }

    /// Brings the clients' answers to the server.
    fn collect(&mut self, asked: &[u32], results: Vec<ClientResult>, observer: &dyn Observer) -> Result<()> {
        let round = self.server.round() + 1;
        let mut messages = Vec::new();
        let mut reports = Vec::new();
        for (&client, ClientResult { update, report }) in asked.iter().zip(results) {
            let arrived = match &self.faults {
                None => vec![update],
                Some(faults) => faults(ClientRound { round, client }, update),
            };
            messages.extend(arrived.into_iter().map(|bytes| (client, bytes)));
            reports.push((client, report));
        }
        // As many at a time as can be decoded at once: decoded, they are larger than as messages.
        for batch in messages.chunks(self.workers.count()) {
            let decoded = self.workers.map(batch, |(client, bytes)| Ok(self.server.decode(*client, bytes)))?;
            for ((client, bytes), decoded) in batch.iter().zip(decoded) {
                // What is refused is in the round's report.
                let _ = self.server.add(*client, bytes.len(), decoded);
            }
        }
        self.server.close()?;
        self.exchange(observer)?;
        reports.into_iter().for_each(|(client, report)| self.server.note(client, report));
        Ok(())
    }

    /// Whether the rounds that have ended may wait for a checkpoint. Not where an answer may be refused, or where noise is drawn
    /// anew in a repeated round, or where clients open the sum of a round once. A server that trains alone relies on the checkpoint
    /// of every round.
    pub fn can_wait(&self) -> bool {
        can_defer(&self.context) && self.faults.is_none() && !self.context.is_one_shot()
    }

    /// Commits the rounds that have ended: before it, a run that is opened again repeats them; after it, it never does.
    ///
    /// # Errors
    /// If a folder cannot be written.
    pub fn commit(&mut self) -> Result<()> {
        let ids: Vec<u32> = std::mem::take(&mut self.uncommitted).into_iter().collect();
        self.workers.map(&ids, |&id| self.client(id).save())?;
        self.server.save()?;
        ids.iter().try_for_each(|&id| self.client(id).commit(self.last_round(id)))
    }

    /// Client `id`, which no other thread has meanwhile.
    pub fn client(&self, id: u32) -> MutexGuard<'_, Client> {
        self.clients[id as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ids(&self) -> Vec<u32> {
        (0..self.clients.len() as u32).collect()
    }

    fn last_round(&self, id: u32) -> u32 {
        self.server.last_rounds()[id as usize]
    }

    fn trim_memory(&self) -> Result<()> {
        let mut held = 0;
        for id in 0..self.clients.len() as u32 {
            let mut client = self.client(id);
            held += client.memory_bytes();
            if held > CLIENT_MEMORY {
                held -= client.memory_bytes();
                client.unload()?;
            }
        }
        Ok(())
    }
}

/// The images of all `clients`, which hold parts of one data set.
fn all_images(clients: &[ClientData]) -> Result<ClientData> {
    let first = clients.first().ok_or_else(|| prism_fl::Error::usage("a federation has one client or more"))?;
    let mut members: Vec<usize> = clients.iter().flat_map(|client| client.members.iter().copied()).collect();
    members.sort_unstable();
    Ok(ClientData { dataset: Arc::clone(&first.dataset), members })
}

/// The list of all clients' public keys, for each of them and for the server.
fn gather_keys(server: &Server, clients: &[Mutex<Client>]) -> Result<()> {
    let lock = |client: &Mutex<Client>| client.lock().unwrap_or_else(PoisonError::into_inner).public_key();
    let peers = Peers::new(clients.iter().map(lock).collect::<Result<Vec<_>>>()?);
    server.keep_peers(&peers)?;
    clients.iter().try_for_each(|client| client.lock().unwrap_or_else(PoisonError::into_inner).keep_peers(&peers))
}

/// Whether clients' states may wait in memory for a checkpoint.
fn can_defer(context: &RunContext) -> bool {
    let session = context.session();
    let repeats = !matches!(context.privacy(), Privacy::Masks(..)) && session.uplink() != Uplink::Sums;
    repeats && session.mask_weights() == session.weights()
}
