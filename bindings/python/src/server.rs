//! The server's half: which phase it is in, and the files of its run folder.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prism_core::file;
use prism_data::partition::Partition;
use prism_export::{Options, RunFolder, export};
use prism_fl::{Agreement, Error, Result, RoundMetrics, RunContext, round_metrics};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::agreement;
use crate::errors::{Refused, ours};
use crate::picture::picture;

/// Images in the picture of a finished model.
const IMAGES: usize = 64;

/// The party that aggregates, and that may see only what clients send it.
#[pyclass(frozen, module = "prism_fl")]
pub struct Server(Mutex<Run>);

/// A server and its run folder.
struct Run {
    server: prism_fl::Server,
    folder: RunFolder,
    clients: u32,
    rounds: u32,
    one_shot: bool,
    /// When the round was opened.
    began: Instant,
    /// Whose broadcasts and snapshots of this round are counted: one that is asked for again is the same message, and how often
    /// Flower carried it must not stand in the model.
    sent: BTreeSet<(u32, bool)>,
}

#[pymethods]
impl Server {
    #[new]
    fn new(py: Python<'_>, settings: &str, run_dir: PathBuf) -> PyResult<Self> {
        py.detach(|| Run::open(settings, run_dir)).map(|run| Server(Mutex::new(run))).map_err(ours)
    }

    /// Number of clients, K; their numbers are 0 to K - 1.
    #[getter]
    fn clients(&self) -> u32 {
        self.get().clients
    }

    /// Number of rounds, T.
    #[getter]
    fn rounds(&self) -> u32 {
        self.get().rounds
    }

    /// Whether clients train in rounds, or send their moments once and the server trains alone.
    #[getter]
    fn mode(&self) -> &'static str {
        if self.get().one_shot { "one-shot" } else { "rounds" }
    }

    /// What comes next.
    #[getter]
    fn phase(&self) -> &'static str {
        let run = self.get();
        match run.server.setup().phase() {
            Some(_) => "setup",
            None if run.server.round() < run.rounds => "rounds",
            None => "finished",
        }
    }

    /// The round that comes next, from 1.
    #[getter]
    fn round(&self) -> u32 {
        self.get().server.round() + 1
    }

    /// What is to be exchanged now beside broadcasts and updates: its title and the clients to ask; nothing where there is nothing.
    fn exchange(&self, py: Python<'_>) -> PyResult<Option<(String, Vec<u32>)>> {
        let exchange = py.detach(|| self.get().server.exchange()).map_err(ours)?;
        Ok(exchange.map(|exchange| (exchange.title, exchange.clients)))
    }

    /// The exchange's message to a client.
    fn request<'py>(&self, py: Python<'py>, client: u32) -> PyResult<Bound<'py, PyBytes>> {
        let request = py.detach(|| self.get().request(client)).map_err(ours)?;
        Ok(PyBytes::new(py, &request))
    }

    /// Takes a client's reply in the exchange.
    fn accept_reply(&self, py: Python<'_>, client: u32, reply: &[u8]) -> PyResult<()> {
        py.detach(|| self.get().server.accept_reply(client, reply)).map_err(|e| Refused::new_err(e.reason))
    }

    /// Ends the exchange with the replies so far.
    fn end_exchange(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.get().server.end_exchange()).map_err(ours)
    }

    /// The clients that this round asks, out of those that can be reached.
    fn ask(&self, py: Python<'_>, available: Vec<u32>) -> PyResult<Vec<u32>> {
        let asked = py.detach(|| {
            let mut run = self.get();
            run.began = Instant::now();
            run.sent.clear();
            run.server.ask(&available)
        });
        asked.map_err(ours)
    }

    /// The clients to send the round's broadcast to, once its exchanges have ended.
    fn cohort(&self) -> Vec<u32> {
        self.get().server.cohort()
    }

    /// The round's message to a client.
    fn broadcast<'py>(&self, py: Python<'py>, client: u32) -> PyResult<Bound<'py, PyBytes>> {
        let message = py.detach(|| self.get().message(client, false)).map_err(ours)?;
        Ok(PyBytes::new(py, &message))
    }

    /// The same for a client that cannot follow `broadcast`: the whole state instead of what changed.
    fn snapshot<'py>(&self, py: Python<'py>, client: u32) -> PyResult<Bound<'py, PyBytes>> {
        let message = py.detach(|| self.get().message(client, true)).map_err(ours)?;
        Ok(PyBytes::new(py, &message))
    }

    /// What goes to `Client.reply` before a snapshot goes to `Client.round`, for a client that lacks what was agreed on before the
    /// first round; None where that is nothing.
    fn start_request<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let request = py.detach(|| self.get().server.start_request()).map_err(ours)?;
        Ok(request.map(|bytes| PyBytes::new(py, &bytes)))
    }

    /// Takes a client's update.
    fn accept(&self, py: Python<'_>, client: u32, update: &[u8]) -> PyResult<()> {
        py.detach(|| self.get().server.accept(client, update)).map_err(|e| Refused::new_err(e.reason))
    }

    /// Closes the round to further updates; exchanges may follow.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.get().server.close()).map_err(ours)
    }

    /// Takes the server's step with the updates so far and commits it; in one-shot mode trains a round alone.
    fn end_round<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let line = py.detach(|| self.get().end_round()).map_err(ours)?;
        py.import("json")?.call_method1("loads", (line,))
    }

    /// Writes the finished model and a picture drawn from it; returns the model's path.
    fn export(&self, py: Python<'_>) -> PyResult<PathBuf> {
        py.detach(|| self.get().export()).map_err(ours)
    }
}

