//! `metrics.jsonl`: one JSON object a round, readable while the run goes on, of a simulation and of a real fleet alike.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use prism_core::{Error, Result, file};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::divergence;
use crate::round_report::RoundReport;
use crate::server::Server;
use crate::wire::Session;

/// Most bytes that a metrics file may have.
pub const MAX_BYTES: u64 = 1 << 30;

/// What happened in one round, as far as the server knows. The fields of its groups stand side by side in a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundMetrics {
    /// The round, from 1.
    pub round: u32,
    /// Mean loss over the local steps of the clients that answered; `null` if none did or none tells it.
    pub loss: Option<f64>,
    /// MADA's step, 1 without it; `null` if no client answered.
    pub lambda: Option<f64>,
    /// Clients that were due and are not in the round: away, silent or refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<u32>,
    /// Why the round's secure sum could not be opened, so that nobody's answer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// What was sent.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// What the scores have become.
    #[serde(flatten)]
    pub mask: MaskMetrics,
    /// Wall-clock seconds of the round.
    pub seconds: f64,
}

/// What the scores have become in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MaskMetrics {
    /// Mean entropy of the global theta after the round, in bits per weight; 32 for dense weights.
    pub entropy_bits_per_weight: f64,
    /// Share of weights that a thresholded mask keeps after the round.
    pub density: f64,
}

/// Who was asked in a round, and the bytes both ways beside what others would have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Clients that the server asked.
    pub clients_asked: u32,
    /// Clients whose answer was used.
    pub clients_answered: u32,
    /// Messages that the server refused.
    pub messages_refused: u32,
    /// Bytes that clients sent in this round.
    pub uplink_bytes: u64,
    /// Bytes that the server sent in this round, each client's copy counted.
    pub downlink_bytes: u64,
    /// Bytes by the accounting of PRISM's publication: one bit a weight up (32 where scores cross), and nothing down.
    pub paper_bytes: u64,
    /// Bytes of FedAvg: 32 bits a weight to every client asked, and back from every client that answered.
    pub dense_bytes: u64,
    /// The same per weight and client.
    #[serde(flatten)]
    pub rates: Rates,
}

/// Bits per weight and client, each beside what it had to cost at least. A score that crosses as a number counts 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Sent up, per answer.
    pub uplink_bits_per_weight: f64,
    /// KL(client || broadcast): the bound for a codec with shared randomness.
    pub kl_bits_per_weight: Option<f64>,
    /// Cross-entropy under the broadcast: the bound for a codec that shares the prior only.
    pub cross_entropy_bits_per_weight: Option<f64>,
    /// Sent down, per client asked.
    pub downlink_bits_per_weight: f64,
    /// What the content of the downlink asks for: 32 for whole scores, the clients' divergences for a relay, `-log2 P` of counts.
    pub downlink_bound_bits_per_weight: f64,
}

impl RoundMetrics {
    /// The metrics of the round that ended with `report`, after which `server` stands; it took so many `seconds`.
    pub fn of(report: &RoundReport, server: &Server, seconds: f64) -> Self {
        RoundMetrics {
            round: server.round(),
            loss: report.loss(),
            lambda: report.lambda,
            missing: report.missing(),
            failed: report.failed.clone(),
            traffic: Traffic::of(report, server.state().session()),
            mask: MaskMetrics::of(server),
            seconds,
        }
    }
}

impl MaskMetrics {
    fn of(server: &Server) -> Self {
        if server.is_dense() {
            // Dense weights are all kept, and each is a number of 32 bits.
            return MaskMetrics { entropy_bits_per_weight: 32.0, density: 1.0 };
        }
        let scores = server.scores();
        let weights: usize = scores.iter().map(Vec::len).sum();
        let kept = scores.iter().flatten().filter(|&&s| s > 0.0).count();
        MaskMetrics { entropy_bits_per_weight: divergence::entropy_bits(scores), density: kept as f64 / weights as f64 }
    }
}

impl Traffic {
    /// The traffic of one round.
    pub fn of(report: &RoundReport, session: &Session) -> Self {
        let weights = session.weights() as f64;
        let (asked, answered) = (report.asked.len().max(1) as f64, report.answered.len().max(1) as f64);
        let bits = session.mask_weights() + 32 * (session.weights() - session.mask_weights());
        let (down, up) = (report.asked.len() as u64, report.answered.len() as u64);
        let sent = &report.traffic;
        Traffic {
            clients_asked: report.asked.len() as u32,
            clients_answered: report.answered.len() as u32,
            messages_refused: report.refused.len() as u32,
            uplink_bytes: sent.uplink_bytes + sent.moment_bytes,
            downlink_bytes: sent.downlink_bytes,
            paper_bytes: up * bits.div_ceil(8) as u64,
            dense_bytes: 4 * session.weights() as u64 * (down + up),
            rates: Rates {
                uplink_bits_per_weight: 8.0 * sent.uplink_bytes as f64 / answered / weights,
                kl_bits_per_weight: report.kl_bits_per_weight(session),
                cross_entropy_bits_per_weight: report.cross_entropy_bits_per_weight(session),
                downlink_bits_per_weight: 8.0 * sent.downlink_bytes as f64 / asked / weights,
                downlink_bound_bits_per_weight: sent.downlink_bound_bits / asked / weights,
            },
        }
    }
}

/// Adds one line to the file at `path`.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn append(path: &Path, metrics: &impl Serialize) -> Result<()> {
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
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
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
mod tests {
    use super::*;

    #[test]
    fn rewinding_drops_later_rounds_and_half_written_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let metrics = |round| RoundMetrics { round, loss: Some(0.5), seconds: 0.1, ..RoundMetrics::default() };
        (1..=3).for_each(|round| append(&path, &metrics(round)).unwrap());
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"round\": 4, \"lo");
        std::fs::write(&path, text).unwrap();
        rewind(&path, 2).unwrap();
        assert_eq!(read::<RoundMetrics>(&path).unwrap(), [metrics(1), metrics(2)]);
    }

    #[test]
    fn a_round_is_counted_as_the_paper_and_as_fedavg_would() {
        let arch =
            prism_core::Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 0, label_scale: 3.0 };
        let session = Session::new(&arch, 0, 1).unwrap();
        let report = RoundReport { asked: vec![0, 1, 2], answered: vec![1], ..RoundReport::default() };
        let traffic = Traffic::of(&report, &session);
        // 134 weights, of which the last layer's 9 cross as scores.
        assert_eq!(session.weights(), 134);
        assert_eq!(traffic.paper_bytes, (125 + 9 * 32u64).div_ceil(8));
        assert_eq!(traffic.dense_bytes, 4 * 134 * 4);
    }
}
