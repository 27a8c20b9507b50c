//! Where a run's time goes: local steps, or everything around them.
//!
//! Clients work side by side, so theirs is the time of all workers added up; the rest is time on the wall.

use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Seconds that one client spent on a round, on its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientSeconds {
    /// Its files read and, on its first turn, its images measured.
    pub loading: f64,
    /// Local steps taken.
    pub steps: f64,
    /// The answer noised (where masks are), sampled and encoded.
    pub answering: f64,
    /// Its files written.
    pub saving: f64,
}

/// Seconds of one round or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// The whole, on the wall.
    pub total: f64,
    /// From the server's message to the last client's answer, on the wall.
    pub clients: f64,
    /// What clients spent there, added up.
    pub client: ClientSeconds,
    /// The server's message encoded.
    pub broadcasting: f64,
    /// It decoded, once for all clients at the same state.
    pub receiving: f64,
    /// Answers decoded and counted, MADA.
    pub aggregating: f64,
    /// Metrics, records and checkpoint written.
    pub checkpoint: f64,
    /// The model judged.
    pub judging: f64,
    /// Samples drawn.
    pub samples: f64,
}

impl ClientSeconds {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.loading + self.steps + self.answering + self.saving
    }

    /// Adds another client's.
    pub fn add(&mut self, other: &ClientSeconds) {
        self.loading += other.loading;
        self.steps += other.steps;
        self.answering += other.answering;
        self.saving += other.saving;
    }
}

impl Phases {
    /// Adds another round's.
    pub fn add(&mut self, other: &Phases) {
        self.client.add(&other.client);
        self.total += other.total;
        self.clients += other.clients;
        self.broadcasting += other.broadcasting;
        self.receiving += other.receiving;
        self.aggregating += other.aggregating;
        self.checkpoint += other.checkpoint;
        self.judging += other.judging;
        self.samples += other.samples;
    }
}

/// As one line: each share of the whole, largest first, and only those that round to a tenth of a percent or more.
impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_clients = self.clients / self.client.total().max(f64::MIN_POSITIVE);
        let mut parts = [
            ("local steps", self.client.steps * of_clients),
            ("clients' files", (self.client.loading + self.client.saving) * of_clients),
            ("answers", self.client.answering * of_clients),
            ("broadcast", self.broadcasting + self.receiving),
            ("aggregation", self.aggregating),
            ("checkpoint", self.checkpoint),
            ("judging", self.judging),
            ("samples", self.samples),
        ];
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        let shares = parts.iter().map(|(name, seconds)| (name, 100.0 * seconds / self.total.max(f64::MIN_POSITIVE)));
        let shown: Vec<String> =
            shares.filter(|(_, share)| *share >= 0.05).map(|(name, share)| format!("{name} {share:.1}%")).collect();
        f.write_str(&shown.join(", "))
    }
}

/// A clock that gives the seconds since it was last asked.
pub struct Lap(Instant);

impl Lap {
    /// Starts now.
    pub fn start() -> Self {
        Lap(Instant::now())
    }

    /// Seconds since the start or the last lap.
    pub fn lap(&mut self) -> f64 {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now)).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_time_on_the_wall() {
        let client = ClientSeconds { loading: 1.0, steps: 17.6, answering: 0.5, saving: 0.5 };
        // Two workers side by side.
        let round = Phases { total: 12.0, clients: 9.8, client, receiving: 0.2, samples: 2.0, ..Phases::default() };
        assert_eq!(
            round.to_string(),
            "local steps 73.3%, samples 16.7%, clients' files 6.2%, answers 2.1%, broadcast 1.7%"
        );
        let mut two = round;
        two.add(&round);
        assert_eq!(two.to_string(), round.to_string());
    }
}
