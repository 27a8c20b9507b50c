//! `metrics.jsonl`: one JSON object a round, readable while the run goes on.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use prism_core::{Error, Result, file};
use serde::{Deserialize, Serialize};

use super::judge::RoundEvaluation;
use super::phases::Phases;
use super::traffic::Traffic;

/// Most bytes that a metrics file may have.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// What happened in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundMetrics {
    /// The round, from 1.
    pub round: u32,
    /// Mean loss over the local steps of the clients that answered; `null` if none did, or if noise on masks is what protects
    /// their images.
    pub loss: Option<f64>,
    /// MADA's step; `null` if no client answered.
    pub lambda: Option<f64>,
    /// Bytes that clients sent in this round.
    pub uplink_bytes: u64,
    /// Bytes that the server sent in this round, each client's copy counted.
    pub downlink_bytes: u64,
    /// Bits sent up per weight and client.
    pub uplink_bits_per_weight: f64,
    /// Mean over clients of KL(client || broadcast) in bits, and 32 bits for each score that crosses as a number, over all
    /// weights: the bound below `uplink_bits_per_weight`, which is over the same.
    pub kl_bits_per_weight: Option<f64>,
    /// Mean entropy of the global theta after the round, in bits per weight.
    pub entropy_bits_per_weight: f64,
    /// Share of weights that a thresholded mask keeps after the round.
    pub density: f64,
    /// Clients that the server asked.
    pub clients_asked: u32,
    /// Clients whose answer was used.
    pub clients_answered: u32,
    /// Wall-clock seconds of the round.
    pub seconds: f64,
    /// What they were spent on. What follows the round, such as its checkpoint, is not known yet and stands at 0.
    #[serde(default)]
    pub phases: Phases,
    /// Bytes and their bounds; its fields stand beside these.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// How good the model is after the round, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<RoundEvaluation>,
}

/// Adds one line to the file at `path`.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn append(path: &Path, metrics: &RoundMetrics) -> Result<()> {
    let io = |e| Error::io("write", path, e);
    let mut line = serde_json::to_string(metrics).map_err(|e| io(e.into()))?;
    line.push('\n');
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).map_err(io)
}

/// Every complete line of the file at `path`; none where there is no file.
///
/// # Errors
/// [`Error::Io`] if it cannot be read.
pub fn read(path: &Path) -> Result<Vec<RoundMetrics>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&file::read_bounded(path, MAX_BYTES)?).into_owned();
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
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
    let before = |line: &&str| serde_json::from_str::<RoundMetrics>(line).is_ok_and(|m| m.round <= round);
    let kept: String = text.lines().filter(before).flat_map(|line| [line, "\n"]).collect();
    file::write_atomic(path, |out| out.write_all(kept.as_bytes()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Some metrics of a round.
    pub fn metrics(round: u32) -> RoundMetrics {
        RoundMetrics {
            round,
            loss: Some(0.5),
            lambda: None,
            uplink_bytes: 1,
            downlink_bytes: 2,
            uplink_bits_per_weight: 1.0,
            kl_bits_per_weight: None,
            entropy_bits_per_weight: 0.9,
            density: 0.5,
            clients_asked: 2,
            clients_answered: 0,
            seconds: 0.1,
            phases: Phases::default(),
            traffic: Traffic::default(),
            evaluation: None,
        }
    }

    #[test]
    fn rewinding_drops_later_rounds_and_half_written_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        (1..=3).for_each(|round| append(&path, &metrics(round)).unwrap());
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"round\": 4, \"lo");
        std::fs::write(&path, text).unwrap();
        rewind(&path, 2).unwrap();
        let lines: Vec<RoundMetrics> =
            std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, [metrics(1), metrics(2)]);
    }
}
