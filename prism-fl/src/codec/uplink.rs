//! The ways in which a mask goes up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Prior, PrivateSource, flips, mrc, sums};
use crate::secagg::ring::Blinds;
use prism_core::draw;
use prism_core::error::Error;
use prism_core::mask::{self, LayerBits};
use prism_core::stream::StreamId;

/// How a client's mask is coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Uplink {
    /// One bit a weight.
    #[default]
    Raw,
    /// Minimal random coding ([`mrc`]).
    Mrc,
    /// Differences from the mask that both sides expect ([`flips`]).
    Flips,
    /// Blinded numbers that only mean something in sum ([`sums`]), of masks drawn as under [`Uplink::Flips`].
    Sums,
}

impl FromStr for Uplink {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "raw" => Ok(Uplink::Raw),
            "mrc" => Ok(Uplink::Mrc),
            "flips" => Ok(Uplink::Flips),
            "sums" => Ok(Uplink::Sums),
            _ => Err(Error::usage(format!("the uplink codec is {text}; choose raw, mrc, flips or sums"))),
        }
    }
}

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Uplink::Raw => "raw",
            Uplink::Mrc => "mrc",
            Uplink::Flips => "flips",
            Uplink::Sums => "sums",
        })
    }
}

/// What a client has to send, and with what.
pub struct Learned<'a> {
    /// The scores that it learned, one slice for each layer.
    pub layers: &'a [&'a [f32]],
    /// What both sides knew beforehand.
    pub prior: &'a Prior,
    /// The client's own randomness, used for this message only.
    pub private: &'a PrivateSource,
    /// What [`Uplink::Sums`] hides the mask under; the other codecs ignore it.
    pub blinds: &'a Blinds,
    /// Threads to use; their number changes no byte.
    pub threads: usize,
}

impl Uplink {
    /// Whether client and server draw with the same numbers, so that a mask counts as a difference from the expected
    /// one.
    pub fn expects(self) -> bool {
        matches!(self, Uplink::Flips | Uplink::Sums)
    }

    /// Codes a mask that follows `sigmoid(scores)`, each weight on its own. `shared` are the numbers that this client
    /// and the server share in this round.
    ///
    /// # Panics
    /// If scores and prior differ in length.
    pub fn encode(self, learned: &Learned<'_>, shared: StreamId) -> Vec<u8> {
        match self {
            Uplink::Raw => mask::to_bytes(&learned.draw()),
            Uplink::Mrc => {
                let Learned { prior, private, threads, .. } = *learned;
                mrc::encode(prior, &learned.layers.concat(), shared, private, threads)
            }
            Uplink::Flips => flips::encode(learned.layers, learned.prior, shared),
            Uplink::Sums => sums::encode(&flips::drawn(&learned.layers.concat(), shared), learned.blinds),
        }
    }

    /// Reads a mask of the prior's length, and under [`Uplink::Flips`] gives the expected one with it.
    ///
    /// # Errors
    /// A clause that says what is wrong with `code`.
    pub fn decode(
        self,
        code: &[u8],
        prior: &Prior,
        shared: StreamId,
    ) -> Result<(LayerBits, Option<LayerBits>), String> {
        let mask = match self {
            Uplink::Raw => mask::from_bytes(code, prior.len()).ok_or_else(|| {
                let bytes = prior.len().div_ceil(8);
                format!("its mask has {} bytes and {bytes} are due, with every bit behind the last one 0", code.len())
            }),
            Uplink::Mrc => mrc::decode(code, prior, shared),
            Uplink::Flips => return flips::decode(code, prior, shared).map(|(mask, expected)| (mask, Some(expected))),
            Uplink::Sums => Err("it is blinded: only the sum of all clients of the round can be read".into()),
        };
        mask.map(|mask| (mask, None))
    }

    /// Bytes that no code of `weights` mask bits exceeds.
    pub fn most_bytes(self, weights: usize) -> usize {
        match self {
            Uplink::Raw => weights.div_ceil(8),
            // A bit has a probability of at least 2^-16, and the coder at least that precision.
            Uplink::Flips => 2 * weights + weights / 128 + 16,
            // At worst an index a weight, of 16 binary decisions that an adaptive model may hold for unlikely.
            Uplink::Mrc => 24 * weights + 1024,
            Uplink::Sums => 2 * weights + 4,
        }
    }
}

impl Learned<'_> {
    /// A mask of independent bits, from the first part of the private source.
    fn draw(&self) -> LayerBits {
        let mut stream = self.private.open(0);
        draw::mask(&self.layers.concat(), |bytes| stream.fill(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_core::stream::Purpose;

    #[test]
    fn names_are_read_as_they_are_written() {
        for uplink in [Uplink::Raw, Uplink::Mrc, Uplink::Flips, Uplink::Sums] {
            assert_eq!(uplink.to_string().parse::<Uplink>().unwrap(), uplink);
        }
        assert!("zip".parse::<Uplink>().unwrap_err().to_string().contains("choose raw"));
    }

    #[test]
    fn each_codec_is_shorter_than_the_one_that_shares_less() {
        let known: Vec<f32> = (0..5000).map(|i| (i % 7) as f32 - 3.0).collect();
        let scores: Vec<f32> = known.iter().map(|s| s * 1.1).collect();
        let prior = Prior::new(&known);
        let (shared, private) =
            (StreamId::new(1, Purpose::MrcCandidate), PrivateSource::simulated(StreamId::new(1, Purpose::Test)));
        let learned =
            Learned { layers: &[&scores], prior: &prior, private: &private, blinds: &Blinds::default(), threads: 1 };
        let sizes = [Uplink::Raw, Uplink::Flips, Uplink::Mrc].map(|uplink| {
            let code = uplink.encode(&learned, shared);
            assert!(code.len() <= uplink.most_bytes(scores.len()));
            assert_eq!(uplink.decode(&code, &prior, shared).unwrap().0.len(), scores.len());
            code.len()
        });
        assert!(sizes.is_sorted_by(|a, b| a > b), "{sizes:?}");
    }
}
