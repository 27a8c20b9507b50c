//! Which sum a message is about, and what its clients agreed on beforehand.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes of a sum's name on the wire.
pub const ID_BYTES: usize = 41;

/// What is summed. Each purpose and round is opened once at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Histograms, before the first round.
    Histograms,
    /// Moments, before the first round.
    Moments,
    /// Masks, in every round.
    Round,
}

impl Purpose {
    /// Its name, as files have it.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Histograms => "histograms",
            Purpose::Moments => "moments",
            Purpose::Round => "round",
        }
    }

    fn byte(self) -> u8 {
        match self {
            Purpose::Histograms => 1,
            Purpose::Moments => 2,
            Purpose::Round => 3,
        }
    }
}

/// The name of one attempt at one sum: every key, share and signature is for it alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumId {
    /// SHA-256 of what the federation agreed on.
    pub federation: [u8; 32],
    /// What is summed.
    pub purpose: Purpose,
    /// The round; 0 before the first.
    pub round: u32,
    /// Counted from 1: a sum that failed is tried again with fresh keys.
    pub attempt: u32,
}

impl SumId {
    /// The bytes that stand in messages, and in all that is hashed, derived or signed.
    pub fn bytes(&self) -> [u8; ID_BYTES] {
        let mut bytes = [0; ID_BYTES];
        bytes[..32].copy_from_slice(&self.federation);
        bytes[32] = self.purpose.byte();
        bytes[33..37].copy_from_slice(&self.round.to_le_bytes());
        bytes[37..].copy_from_slice(&self.attempt.to_le_bytes());
        bytes
    }

    /// Reads them; none where there is no such purpose.
    pub fn from_bytes(bytes: &[u8; ID_BYTES]) -> Option<Self> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let purposes = [Purpose::Histograms, Purpose::Moments, Purpose::Round];
        let purpose = purposes.into_iter().find(|purpose| purpose.byte() == bytes[32])?;
        let federation = *bytes.first_chunk()?;
        Some(SumId { federation, purpose, round: number(33), attempt: number(37) })
    }
}

impl fmt::Display for SumId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.purpose {
            Purpose::Round => write!(f, "round {}, attempt {}", self.round, self.attempt),
            purpose => write!(f, "{}, attempt {}", purpose.name(), self.attempt),
        }
    }
}

/// The exchanges of a sum, in order, named as in Bonawitz et al. (2017), figure 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Round 0, AdvertiseKeys.
    Keys,
    /// Round 1, ShareKeys.
    Shares,
    /// Round 2, MaskedInputCollection.
    Input,
    /// Round 3, ConsistencyCheck.
    Survivors,
    /// Round 4, Unmasking.
    Unmask,
}

impl Stage {
    /// All of them.
    pub const ALL: [Stage; 5] = [Stage::Keys, Stage::Shares, Stage::Input, Stage::Survivors, Stage::Unmask];

    /// Its name, as files and sentences have it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Keys => "keys",
            Stage::Shares => "shares",
            Stage::Input => "input",
            Stage::Survivors => "survivors",
            Stage::Unmask => "unmask",
        }
    }
}

/// What the clients of a sum agreed on beforehand, and what no server can talk them out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// SHA-256 of what the federation agreed on.
    pub federation: [u8; 32],
    /// Number of clients of the federation.
    pub clients: u32,
    /// How many of them are asked, n.
    pub asked: u32,
    /// How many clients' input a sum takes: all of them where each adds its share of the noise, [`Terms::threshold`] elsewhere.
    /// Fewer may be there to open it.
    pub needed: usize,
}

impl Terms {
    /// t = ceil(2n / 3): how many clients must take part, and how many shares open a secret.
    ///
    /// A client gives one kind of share of another, a dishonest one both. So a server that holds c clients gets n + c shares of
    /// a client's two secrets at most, and both secrets take 2t. With 2t >= 4n / 3 it has not both as long as c < n / 3; and a
    /// third of the clients may drop out. (Bonawitz et al., theorem 6.5.)
    pub fn threshold(&self) -> usize {
        (2 * self.asked as usize).div_ceil(3)
    }

    /// Bits of the number of clients that are asked: what sums of bits need.
    pub fn vote_bits(&self) -> u32 {
        u32::BITS - self.asked.leading_zeros()
    }
}

/// SHA-256 over `parts`, under a name.
pub fn hash(name: &str, parts: &[&[u8]]) -> [u8; 32] {
    let start = Sha256::new().chain_update(b"prism-secagg-v1 ").chain_update(name).chain_update([0]);
    parts.iter().fold(start, |hash, part| hash.chain_update(part)).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(asked: u32) -> Terms {
        Terms { federation: [0; 32], clients: asked, asked, needed: 0 }
    }

    #[test]
    fn a_server_with_less_than_a_third_of_the_clients_never_has_both_secrets() {
        for asked in 1..2000 {
            let (t, n) = (terms(asked).threshold(), asked as usize);
            assert!(2 * t > n && t <= n, "{t} of {n}");
            // The most clients below a third, and a third that drops out.
            let held = n.div_ceil(3) - 1;
            assert!(2 * t > n + held, "{t} of {n} with {held}");
            assert!(n - n / 3 >= t, "{t} of {n}");
        }
        assert_eq!([3, 4, 10, 100, 1000].map(|n| terms(n).threshold()), [2, 3, 7, 67, 667]);
        assert_eq!([1, 3, 4, 255, 256].map(|n| terms(n).vote_bits()), [1, 2, 3, 8, 9]);
    }

    #[test]
    fn a_name_goes_through_its_bytes() {
        let id = SumId { federation: [9; 32], purpose: Purpose::Round, round: 7, attempt: 3 };
        assert_eq!(SumId::from_bytes(&id.bytes()), Some(id.clone()));
        let mut bytes = id.bytes();
        bytes[32] = 4;
        assert_eq!(SumId::from_bytes(&bytes), None);
    }
}