impl Server {
    fn get(&self) -> MutexGuard<'_, Run> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn open(settings: &str, run_dir: PathBuf) -> Result<Self> {
        let own = agreement::open(settings)?;
        let (context, folder) = (own.context, RunFolder::new(run_dir));
        std::fs::create_dir_all(folder.path())
            .map_err(|e| prism_core::Error::io("create the folder", folder.path(), e))?;
        keep_agreement(&context, &folder)?;
        keep_settings(context.agreement(), &folder)?;
        if let Some(claim) = context.claim() {
            claim.save(&folder.privacy())?;
        }
        let federation = &context.agreement().settings.federation;
        let (clients, rounds, one_shot) = (federation.clients, federation.rounds, context.is_one_shot());
        let server = prism_fl::Server::open(context, folder.clone())?;
        if let Some(peers) = &own.peers {
            server.keep_peers(peers)?;
        }
        round_metrics::rewind(&folder.metrics(), server.round())?;
        Ok(Run { server, folder, clients, rounds, one_shot, began: Instant::now(), sent: BTreeSet::new() })
    }

    fn request(&self, client: u32) -> Result<Vec<u8>> {
        self.check(client)?;
        self.server.request(client)
    }

    fn message(&mut self, client: u32, snapshot: bool) -> Result<Vec<u8>> {
        self.check(client)?;
        let message = if snapshot { self.server.snapshot(client) } else { self.server.broadcast(client) };
        if self.sent.insert((client, snapshot)) {
            self.server.note_sent(&message);
        }
        Ok(message.bytes)
    }

    fn check(&self, client: u32) -> Result<()> {
        match client < self.clients {
            true => Ok(()),
            false => Err(Error::usage(format!("client {client} does not exist; {} are numbered from 0", self.clients))),
        }
    }

    fn end_round(&mut self) -> Result<String> {
        if self.one_shot {
            self.began = Instant::now();
        }
        let report = self.server.end_round(&())?;
        let metrics = RoundMetrics::of(&report, &self.server, self.began.elapsed().as_secs_f64());
        round_metrics::append(&self.folder.metrics(), &metrics)?;
        self.server.save()?;
        serde_json::to_string(&metrics).map_err(|e| Error::usage(format!("the metrics have no JSON form: {e}")))
    }

    fn export(&self) -> Result<PathBuf> {
        let checkpoint = self.folder.last_checkpoint()?;
        export(&checkpoint, Options::of(&checkpoint), &self.folder.model())?;
        picture(&self.folder.model(), &self.folder.samples(), IMAGES)?;
        Ok(self.folder.model())
    }
}

/// The settings as a simulation of this fleet would have them, for `prism-train report` and `eval`.
fn keep_settings(agreement: &Agreement, folder: &RunFolder) -> Result<()> {
    let no_form = |e: toml::ser::Error| Error::usage(format!("the settings cannot be written as TOML: {e}"));
    let mut tables = toml::Table::try_from(&agreement.settings).map_err(no_form)?;
    let mut data = toml::Table::new();
    data.insert("dataset".into(), prism_data::Source::Folder.name().into());
    data.insert("channels".into(), (agreement.data.channels as i64).into());
    data.insert("partition".into(), Partition::Sites.to_string().into());
    tables.insert("data".into(), data.into());
    let text = toml::to_string(&tables).map_err(no_form)?;
    Ok(file::write_atomic(&folder.settings(), |out| out.write_all(text.as_bytes()))?)
}

/// A run folder belongs to one agreement: another one is refused before anything is read.
fn keep_agreement(context: &RunContext, folder: &RunFolder) -> Result<()> {
    let (path, own) = (folder.path().join("agreement.json"), context.agreement());
    if !path.exists() {
        return Ok(file::write_atomic(&path, |out| Ok(serde_json::to_writer_pretty(out, own)?))?);
    }
    let invalid = |e: serde_json::Error| prism_core::Error::corrupt(path.display().to_string(), e.to_string());
    let kept: Agreement = serde_json::from_slice(&file::read_bounded(&path, 1 << 20)?).map_err(invalid)?;
    match &kept == own {
        true => Ok(()),
        false => Err(Error::usage(format!(
            "{} holds a run of other settings; give the settings that it began with, or another folder",
            folder.path().display()
        ))),
    }
}
