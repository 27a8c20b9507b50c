//! The settings of what crosses the wire: one group of [`crate::settings::Settings`].

use clap::Args;
use prism_core::codec::Uplink;
use prism_core::codec::counts::MOST_ANSWERS;
use prism_core::wire::Downlink;
use prism_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::federation::{Choice, Regime};

/// How masks go up and scores go down.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CodecSettings {
    /// How masks go up: flips (differences from the mask that both sides expect), raw (a bit a weight), entropy (range-coded under what both sides know), mrc (shared candidates) or sums (blinded, for secure aggregation)
    #[arg(long, value_name = "CODEC", default_value_t = Uplink::Flips, help_heading = "Wire")]
    pub uplink: Uplink,
    /// How scores go down: counts (what clients' masks add up to), f32, relay (everyone's updates) or quantised:BITS (changes on a grid)
    #[arg(long, value_name = "CODEC", default_value_t = Downlink::Counts, help_heading = "Wire")]
    pub downlink: Downlink,
    /// Price of a nat of divergence from the broadcast scores, in units of the loss: trades images for bytes under mrc
    #[arg(long, value_name = "X", default_value_t = 0.0, help_heading = "Wire")]
    pub kl_weight: f64,
    /// Where a client's choice of its mask comes from: seed (repeatable) or system (private, as a real client's must be; flips and sums have none)
    #[arg(long, value_name = "SOURCE", value_enum, default_value_t = Choice::Seed, help_heading = "Wire")]
    pub choice: Choice,
}

impl CodecSettings {
    /// Whether codecs are asked for that only masks in rounds have; a default is no wish.
    pub fn is_coded(&self) -> bool {
        !matches!(self.uplink, Uplink::Raw | Uplink::Flips)
            || !matches!(self.downlink, Downlink::Scores | Downlink::Counts)
            || self.kl_weight > 0.0
    }

    /// Refuses values outside their limits, in a federation of `regime` that asks `asked` clients in a round.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] naming the flag, its value and its limit.
    pub fn validate(&self, asked: u32, regime: Regime) -> Result<()> {
        if self.is_coded() && regime == Regime::OneShot {
            return Err(Error::usage(format!(
                "--uplink {}, --downlink {} and --kl-weight {} are for rounds, and --federation one-shot has none that cross a \
                 wire; leave these or that out",
                self.uplink, self.downlink, self.kl_weight
            )));
        }
        if self.uplink.expects() && self.choice == Choice::System {
            return Err(Error::usage(format!(
                "--uplink {} draws masks with numbers that client and server share, so --choice system has nothing to choose; leave \
                 it out, or choose --uplink raw, entropy or mrc",
                self.uplink
            )));
        }
        let counted = self.uplink == Uplink::Sums || self.downlink.recomputes();
        if counted && regime == Regime::Rounds && asked > MOST_ANSWERS {
            return Err(Error::usage(format!(
                "{asked} clients are asked in a round, and --uplink {} with --downlink {} holds the answers of {MOST_ANSWERS} at most; choose \
                 fewer --clients, a smaller --fraction, or --uplink flips --downlink quantised:8",
                self.uplink, self.downlink
            )));
        }
        if !(0.0..=1e6).contains(&self.kl_weight) {
            return Err(Error::usage(format!("--kl-weight is {}; choose a number from 0 to 1000000", self.kl_weight)));
        }
        Ok(())
    }
}
