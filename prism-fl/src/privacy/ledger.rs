//! `privacy-ledger.jsonl`: every draw on a data set, one JSON object a line, written before the noise is drawn.
//!
//! Two releases on the same images protect less than one: their rho add up. The ledger is what remembers it. It names a data
//! set by the digest of its pixels and labels, so it cannot see that two different selections or sizes share images.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prism_core::{Error, Result, file};
use serde::{Deserialize, Serialize};

/// Most bytes that a ledger may have.
const MAX_BYTES: u64 = 1 << 28;

/// One draw: every client of a run released its moments once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub time: u64,
    /// The run folder.
    pub run: String,
    /// Digest of the data set's pixels and labels.
    pub data: String,
    /// What was released.
    pub mechanism: String,
    /// The guarantee of this draw alone.
    pub epsilon: f64,
    /// See `epsilon`.
    pub delta: f64,
    /// `(sensitivity / deviation)^2 / 2` of the noise; it adds up.
    pub rho: f64,
}

impl Entry {
    /// An entry of this moment.
    pub fn now(run: &Path, data: &str, mechanism: &str, (epsilon, delta): (f64, f64), rho: f64) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Entry {
            time,
            run: run.display().to_string(),
            data: data.into(),
            mechanism: mechanism.into(),
            epsilon,
            delta,
            rho,
        }
    }
}

/// The ledger of the run in the folder `run` unless another one is named: beside the folder, so that all runs of a place share it.
pub fn beside(run: &Path) -> PathBuf {
    // However the folder is called, `.` among others, its ledger is the same.
    let whole = std::fs::canonicalize(run).unwrap_or_else(|_| run.to_path_buf());
    whole.parent().unwrap_or(Path::new("")).join("privacy-ledger.jsonl")
}

/// The draws that the ledger at `path` remembers; none where there is no such file.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Corrupt`] if a line is not an entry: a ledger that forgets is none.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8(file::read_bounded(path, MAX_BYTES)?);
    let refuse = |why: String| Error::corrupt(format!("privacy ledger {}", path.display()), why);
    let text = text.map_err(|e| refuse(e.to_string()))?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|e| refuse(format!("line {} is no entry ({e}); repair it, or give another `ledger`", number + 1)))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// Adds `entry` to the ledger at `path` and makes it durable; returns the draws that were there before on the same data.
///
/// # Errors
/// As for [`read`], or if the file cannot be written. Nothing may then be drawn.
pub fn record(path: &Path, entry: &Entry) -> Result<Vec<Entry>> {
    let earlier: Vec<Entry> = read(path)?.into_iter().filter(|old| old.data == entry.data).collect();
    let io = |e| Error::io("write", path, e);
    let mut line = serde_json::to_string(entry).map_err(|e| io(e.into()))?;
    line.push('\n');
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    Ok(earlier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_on_the_same_data_are_found_again_and_damage_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let entry = |data: &str| Entry::now(Path::new("run"), data, "moments", (1.0, 1e-5), 0.03);
        assert!(record(&path, &entry("a")).unwrap().is_empty());
        assert!(record(&path, &entry("b")).unwrap().is_empty());
        assert_eq!(record(&path, &entry("a")).unwrap().len(), 1);
        assert_eq!(read(&path).unwrap().len(), 3);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"time\": 1");
        std::fs::write(&path, text).unwrap();
        let error = record(&path, &entry("a")).unwrap_err().to_string();
        assert!(error.contains("line 4"), "{error}");
    }
}
