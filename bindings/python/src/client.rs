//! A site's client.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prism_core::file;
use prism_fl::{ClientData, Error, Ledger, Result};
use pyo3::prelude::*;

use crate::agreement;
use crate::errors::{About, ours, raise};
use crate::notes::Notes;

/// A party that holds images and answers the server's messages.
#[pyclass(frozen, module = "prism_fl")]
pub struct Client(Mutex<prism_fl::Client>);

#[pymethods]
impl Client {
    #[new]
    fn new(py: Python<'_>, settings: &str, data_dir: PathBuf, state_dir: PathBuf, client: u32) -> PyResult<Self> {
        let notes = Notes::default();
        let client = py.detach(|| open(settings, (&data_dir, &state_dir), client, &notes));
        notes.log(py)?;
        client.map(|client| Client(Mutex::new(client))).map_err(ours)
    }

    /// This client's public key, by which the others know it in secure sums.
    #[getter]
    fn public_key(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| self.get().public_key()).map(|key| key.to_string()).map_err(ours)
    }

    /// Answers one request of an exchange.
    fn reply(&self, py: Python<'_>, request: &[u8]) -> PyResult<Vec<u8>> {
        let notes = Notes::default();
        let reply = py.detach(|| self.get().reply(request, &notes));
        notes.log(py)?;
        reply.map_err(|e| raise(e, About::AMessage))
    }

    /// Trains on a broadcast or a snapshot and returns the update.
    fn round(&self, py: Python<'_>, broadcast: &[u8]) -> PyResult<Vec<u8>> {
        let notes = Notes::default();
        let result = py.detach(|| self.get().round(broadcast, &notes));
        notes.log(py)?;
        result.map(|result| result.update).map_err(|e| raise(e, About::AMessage))
    }
}

impl Client {
    fn get(&self) -> MutexGuard<'_, prism_fl::Client> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// ```text
/// state_dir/privacy-ledger.jsonl      every draw of noise on this site's images, in any federation
/// state_dir/<federation>/number       which client this site is there
/// state_dir/<federation>/...          what the client keeps
/// ```
fn open(settings: &str, (data_dir, state_dir): (&Path, &Path), number: u32, notes: &Notes) -> Result<prism_fl::Client> {
    let agreement::Own { context, peers, total_epsilon, reading } = agreement::open(settings)?;
    let clients = context.agreement().settings.federation.clients;
    if number >= clients {
        return Err(Error::usage(format!("client {number} does not exist; {clients} clients are numbered from 0")));
    }
    let folder = state_dir.join(agreement::id(context.agreement())?);
    std::fs::create_dir_all(&folder).map_err(|e| prism_core::Error::io("create the folder", &folder, e))?;
    keep_number(&folder.join("number"), number)?;
    let data = ClientData::whole(agreement::load_images(context.agreement(), data_dir, reading, notes)?);
    let client = prism_fl::Client::open(context, number, data, &folder);
    let client = client.with_ledger(Ledger::new(state_dir.join("privacy-ledger.jsonl"), total_epsilon));
    if let Some(peers) = &peers {
        client.keep_peers(peers)?;
    }
    client.check()?;
    Ok(client)
}

/// A site that was client 1 does not become client 2 of the same federation.
fn keep_number(path: &Path, number: u32) -> Result<()> {
    if !path.exists() {
        return Ok(file::write_atomic(path, |out| out.write_all(number.to_string().as_bytes()))?);
    }
    let text = String::from_utf8_lossy(&file::read_bounded(path, 16)?).into_owned();
    match text.trim().parse::<u32>() {
        Ok(kept) if kept == number => Ok(()),
        _ => Err(Error::usage(format!(
            "this site is client {text} of this federation and the server calls it client {number}; ask its operator to restore \
             clients.json"
        ))),
    }
}
