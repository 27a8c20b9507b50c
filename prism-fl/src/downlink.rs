//! The server's side of the downlink: a client is sent the records of the rounds that it missed, or a snapshot if that is shorter.
//!
//! A record is dropped once it and all later ones together outweigh any snapshot, since nobody would be sent it again. So the
//! log never grows beyond one snapshot, however long the run.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use prism_core::{Error, Result, file};
use sha2::{Digest, Sha256};

use crate::aggregation::Aggregate;
use crate::codec::{Prior, counts, differences, snapshot};
use crate::global_state::GlobalState;
use crate::mask_sum::MaskSum;
use crate::wire::{Broadcast, Content, Downlink, Session, record};

/// Bytes before a record in its file: a checksum, and the bound.
const FILE_HEADER: usize = 16;

/// Most bytes that the file of a record may have, however many clients there are.
const MAX_BYTES: u64 = 1 << 32;

/// The record of one round.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The record's bytes.
    pub record: Vec<u8>,
    /// What information theory asks for it, in bits.
    pub bound_bits: f64,
}

/// The records of the rounds `next - entries .. next`.
#[derive(Clone, Debug)]
pub struct RecordLog {
    /// The round whose record comes next.
    next: u32,
    entries: VecDeque<Entry>,
    limit: usize,
}

impl RecordLog {
    /// The history after `round` rounds, with no records.
    pub fn new(session: &Session, round: u32) -> Self {
        let bits = session.downlink().grid().map_or(0, |grid| usize::from(grid.bits()));
        RecordLog { next: round + 1, entries: VecDeque::new(), limit: session.weights() * bits / 8 + 64 }
    }

    /// Adds the record of the round that ended.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        self.next += 1;
        let mut total = 0;
        let kept = self.entries.iter().rev().take_while(|entry| {
            total += entry.record.len();
            total <= self.limit
        });
        let kept = kept.count().max(1);
        self.entries.drain(..self.entries.len() - kept.min(self.entries.len()));
    }

    /// The records of the rounds after `base`, or `None` if some were dropped.
    pub fn since(&self, base: u32) -> Option<impl Iterator<Item = &Entry>> {
        let missed = (self.next - 1).checked_sub(base)? as usize;
        let skip = self.entries.len().checked_sub(missed)?;
        Some(self.entries.range(skip..))
    }

    /// Writes the newest record into `folder`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let Some(entry) = self.entries.back() else { return Ok(()) };
        fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
        let bound = entry.bound_bits.to_le_bytes();
        file::write_atomic(&path(folder, self.next - 1), |out| {
            out.write_all(&checksum(&bound, &entry.record))?;
            out.write_all(&bound)?;
            out.write_all(&entry.record)
        })
    }

    /// Reads the history after `round` rounds of at most `clients` clients from `folder`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a record was altered, [`Error::Io`] if it cannot be read.
    pub fn load(session: &Session, clients: u32, round: u32, folder: &Path) -> Result<Self> {
        // No code takes more than 32 bits a weight from each client, and some bytes to say whose they are.
        let of_client = 4 * session.weights() as u64 + 1024;
        let limit = FILE_HEADER as u64 + of_client.saturating_mul(u64::from(clients) + 1);
        let mut history = RecordLog::new(session, 0);
        let first = (1..=round).rev().take_while(|&n| path(folder, n).exists()).last();
        history.next = first.unwrap_or(round + 1);
        for number in history.next..=round {
            let path = path(folder, number);
            let bytes = file::read_bounded(&path, limit.min(MAX_BYTES))?;
            let (head, record) = bytes.split_at_checked(FILE_HEADER).unwrap_or_default();
            let (sum, bound) = head.split_at_checked(8).unwrap_or_default();
            let Ok(bound_bits) = <[u8; 8]>::try_from(bound) else { return Err(damaged(&path)) };
            if checksum(bound, record) != sum {
                return Err(damaged(&path));
            }
            history.push(Entry { record: record.to_vec(), bound_bits: f64::from_le_bytes(bound_bits) });
        }
        Ok(history)
    }

    /// Removes the files of records that were dropped from `folder`.
    ///
    /// # Errors
    /// [`Error::Io`] if one cannot be removed.
    pub fn tidy(&self, folder: &Path) -> Result<()> {
        let mut number = (self.next - 1).saturating_sub(self.entries.len() as u32);
        while number > 0 && path(folder, number).exists() {
            let path = path(folder, number);
            fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
            number -= 1;
        }
        Ok(())
    }
}

fn path(folder: &Path, round: u32) -> PathBuf {
    folder.join(format!("round-{round:06}.record"))
}

fn checksum(bound: &[u8], record: &[u8]) -> [u8; 8] {
    let hash = Sha256::new().chain_update(bound).chain_update(record).finalize();
    std::array::from_fn(|i| hash[i])
}

fn damaged(path: &Path) -> Error {
    Error::corrupt(
        format!("the record {}", path.display()),
        "it was altered or cut short: restore it, or start a new run",
    )
}

/// A message for one client.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The message.
    pub bytes: Vec<u8>,
    /// What information theory asks for its content, in bits.
    pub bound_bits: f64,
}

/// What a round's broadcasts are made of: the state, and how it came about.
pub struct Broadcaster<'a> {
    state: &'a GlobalState,
    log: &'a RecordLog,
    cohort: Vec<u32>,
    /// Every score's index and their entropy, once a client needs a snapshot: they are the same for all.
    indices: OnceLock<(Vec<i32>, f64)>,
}

impl<'a> Broadcaster<'a> {
    /// Opens the round after `state`; `cohort` names its clients where these must know each other.
    pub fn new(state: &'a GlobalState, log: &'a RecordLog, cohort: Vec<u32>) -> Self {
        Broadcaster { state, log, cohort, indices: OnceLock::new() }
    }

