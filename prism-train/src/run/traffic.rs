//! What crossed the wire in a whole run, beside what it had to cost and what others would have counted.

use std::fmt;
use std::path::Path;

use prism_core::{Error, Result, file};
use prism_fl::RoundMetrics;
use prism_fl::round_metrics::{MAX_BYTES, Rates, Traffic};
use serde::Serialize;

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
        let bytes = |value: fn(&Traffic) -> u64| rounds.iter().map(|m| value(&m.traffic)).sum::<u64>();
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
            uplink_bytes: bytes(|t| t.uplink_bytes),
            downlink_bytes: bytes(|t| t.downlink_bytes),
            paper_bytes: bytes(|t| t.paper_bytes),
            dense_bytes: bytes(|t| t.dense_bytes),
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
        let (sum, rates) = (self.uplink_bytes + self.downlink_bytes, &self.rates);
        if self.dense_bytes == 0 {
            // A one-shot federation has no rounds that could be compared.
            return write!(
                f,
                "up       {} bytes of moments from all clients together, once; nothing down",
                self.uplink_bytes
            );
        }
        let share = |of: u64| if of == 0 { 0.0 } else { 100.0 * sum as f64 / of as f64 };
        writeln!(
            f,
            "up       {} bytes, {:.4} bit/weight (KL bound {:.4}, cross-entropy {:.4})",
            self.uplink_bytes,
            rates.uplink_bits_per_weight,
            rates.kl_bits_per_weight.unwrap_or(0.0),
            rates.cross_entropy_bits_per_weight.unwrap_or(0.0)
        )?;
        writeln!(
            f,
            "down     {} bytes, {:.4} bit/weight (bound {:.4})",
            self.downlink_bytes, rates.downlink_bits_per_weight, rates.downlink_bound_bits_per_weight
        )?;
        write!(
            f,
            "both     {sum} bytes: {:.1}% of the paper's accounting ({} bytes, uplink only), {:.2}% of dense FedAvg ({} bytes)",
            share(self.paper_bytes),
            self.paper_bytes,
            share(self.dense_bytes),
            self.dense_bytes
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
        assert!(summary.to_string().contains("of dense FedAvg (200 bytes)"));
        let one_shot = Summary { uplink_bytes: 7, ..Summary::default() };
        assert!(one_shot.to_string().contains("7 bytes of moments"), "{one_shot}");
    }
}
