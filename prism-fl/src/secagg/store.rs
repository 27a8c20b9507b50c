//! What a client writes down of a sum, so that it answers each exchange once, whatever process it lives in.
//!
//! ```text
//! identity.key, identity.pub      what it signs with, and what others know it by
//! peers                           the list of public keys ([`super::peers`])
//! sum-PURPOSE.json                the newest sum of this purpose: its name, its secrets until it is opened, and the digest of
//!                                 each request that was answered and of the answer
//! sum-PURPOSE-STAGE.request       the request, and the answer
//! sum-PURPOSE-STAGE.reply
//! ```
//!
//! The record is on disk before an answer leaves. Secrets are in files that only their owner can read; they are removed, but
//! not overwritten, once the sum is opened.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use curve25519_dalek::Scalar;
use prism_core::{Error, Result, file};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::keys::{Identity, Secrets};
use super::message::refuse;
use super::peers::{from_hex, to_hex};
use super::sum::{Purpose, Stage, SumId};

/// Most bytes of a kept message.
const MAX_MESSAGE: u64 = 1 << 32;

/// The digests of a request and of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    request: String,
    reply: String,
}

/// The newest sum of one purpose.
#[derive(Serialize, Deserialize)]
struct Record {
    id: SumId,
    /// Three secrets, hexadecimal; none once the sum is opened.
    secrets: Option<[String; 3]>,
    /// U_2, once the client's input has gone.
    dealers: Vec<u32>,
    given: BTreeMap<Stage, Given>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.secrets.iter_mut().flatten().for_each(Zeroize::zeroize);
    }
}

/// A client's record of the sums of one purpose.
pub struct Store {
    folder: PathBuf,
    purpose: Purpose,
    record: Option<Record>,
}

impl Store {
    /// The record in `folder`.
    ///
    /// # Errors
    /// If it is damaged. It must then be restored: without it, a client could give what it must not give twice.
    pub fn open(folder: &Path, purpose: Purpose) -> Result<Self> {
        let path = record_path(folder, purpose);
        let record = match path.exists() {
            false => None,
            true => {
                let bytes = Zeroizing::new(file::read_bounded(&path, 1 << 20)?);
                let record = serde_json::from_slice(&bytes);
                Some(record.map_err(|e| Error::corrupt(path.display().to_string(), e.to_string()))?)
            }
        };
        Ok(Store { folder: folder.to_path_buf(), purpose, record })
    }

    /// The newest sum.
    pub fn id(&self) -> Option<&SumId> {
        self.record.as_ref().map(|record| &record.id)
    }

    /// Whether this client has helped to open it.
    pub fn is_opened(&self) -> bool {
        self.has_given(Stage::Unmask)
    }

    /// Whether it has answered in `stage`.
    pub fn has_given(&self, stage: Stage) -> bool {
        self.record.as_ref().is_some_and(|record| record.given.contains_key(&stage))
    }

    /// U_2, once the client's input has gone.
    pub fn dealers(&self) -> &[u32] {
        self.record.as_ref().map_or(&[], |record| &record.dealers)
    }

    /// The answer that went to this very request in `stage` of the newest sum; none where it has not answered.
    ///
    /// # Errors
    /// If it has answered another request, or the answer is lost.
    pub fn answer(&self, stage: Stage, request: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(record) = &self.record else { return Ok(None) };
        let Some(given) = record.given.get(&stage) else { return Ok(None) };
        if given.request != digest(request) {
            return Err(refuse(format!(
                "another request for {} of {} has been answered, and each exchange is answered once",
                stage.name(),
                record.id
            )));
        }
        Ok(Some(self.read(stage, "reply", &given.reply)?))
    }

    /// The request that was answered in `stage`.
    ///
    /// # Errors
    /// If there was none, or it is lost.
    pub fn request(&self, stage: Stage) -> Result<Vec<u8>> {
        let given = self.record.as_ref().and_then(|record| record.given.get(&stage));
        let given = given.ok_or_else(|| refuse(format!("its exchange of {} has not been", stage.name())))?;
        self.read(stage, "request", &given.request)
    }

    /// The secrets of the newest sum.
    ///
    /// # Errors
    /// If it is opened, or they are damaged.
    pub fn secrets(&self) -> Result<Secrets> {
        let kept = self.record.as_ref().and_then(|record| record.secrets.as_ref());
        let [channel, pair, own] = kept.ok_or_else(|| refuse("the sum is over and its secrets are removed"))?;
        let damaged = || {
            Error::corrupt(record_path(&self.folder, self.purpose).display().to_string(), "a secret is not 32 bytes")
        };
        let scalar = |text: &String| {
            let bytes = Zeroizing::new(from_hex::<32>(text).ok_or_else(damaged)?);
            Option::<Scalar>::from(Scalar::from_canonical_bytes(*bytes)).ok_or_else(damaged)
        };
        Ok(Secrets { channel: from_hex(channel).ok_or_else(damaged)?, pair: scalar(pair)?, own: scalar(own)? })
    }

    /// Begins a sum in the place of the one before.
    pub fn begin(&mut self, id: SumId, secrets: &Secrets) {
        let text = [&secrets.channel, secrets.pair.as_bytes(), secrets.own.as_bytes()].map(|bytes| to_hex(bytes));
        self.record = Some(Record { id, secrets: Some(text), dealers: Vec::new(), given: BTreeMap::new() });
    }

