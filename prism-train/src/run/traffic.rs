//! What crossed the wire, beside what it had to cost and what others would have counted.
//!
//! All rates are in bits per weight and client. The bounds: KL(client || broadcast) for a codec with shared randomness, the
//! cross-entropy for one that only shares the prior, 1 for one that shares nothing; a score that PRISM-alpha sends as a number
//! counts 32 in each. `paper` is the accounting of PRISM's
//! publication: one bit a weight up (32 where PRISM-alpha sends scores), and nothing down. `dense` is FedAvg over the same
//! network: 32 bits a weight to every client asked, and 32 back from every client that answered.

use std::fmt;
use std::path::Path;

use prism_core::{Error, Result, file};
use serde::{Deserialize, Serialize};

use super::metrics::{MAX_BYTES, RoundMetrics};
use crate::federation::Round;
use prism_core::wire::Session;

/// The part of a round's metrics that is about bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Bits sent down per weight and client asked.
    pub downlink_bits_per_weight: f64,
    /// What the content of the downlink asks for at least, in bits per weight and client asked: 32 under `f32`; the clients'
    /// divergences under `relay`; the votes' `-log2 P` under `counts`; the entropy of the steps under `quantised`.
    pub downlink_bound_bits_per_weight: f64,
    /// Mean over clients and weights of the cross-entropy of a mask under the shared prior, in bits; 32 for a weight whose score
    /// crosses.
    pub cross_entropy_bits_per_weight: Option<f64>,
    /// Bytes by the paper's own accounting.
    pub paper_bytes: u64,
    /// Bytes of FedAvg with 32-bit weights both ways.
    pub dense_bytes: u64,
    /// Messages that the server refused.
    pub messages_rejected: u32,
}

impl Traffic {
    /// The traffic of one round.
    pub fn of(round: &Round, session: &Session) -> Self {
        let weights = session.weights() as f64;
        let asked = round.asked.len().max(1) as f64;
        let bits = session.mask_weights() + 32 * (session.weights() - session.mask_weights());
        let (down, up) = (round.asked.len() as u64, round.answered.len() as u64);
        Traffic {
            downlink_bits_per_weight: 8.0 * round.downlink_bytes as f64 / asked / weights,
            downlink_bound_bits_per_weight: round.downlink_bound_bits / asked / weights,
            cross_entropy_bits_per_weight: round.cross_entropy_bits_per_weight,
            paper_bytes: up * bits.div_ceil(8) as u64,
            dense_bytes: 4 * session.weights() as u64 * (down + up),
            messages_rejected: round.rejected.len() as u32,
        }
    }
}

/// A whole run's traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Rounds that it covers.
    pub rounds: u32,
    /// Bytes that clients sent.
    pub uplink_bytes: u64,
    /// Bytes that the server sent.
    pub downlink_bytes: u64,
    /// Bits up per weight and answer.
    pub uplink_bits_per_weight: f64,
    /// Its bound with shared randomness: mean KL(client || broadcast) over the answers.
    pub kl_bits_per_weight: f64,
    /// Its bound with a shared prior: mean cross-entropy over the answers.
    pub cross_entropy_bits_per_weight: f64,
    /// Bits down per weight and client asked.
    pub downlink_bits_per_weight: f64,
    /// What the content of the downlink asks for at least.
    pub downlink_bound_bits_per_weight: f64,
    /// Bytes by the paper's own accounting.
    pub paper_bytes: u64,
    /// Bytes of FedAvg with 32-bit weights both ways.
    pub dense_bytes: u64,
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
        let total = |value: fn(&RoundMetrics) -> f64| rounds.iter().map(value).sum::<f64>();
        let bytes = |value: fn(&RoundMetrics) -> u64| rounds.iter().map(value).sum::<u64>();
        let asked = total(|m| f64::from(m.clients_asked)).max(1.0);
        let answered = total(|m| f64::from(m.clients_answered)).max(1.0);
        Summary {
            rounds: rounds.len() as u32,
            uplink_bytes: bytes(|m| m.uplink_bytes),
            downlink_bytes: bytes(|m| m.downlink_bytes),
            // Each round's rate is per client, so the run's is their mean weighted by clients.
            uplink_bits_per_weight: total(|m| m.uplink_bits_per_weight * f64::from(m.clients_answered)) / answered,
            kl_bits_per_weight: total(|m| m.kl_bits_per_weight.unwrap_or(0.0) * f64::from(m.clients_answered))
                / answered,
            cross_entropy_bits_per_weight: total(|m| {
                m.traffic.cross_entropy_bits_per_weight.unwrap_or(0.0) * f64::from(m.clients_answered)
            }) / answered,
            downlink_bits_per_weight: total(|m| m.traffic.downlink_bits_per_weight * f64::from(m.clients_asked))
                / asked,
            downlink_bound_bits_per_weight: total(|m| {
                m.traffic.downlink_bound_bits_per_weight * f64::from(m.clients_asked)
            }) / asked,
            paper_bytes: bytes(|m| m.traffic.paper_bytes),
            dense_bytes: bytes(|m| m.traffic.dense_bytes),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self.uplink_bytes + self.downlink_bytes;
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
            self.uplink_bytes, self.uplink_bits_per_weight, self.kl_bits_per_weight, self.cross_entropy_bits_per_weight
        )?;
        writeln!(
            f,
            "down     {} bytes, {:.4} bit/weight (bound {:.4})",
            self.downlink_bytes, self.downlink_bits_per_weight, self.downlink_bound_bits_per_weight
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
    use crate::run::metrics::tests::metrics;

    #[test]
    fn a_summary_weighs_rounds_by_their_clients() {
        let mut rounds = [metrics(1), metrics(2)];
        for (round, (clients, rate)) in rounds.iter_mut().zip([(1, 0.4), (3, 0.8)]) {
            (round.clients_asked, round.clients_answered, round.uplink_bits_per_weight) = (clients, clients, rate);
            round.traffic.dense_bytes = 100;
        }
        let summary = Summary::of(&rounds);
        assert!((summary.uplink_bits_per_weight - 0.7).abs() < 1e-12);
        assert_eq!((summary.rounds, summary.uplink_bytes, summary.dense_bytes), (2, 2, 200));
        assert!(summary.to_string().contains("of dense FedAvg (200 bytes)"));
        let one_shot = Summary { uplink_bytes: 7, ..Summary::default() };
        assert!(one_shot.to_string().contains("7 bytes of moments"), "{one_shot}");
    }

    #[test]
    fn a_round_is_counted_as_the_paper_and_as_fedavg_would() {
        let arch =
            prism_core::Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 0, label_scale: 3.0 };
        let session = Session::new(&arch, 0, 1).unwrap();
        let round = Round { asked: vec![0, 1, 2], answered: vec![1], ..Round::default() };
        let traffic = Traffic::of(&round, &session);
        // 134 weights, of which the last layer's 9 cross as scores.
        assert_eq!(session.weights(), 134);
        assert_eq!(traffic.paper_bytes, (125 + 9 * 32u64).div_ceil(8));
        assert_eq!(traffic.dense_bytes, 4 * 134 * 4);
    }
}
