//! Sums of masks: votes for each weight, or differences from the masks that were expected.

use prism_core::mask::{self, LayerBits};
use rayon::prelude::*;

use crate::global_state::MIN_CHUNK;
use crate::wire::{Session, Update};

/// What the masks of the answers add up to, weight by weight.
#[derive(Clone, Debug, PartialEq)]
pub enum MaskSum {
    /// How many clients keep the weight.
    Votes(Vec<u32>),
    /// How many more clients keep it than were expected to, where masks count as differences from expected ones.
    Differences(Vec<i32>),
}

impl MaskSum {
    /// The sum of no masks.
    pub fn zero(session: &Session) -> Self {
        let weights = session.mask_weights();
        match session.uplink().expects() {
            true => MaskSum::Differences(vec![0; weights]),
            false => MaskSum::Votes(vec![0; weights]),
        }
    }

    /// Adds the mask of an update.
    pub fn add(&mut self, update: &Update) {
        match (self, &update.expected) {
            (MaskSum::Votes(votes), _) => count(votes, [&update.mask], |vote, [bit]| *vote += u32::from(bit)),
            (MaskSum::Differences(sum), None) => count(sum, [&update.mask], |sum, [bit]| *sum += i32::from(bit)),
            (MaskSum::Differences(sum), Some(expected)) => {
                count(sum, [&update.mask, expected], |sum, [bit, due]| *sum += i32::from(bit) - i32::from(due));
            }
        }
    }

    /// Takes off the mask that is expected of a client of which only the sum with others will be known.
    pub fn subtract(&mut self, expected: &LayerBits) {
        if let MaskSum::Differences(sum) = self {
            count(sum, [expected], |sum, [bit]| *sum -= i32::from(bit));
        }
    }

    /// Adds the masks of all `answers` together; adds nothing and gives `false` where more keep a weight than answered.
    #[must_use]
    pub fn add_votes(&mut self, votes: &[u32], answers: u32) -> bool {
        let possible = votes.iter().all(|&kept| kept <= answers);
        if let (true, MaskSum::Differences(sum)) = (possible, self) {
            sum.iter_mut().zip(votes).for_each(|(sum, &kept)| *sum += kept as i32);
        }
        possible
    }
}

/// Adds the bits of `masks` to the count of their weight: eight weights at a time, without branches, since about half of the bits are
/// 1.
fn count<T: Send, const N: usize>(
    counts: &mut [T],
    masks: [&LayerBits; N],
    add: impl Fn(&mut T, [u8; N]) + Sync + Send,
) {
    let bytes = masks.map(mask::to_bytes);
    let add_chunk = |(chunk, counts): (usize, &mut [T])| {
        for (at, counts) in (chunk * MIN_CHUNK / 8..).zip(counts.chunks_mut(8)) {
            let bits = bytes.each_ref().map(|bytes| bytes[at]);
            counts.iter_mut().enumerate().for_each(|(bit, count)| add(count, bits.map(|bits| bits >> bit & 1)));
        }
    };
    counts.par_chunks_mut(MIN_CHUNK).enumerate().for_each(add_chunk);
}