    /// Notes U_2, which the client's input is blinded for.
    pub fn note_dealers(&mut self, dealers: &[u32]) {
        if let Some(record) = &mut self.record {
            record.dealers = dealers.to_vec();
        }
    }

    /// Writes down that `reply` is the answer to `request` in `stage`. The answer may leave once this returns.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn keep(&mut self, stage: Stage, request: &[u8], reply: &[u8]) -> Result<()> {
        make(&self.folder)?;
        // A request for input is a broadcast, which is not read again.
        let kept_request: &[u8] = if stage == Stage::Input { &[] } else { request };
        for (what, bytes) in [("request", kept_request), ("reply", reply)] {
            file::write_atomic(&self.path(stage, what), |out| out.write_all(bytes))?;
        }
        let path = record_path(&self.folder, self.purpose);
        let Some(record) = &mut self.record else { return Err(refuse("no sum goes on")) };
        record.given.insert(stage, Given { request: digest(request), reply: digest(reply) });
        if stage == Stage::Unmask {
            record.secrets.iter_mut().flatten().for_each(Zeroize::zeroize);
            record.secrets = None;
        }
        let json = serde_json::to_vec(record).map_err(|e| Error::corrupt(path.display().to_string(), e.to_string()))?;
        write_private(&path, &Zeroizing::new(json))
    }

    fn read(&self, stage: Stage, what: &str, expected: &str) -> Result<Vec<u8>> {
        let path = self.path(stage, what);
        let bytes = file::read_bounded(&path, MAX_MESSAGE)?;
        match digest(&bytes) == expected {
            true => Ok(bytes),
            false => Err(Error::corrupt(path.display().to_string(), "it is not what the record of its sum says")),
        }
    }

    fn path(&self, stage: Stage, what: &str) -> PathBuf {
        self.folder.join(format!("sum-{}-{}.{what}", self.purpose.name(), stage.name()))
    }
}

fn record_path(folder: &Path, purpose: Purpose) -> PathBuf {
    folder.join(format!("sum-{}.json", purpose.name()))
}

fn digest(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

/// The identity in `folder`, which is made if there is none.
///
/// # Errors
/// If it is damaged, or the folder cannot be written.
pub fn identity(folder: &Path) -> Result<Identity> {
    let path = folder.join("identity.key");
    let identity = match path.exists() {
        true => {
            let text = Zeroizing::new(file::read_bounded(&path, 256)?);
            let text = std::str::from_utf8(&text).unwrap_or_default();
            let secret = from_hex::<32>(text.trim()).map(Zeroizing::new).ok_or_else(|| {
                Error::corrupt(path.display().to_string(), "it is not 64 hexadecimal digits; restore it from a copy")
            })?;
            Identity::from_bytes(&secret)
        }
        false => {
            make(folder)?;
            let identity = Identity::generate()?;
            let text = Zeroizing::new(to_hex(&*identity.to_bytes()) + "\n");
            write_private(&path, text.as_bytes())?;
            identity
        }
    };
    let (public, text) = (folder.join("identity.pub"), format!("{}\n", identity.public()));
    if !fs::read(&public).is_ok_and(|found| found == text.as_bytes()) {
        file::write_atomic(&public, |out| out.write_all(text.as_bytes()))?;
    }
    Ok(identity)
}

/// Replaces the file at `path`, which its owner alone can read.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut out = options.open(&temporary)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| Error::io("write", path, e))?;
    // Some file systems cannot sync a folder; the rename is atomic there all the same.
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(attempt: u32) -> SumId {
        SumId { federation: [1; 32], purpose: Purpose::Round, round: 2, attempt }
    }

    #[test]
    fn each_exchange_is_answered_once_and_secrets_go_with_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::generate().unwrap();
        let mut store = Store::open(folder.path(), Purpose::Round).unwrap();
        store.begin(id(1), &secrets);
        store.keep(Stage::Keys, b"ask", b"key").unwrap();
        let mut store = Store::open(folder.path(), Purpose::Round).unwrap();
        assert_eq!(store.id(), Some(&id(1)));
        assert_eq!(store.answer(Stage::Keys, b"ask").unwrap(), Some(b"key".to_vec()));
        let other = store.answer(Stage::Keys, b"ask else").unwrap_err().to_string();
        assert!(other.contains("answered once"), "{other}");
        assert_eq!(store.answer(Stage::Unmask, b"ask").unwrap(), None);
        assert_eq!(store.secrets().unwrap().own, secrets.own);
        store.keep(Stage::Unmask, b"open", b"shares").unwrap();
        let store = Store::open(folder.path(), Purpose::Round).unwrap();
        assert!(store.is_opened() && store.secrets().is_err());
        let text = fs::read_to_string(record_path(folder.path(), Purpose::Round)).unwrap();
        assert!(!text.contains(&to_hex(secrets.own.as_bytes())));
        fs::write(store.path(Stage::Keys, "reply"), b"other").unwrap();
        assert!(store.answer(Stage::Keys, b"ask").is_err());
    }

    #[test]
    fn an_identity_is_made_once_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = identity(folder.path()).unwrap().public();
        assert_eq!(identity(folder.path()).unwrap().public(), first);
        let public = fs::read_to_string(folder.path().join("identity.pub")).unwrap();
        assert_eq!(public.trim().parse::<super::super::peers::PublicKey>().unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(folder.path().join("identity.key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{mode:o}");
        }
        fs::write(folder.path().join("identity.key"), "short").unwrap();
        assert!(identity(folder.path()).err().unwrap().to_string().contains("restore"));
    }
}
