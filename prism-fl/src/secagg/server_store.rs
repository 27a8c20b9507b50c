//! What the server writes down of the sum that goes on.
//!
//! ```text
//! sum/state.json      its name and lists of clients
//! sum/dealt.bin       what each dealer dealt, dealers ascending
//! sum/total.bin       the sum of the inputs; once it is opened, without blinds
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prism_core::{Error, Result, file};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::keys::ADVERT_BYTES;
use super::peers::{from_hex, to_hex};
use super::ring::RingVector;
use super::sum::SumId;

/// Most bytes of a file.
const MAX_BYTES: u64 = 1 << 36;

/// What clients have said, exchange by exchange.
pub struct Collected {
    /// The sum.
    pub id: SumId,
    /// U_0.
    pub asked: Vec<u32>,
    /// U_1 and its keys.
    pub adverts: BTreeMap<u32, [u8; ADVERT_BYTES]>,
    /// U_2 and what each dealt to U_1.
    pub dealt: BTreeMap<u32, Vec<u8>>,
    /// U_3.
    pub survivors: Vec<u32>,
    /// U_4 and what they signed with.
    pub signatures: BTreeMap<u32, [u8; 64]>,
    /// Whether the total has no blinds left.
    pub opened: bool,
    /// Bytes of the exchanges, up and down; those of inputs are the caller's.
    pub traffic: (u64, u64),
}

#[derive(Serialize, Deserialize)]
struct State {
    id: SumId,
    asked: Vec<u32>,
    adverts: BTreeMap<u32, String>,
    dealers: Vec<u32>,
    survivors: Vec<u32>,
    signatures: BTreeMap<u32, String>,
    opened: bool,
    traffic: (u64, u64),
    /// SHA-256 of the two files, once the input is complete.
    files: Option<[String; 2]>,
}

impl Collected {
    /// Nothing yet, of the `asked` clients.
    pub fn new(id: SumId, asked: Vec<u32>) -> Self {
        let (adverts, dealt, signatures) = Default::default();
        Collected { id, asked, adverts, dealt, survivors: Vec::new(), signatures, opened: false, traffic: (0, 0) }
    }
}

/// The folder of the sum that goes on.
pub struct ServerStore {
    folder: PathBuf,
    /// Digests of the large files, once they are written.
    files: Option<[String; 2]>,
}

impl ServerStore {
    /// Under the server's `folder`.
    pub fn new(folder: &Path) -> Self {
        ServerStore { folder: folder.join("sum"), files: None }
    }

    /// Removes it.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(folder: &Path) -> Result<()> {
        let path = folder.join("sum");
        match path.exists() {
            true => fs::remove_dir_all(&path).map_err(|e| Error::io("remove", &path, e)),
            false => Ok(()),
        }
    }

    /// Writes what is known beside the large files.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, collected: &Collected) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|e| Error::io("create the folder", &self.folder, e))?;
        let state = State {
            id: collected.id.clone(),
            asked: collected.asked.clone(),
            adverts: collected.adverts.iter().map(|(client, bytes)| (*client, to_hex(bytes))).collect(),
            dealers: collected.dealt.keys().copied().collect(),
            survivors: collected.survivors.clone(),
            signatures: collected.signatures.iter().map(|(client, bytes)| (*client, to_hex(bytes))).collect(),
            opened: collected.opened,
            traffic: collected.traffic,
            files: self.files.clone(),
        };
        file::write_atomic(&self.path("state.json"), |out| Ok(serde_json::to_writer(out, &state)?))
    }

    /// Writes all, with the sum of the inputs.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save_input(&mut self, collected: &Collected, total: &RingVector) -> Result<()> {
        let (dealt, total) = (collected.dealt.values().flatten().copied().collect::<Vec<u8>>(), total.pack());
        // The total of an opened sum stands beside the blinded one until the state names it.
        let name = total_name(collected.opened);
        file::write_atomic(&self.path("dealt.bin"), |out| out.write_all(&dealt))?;
        file::write_atomic(&self.path(name), |out| out.write_all(&total))?;
        self.files = Some([digest(&dealt), digest(&total)]);
        self.save(collected)
    }

    /// What is kept of a sum for the same purpose and round as `id`, whatever its attempt, and the sum of the inputs if it is
    /// complete.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn load(&mut self, id: &SumId) -> Result<Option<(Collected, Option<Vec<u8>>)>> {
        let path = self.path("state.json");
        if !path.exists() {
            return Ok(None);
        }
        let damaged = |why: &str| Error::corrupt(path.display().to_string(), why);
        let state: State =
            serde_json::from_slice(&file::read_bounded(&path, 1 << 28)?).map_err(|e| damaged(&e.to_string()))?;
        if (SumId { attempt: state.id.attempt, ..id.clone() }) != state.id {
            return Ok(None);
        }
        let bytes = |name: &str, digest_of: &String| {
            let bytes = file::read_bounded(&self.path(name), MAX_BYTES)?;
            if digest(&bytes) == *digest_of { Ok(bytes) } else { Err(damaged("a file beside it was altered")) }
        };
        let mut collected = Collected::new(state.id, state.asked);
        let Some(files) = state.files else { return Ok(Some((collected, None))) };
        let (dealt, total) = (bytes("dealt.bin", &files[0])?, bytes(total_name(state.opened), &files[1])?);
        let hex = || damaged("a key or signature is not hexadecimal");
        for (client, text) in &state.adverts {
            collected.adverts.insert(*client, from_hex(text).ok_or_else(hex)?);
        }
        for (client, text) in &state.signatures {
            collected.signatures.insert(*client, from_hex(text).ok_or_else(hex)?);
        }
        let each = dealt.len() / state.dealers.len().max(1);
        let parts = dealt.chunks(each.max(1)).map(<[u8]>::to_vec);
        collected.dealt = state.dealers.into_iter().zip(parts).collect();
        (collected.survivors, collected.opened, collected.traffic) = (state.survivors, state.opened, state.traffic);
        self.files = Some(files);
        Ok(Some((collected, Some(total))))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn total_name(opened: bool) -> &'static str {
    if opened { "opened.bin" } else { "total.bin" }
}

fn digest(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}
