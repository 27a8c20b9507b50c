//! Where a run's time goes.

use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Seconds of one round or of several, on the wall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// The whole.
    pub total: f64,
    /// Messages encoded, and decoded once for all clients at the same state.
    pub broadcasting: f64,
    /// Local steps and answers; in the first round, images measured.
    pub clients: f64,
    /// Answers decoded and added, and the server's step.
    pub aggregating: f64,
    /// Metrics, records and checkpoint written.
    pub checkpoint: f64,
    /// Samples drawn.
    pub samples: f64,
}

impl Phases {
    /// Adds another round's.
    pub fn add(&mut self, other: &Phases) {
        self.total += other.total;
        self.broadcasting += other.broadcasting;
        self.clients += other.clients;
        self.aggregating += other.aggregating;
        self.checkpoint += other.checkpoint;
        self.samples += other.samples;
    }
}

/// As one line: each share of the whole, largest first, and only those that round to a tenth of a percent or more.
impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = [
            ("clients", self.clients),
            ("broadcast", self.broadcasting),
            ("aggregation", self.aggregating),
            ("checkpoint", self.checkpoint),
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
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Stopwatch(Instant::now())
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
        let round = Phases { total: 12.0, clients: 9.8, broadcasting: 0.2, samples: 2.0, ..Phases::default() };
        assert_eq!(round.to_string(), "clients 81.7%, samples 16.7%, broadcast 1.7%");
        let mut two = round;
        two.add(&round);
        assert_eq!(two.to_string(), round.to_string());
    }
}
