//! What crossed the wire in a whole run, beside what it had to cost and what others would have counted.

use std::fmt;
use std::path::Path;

use prism_core::{Error, Result, file};
use prism_fl::RoundMetrics;
use prism_fl::round_metrics::{MAX_BYTES, Rates, Traffic};
use serde::Serialize;

use crate::units::bytes;

/// A whole run's traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Rounds that it covers.
    pub rounds: u32,
    /// Bytes that clients sent.
    pub uplink_bytes: u64,
    /// Bytes that the server sent.
    pub downlink_bytes: u64,
    /// Bytes by the paper's own accounting.
    pub paper_bytes: u64,
    /// Bytes of FedAvg with 32-bit weights both ways.
    pub dense_bytes: u64,
    /// Bits per weight and client, means over rounds weighted by clients.
    #[serde(flatten)]
    pub rates: Rates,
}

impl Summary {
    /// The sum of the rounds in the metrics file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Corrupt`] if a line is not a round's metrics.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Summary::default());
        }
        let text = String::from_utf8_lossy(&file::read_bounded(path, MAX_BYTES)?).into_owned();
        let line = |line: &str| {
            serde_json::from_str(line).map_err(|e| Error::corrupt(format!("metrics {}", path.display()), e.to_string()))
        };
        Ok(Self::of(&text.lines().map(line).collect::<Result<Vec<RoundMetrics>>>()?))
    }

    fn of(rounds: &[RoundMetrics]) -> Self {
        let sum = |value: fn(&Traffic) -> u64| rounds.iter().map(|m| value(&m.traffic)).sum::<u64>();
        // Each round's rate is per client, so the run's is their mean weighted by clients.
        let mean = |clients: fn(&Traffic) -> u32, rate: fn(&Rates) -> f64| {
            let all: f64 = rounds.iter().map(|m| f64::from(clients(&m.traffic))).sum();
            let sum: f64 = rounds.iter().map(|m| f64::from(clients(&m.traffic)) * rate(&m.traffic.rates)).sum();
            sum / all.max(1.0)
        };
        let up = |rate| mean(|traffic| traffic.clients_answered, rate);
        let down = |rate| mean(|traffic| traffic.clients_asked, rate);
        Summary {
            rounds: rounds.len() as u32,
            uplink_bytes: sum(|t| t.uplink_bytes),
            downlink_bytes: sum(|t| t.downlink_bytes),
            paper_bytes: sum(|t| t.paper_bytes),
            dense_bytes: sum(|t| t.dense_bytes),
            rates: Rates {
                uplink_bits_per_weight: up(|r| r.uplink_bits_per_weight),
                kl_bits_per_weight: Some(up(|r| r.kl_bits_per_weight.unwrap_or(0.0))),
                cross_entropy_bits_per_weight: Some(up(|r| r.cross_entropy_bits_per_weight.unwrap_or(0.0))),
                downlink_bits_per_weight: down(|r| r.downlink_bits_per_weight),
                downlink_bound_bits_per_weight: down(|r| r.downlink_bound_bits_per_weight),
            },
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [up, down, dense] = [self.uplink_bytes, self.downlink_bytes, self.dense_bytes].map(|bytes| bytes as f64);
        if self.dense_bytes == 0 {
            // A one-shot federation has no rounds that could be compared.
            return write!(f, "sent     up {} of moments by all clients together, once; nothing down", bytes(up));
        }
        write!(
            f,
            "sent     up {}, down {}: {:.2}% of what dense weights take ({})",
            bytes(up),
            bytes(down),
            100.0 * (up + down) / dense,
            bytes(dense)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_weighs_rounds_by_their_clients() {
        let sent = Traffic { uplink_bytes: 1, ..Traffic::default() };
        let mut rounds = [1, 2].map(|round| RoundMetrics { round, traffic: sent, ..RoundMetrics::default() });
        for (round, (clients, rate)) in rounds.iter_mut().zip([(1, 0.4), (3, 0.8)]) {
            (round.traffic.clients_asked, round.traffic.clients_answered) = (clients, clients);
            (round.traffic.rates.uplink_bits_per_weight, round.traffic.dense_bytes) = (rate, 100);
        }
        let summary = Summary::of(&rounds);
        assert!((summary.rates.uplink_bits_per_weight - 0.7).abs() < 1e-12);
        assert_eq!((summary.rounds, summary.uplink_bytes, summary.dense_bytes), (2, 2, 200));
        assert!(summary.to_string().contains("up 2 bytes, down 0 bytes: 1.00% of what dense weights take (200 bytes)"));
        let one_shot = Summary { uplink_bytes: 7, ..Summary::default() };
        assert!(one_shot.to_string().contains("up 7 bytes of moments"), "{one_shot}");
    }
}
