//! What one round did.

use std::collections::BTreeSet;

use crate::error::Refused;
use crate::wire::Session;

/// What one round did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoundReport {
    /// Clients that were asked, in order.
    pub asked: Vec<u32>,
    /// Clients that were away, so that fewer were asked than the settings say.
    pub away: Vec<u32>,
    /// Clients whose answer was used, in order.
    pub answered: Vec<u32>,
    /// What those tell of their training.
    pub clients: Vec<ClientReport>,
    /// MADA's step; 1 without it, none if nobody answered.
    pub lambda: Option<f64>,
    /// Under secure sums, why the sum could not be opened, and nobody's answer was used.
    pub failed: Option<String>,
    /// Messages that were refused, in order.
    pub refused: Vec<Refused>,
    /// What crossed the wire.
    pub traffic: RoundTraffic,
}

/// What a client tells of its training, for the metrics of the round.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ClientReport {
    /// Mean loss over the local steps; none where the answer is noised, since the loss is of the very images that the noise
    /// protects.
    pub loss: Option<f64>,
    /// KL(client's theta || broadcast theta) over all layers that cross as masks, in bits: what these cost at least where client
    /// and server share randomness.
    pub kl_bits: f64,
    /// The cross-entropy of the same layers, in bits: what they cost at least where only the prior is shared.
    pub cross_entropy_bits: f64,
}

/// What crossed the wire in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoundTraffic {
    /// Bytes of the answers from clients to the server.
    pub uplink_bytes: u64,
    /// Bytes of messages before the first round.
    pub moment_bytes: u64,
    /// Bytes from the server to clients.
    pub downlink_bytes: u64,
    /// What information theory asks for what the server sent, in bits, all clients together.
    pub downlink_bound_bits: f64,
}

impl RoundReport {
    /// Clients that were due in this round and are not in it, in order: away, silent or refused.
    pub fn missing(&self) -> Vec<u32> {
        let due: BTreeSet<u32> = self.asked.iter().chain(&self.away).copied().collect();
        due.into_iter().filter(|client| !self.answered.contains(client)).collect()
    }

    /// Mean loss of those who answered and may tell it.
    pub fn loss(&self) -> Option<f64> {
        mean(self.clients.iter().filter_map(|client| client.loss))
    }

    /// Mean divergence of the answers, and 32 bits for each score that crosses as a number, in bits per weight.
    pub fn kl_bits_per_weight(&self, session: &Session) -> Option<f64> {
        self.rate(session, |client| client.kl_bits)
    }

    /// Mean cross-entropy of the answers, counted likewise, in bits per weight.
    pub fn cross_entropy_bits_per_weight(&self, session: &Session) -> Option<f64> {
        self.rate(session, |client| client.cross_entropy_bits)
    }

    /// The mean of clients' bits for their masks, and 32 for each of their scores, per weight: over the same weights as the rate
    /// that it bounds.
    fn rate(&self, session: &Session, bits: fn(&ClientReport) -> f64) -> Option<f64> {
        let (weights, masks) = (session.weights(), session.mask_weights());
        let answers = self.clients.iter().filter(|_| !self.answered.is_empty());
        mean(answers.map(bits)).map(|bits| (bits + 32.0 * (weights - masks) as f64) / weights as f64)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}
