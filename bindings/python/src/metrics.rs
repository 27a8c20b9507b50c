//! `metrics.jsonl` of a fleet's run: one JSON object a round, with the names that `prism-train` gives the same figures.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use prism_core::{Error, Result, file};
use prism_fl::RoundReport;
use serde::{Deserialize, Serialize};

/// Most bytes of the file.
const MAX_BYTES: u64 = 1 << 30;

/// What the server of a fleet knows of a round. A client's loss stays with the client.
#[derive(Serialize, Deserialize)]
pub struct RoundMetrics {
    round: u32,
    clients_asked: usize,
    clients_answered: usize,
    messages_refused: usize,
    uplink_bytes: u64,
    downlink_bytes: u64,
    lambda: Option<f64>,
    loss: Option<f64>,
    seconds: f64,
}

impl RoundMetrics {
    /// The metrics of the round that ended as `report` says.
    pub fn of(round: u32, report: &RoundReport, took: Duration) -> Self {
        RoundMetrics {
            round,
            clients_asked: report.asked.len(),
            clients_answered: report.answered.len(),
            messages_refused: report.refused.len(),
            uplink_bytes: report.traffic.uplink_bytes + report.traffic.moment_bytes,
            downlink_bytes: report.traffic.downlink_bytes,
            lambda: report.lambda,
            loss: report.loss(),
            seconds: took.as_secs_f64(),
        }
    }

    /// Its line.
    ///
    /// # Errors
    /// If a figure has no JSON form.
    pub fn line(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::usage(format!("the metrics have no JSON form: {e}")))
    }
}

/// Adds a line to the file at `path`.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn append(path: &Path, line: &str) -> Result<()> {
    let io = |e| Error::io("write", path, e);
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    writeln!(file, "{line}").and_then(|()| file.sync_data()).map_err(io)
}

/// Drops the lines of rounds after `round`, which an interrupted run may have written before its checkpoint.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read or written.
pub fn rewind(path: &Path, round: u32) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&file::read_bounded(path, MAX_BYTES)?).into_owned();
    let counts = |line: &&str| serde_json::from_str::<RoundMetrics>(line).is_ok_and(|m| m.round <= round);
    let kept: String = text.lines().filter(counts).flat_map(|line| [line, "\n"]).collect();
    file::write_atomic(path, |out| out.write_all(kept.as_bytes()))
}
