//! The lines of `metrics.jsonl`: what the server knows of a round, and what only this program measures.

use prism_fl::{RoundReport, Server};
use serde::{Deserialize, Serialize};

use crate::phases::Phases;

/// What happened in one round. The fields of its groups stand side by side in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundMetrics {
    /// What the server knows of it.
    #[serde(flatten)]
    pub federation: prism_fl::RoundMetrics,
    /// What its seconds were spent on. What follows the round, such as its checkpoint, is not known yet and stands at 0; a fleet
    /// does not know any of it.
    #[serde(default)]
    pub phases: Phases,
}

impl RoundMetrics {
    /// The metrics of the round that ended with `report`, after which `server` stands; it took so many `seconds`.
    pub fn of(report: &RoundReport, server: &Server, seconds: f64) -> Self {
        let federation = prism_fl::RoundMetrics::of(report, server, seconds);
        RoundMetrics { federation, phases: Phases::default() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use prism_fl::round_metrics::{MaskMetrics, Traffic};

    use super::*;

    /// Some metrics of a round.
    pub fn metrics(round: u32, loss: f64) -> RoundMetrics {
        let federation = prism_fl::RoundMetrics {
            round,
            loss: Some(loss),
            lambda: None,
            missing: vec![1],
            failed: None,
            traffic: Traffic { clients_asked: 2, uplink_bytes: 1, downlink_bytes: 2, ..Traffic::default() },
            mask: MaskMetrics { entropy_bits_per_weight: 0.9, density: 0.5 },
            seconds: 0.1,
        };
        RoundMetrics { federation, phases: Phases::default() }
    }

    #[test]
    fn a_line_of_a_fleet_is_read_as_one_of_a_simulation() {
        let line = serde_json::to_string(&metrics(3, 0.5).federation).unwrap();
        assert_eq!(serde_json::from_str::<RoundMetrics>(&line).unwrap(), metrics(3, 0.5));
    }
}