    /// The message for a client whose last counted round was `last` (0 for none): the records since the state that it then
    /// knew, or a snapshot, whichever is shorter.
    pub fn message(&self, last: u32) -> Outgoing {
        let session = self.state.session();
        if session.downlink() == Downlink::Scores {
            let content = Content::Scores(self.state.scores().to_vec());
            return self.encode(last, content, 32.0 * session.weights() as f64);
        }
        let base = Broadcast::base_of(last);
        let replay = self.log.since(base).map(|entries| {
            let (records, bounds): (Vec<_>, Vec<_>) = entries.map(|e| (e.record.clone(), e.bound_bits)).unzip();
            self.encode(last, Content::Replay { records, digest: self.state.digest() }, bounds.iter().sum())
        });
        let least = session.downlink().grid().map_or(0, |grid| snapshot::least_bytes(session.weights(), grid));
        match replay {
            // A snapshot takes its time, and would be no shorter.
            Some(replay) if base == self.state.round() || replay.bytes.len() <= least => replay,
            Some(replay) => {
                let snapshot = self.snapshot(last);
                if replay.bytes.len() <= snapshot.bytes.len() { replay } else { snapshot }
            }
            None => self.snapshot(last),
        }
    }

    /// The whole state, for a client that has none to go on from; what every client gets where states always go whole.
    pub fn snapshot(&self, last: u32) -> Outgoing {
        if self.state.session().downlink() == Downlink::Scores {
            return self.message(last);
        }
        let (indices, bound_bits) = self.indices.get_or_init(|| {
            let indices = self.state.indices();
            let bound_bits = snapshot::entropy_bits(&indices);
            (indices, bound_bits)
        });
        self.encode(last, Content::Snapshot { indices: indices.clone(), digest: self.state.digest() }, *bound_bits)
    }

    fn encode(&self, last: u32, content: Content, bound_bits: f64) -> Outgoing {
        let broadcast = Broadcast { last, cohort: self.cohort.clone(), content };
        Outgoing { bytes: broadcast.encode(self.state.session(), self.state.round() + 1), bound_bits }
    }
}

/// The record of a round that ended with `aggregate`, before which both sides knew `prior`; none where clients are sent whole
/// states. `relay_bound` is the sum over answers of KL(client || prior) in bits, the bound of a relay: the server itself
/// cannot know it, and uses it for its report only.
pub fn record_of(session: &Session, prior: &Prior, aggregate: &Aggregate, relay_bound: f64) -> Option<Entry> {
    let score_bits = |copies: usize| 32.0 * (copies * (session.weights() - session.mask_weights())) as f64;
    let (answers, scores) = (aggregate.answers(), aggregate.mean_scores());
    let (record, bound_bits) = match (session.downlink(), aggregate.masks()) {
        (Downlink::Scores, _) => return None,
        _ if answers == 0 => (Vec::new(), 0.0),
        (Downlink::Relay, _) => {
            (record::relay(aggregate.updates()), relay_bound + score_bits(aggregate.updates().len()))
        }
        (Downlink::Counts, MaskSum::Votes(votes)) => rayon::join(
            || record::counts(session, prior, answers, votes, &scores),
            || counts::bound_bits(votes, answers, prior) + score_bits(1),
        ),
        (Downlink::Counts, MaskSum::Differences(sums)) => rayon::join(
            || record::differences(session, prior, answers, sums, &scores),
            || differences::bound_bits(sums, prior) + score_bits(1),
        ),
    };
    Some(Entry { record, bound_bits })
}

#[cfg(test)]
mod tests {
    use prism_core::Architecture;

    use super::*;

    fn session() -> Session {
        let arch = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 0, label_scale: 3.0 };
        Session::new(&arch, 1, 0).unwrap().with_codecs("mrc".parse().unwrap(), "relay".parse().unwrap())
    }

    fn entry(n: u8, length: usize) -> Entry {
        Entry { record: vec![n; length], bound_bits: f64::from(n) }
    }

    #[test]
    fn records_are_kept_while_a_replay_can_be_the_shorter_way() {
        let mut log = RecordLog::new(&session(), 0);
        (1..=9).for_each(|n| log.push(entry(n, 60)));
        let since = |base| log.since(base).map(|records| records.map(|e| e.record[0]).collect::<Vec<_>>());
        assert_eq!(since(9), Some(vec![]));
        assert_eq!(since(7), Some(vec![8, 9]));
        assert_eq!(since(0), None, "the first records outweigh a snapshot of {} bytes", log.limit);
        assert_eq!(since(10), None);
    }

    #[test]
    fn a_log_is_resumed_from_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = RecordLog::new(&session(), 0);
        for n in 1..=9 {
            log.push(entry(n, 60));
            log.save(folder.path()).unwrap();
            log.tidy(folder.path()).unwrap();
        }
        let resumed = RecordLog::load(&session(), 3, 9, folder.path()).unwrap();
        assert_eq!((resumed.next, &resumed.entries), (log.next, &log.entries));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), log.entries.len());
        let earlier = RecordLog::load(&session(), 3, 8, folder.path()).unwrap();
        assert_eq!(earlier.since(7).unwrap().next(), Some(&entry(8, 60)));
        fs::write(path(folder.path(), 9), [1; 40]).unwrap();
        assert!(RecordLog::load(&session(), 3, 9, folder.path()).unwrap_err().to_string().contains("altered"));
        fs::File::create(path(folder.path(), 9)).unwrap().set_len(1 << 20).unwrap();
        assert!(RecordLog::load(&session(), 3, 9, folder.path()).unwrap_err().to_string().contains("longer than"));
    }
}
