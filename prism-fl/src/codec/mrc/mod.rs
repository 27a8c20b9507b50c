//! `mrc`, minimal random coding: instead of a mask, the number of a candidate that both sides can draw.
//!
//! ```text
//! weights fall into chunks of 4096, a chunk into n equal blocks                        (n coded once a chunk)
//! for each block: 256 candidates x_0, x_1, ... ~ prior, from shared streams
//! client: index = argmax over c of   log w(x_c) - log E_c,    w(x) = exp( sum_i x_i * (s_client,i - s_prior,i) )
//!         E_0 < E_1 < ...  are 256 exponential variables, sorted, from private randomness
//! server: draws candidate `index` again
//! ```
//!
//! The argmax picks a candidate with probability proportional to its weight, so the mask follows the client's own
//! distribution as far as 256 candidates can carry it there; that they are met in sorted order makes small numbers
//! likely, and these are what the range coder saves on. The message takes about KL(client || prior) a block, plus the
//! logarithm of that, instead of one bit a weight.
//!
//! Importance sampling from K candidates shrinks the step from prior to client by about exp(D2) / K, with D2 the Rényi
//! divergence of order 2: blocks are cut so that D2 stays below [`BUDGET`].
//!
//! Sources: Havasi, Peharz and Hernández-Lobato, *Minimal random code learning* (2019); Isik et al., *Adaptive
//! compression in federated learning via side information* (2024), for blocks that follow the divergence; Theis and
//! Yosri, *Algorithms for the communication of samples* (2022), for the sorted race.

mod allocation;
mod candidate;
mod select;

pub use self::allocation::BUDGET;
use self::allocation::{CHUNK, ChunkSplit, SPLITS};
use self::candidate::Candidates;
use super::{Prior, PrivateSource};
use crate::adaptive::{NumberModel, SignedModel};
use prism_core::mask::LayerBits;
use prism_core::rangecoder::{Decoder, Encoder};
use prism_core::stream::StreamId;

/// Candidates of a block.
pub const CANDIDATES: usize = 256;

/// A chunk as it is sent: into how many blocks it falls, and the candidate of each.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chunk {
    /// Position in [`SPLITS`].
    split: usize,
    indices: Vec<u16>,
}

/// The models of a message's numbers, alike on both sides.
struct Models {
    /// How a chunk's split differs from that of the chunk before it.
    split: SignedModel,
    index: NumberModel,
}

impl Models {
    fn new() -> Self {
        Models { split: SignedModel::new(5), index: NumberModel::new(8) }
    }
}

/// Codes a mask that follows `sigmoid(scores)`, using up to `threads` threads; their number changes no byte.
///
/// `shared` names the round and the client; both sides know it. `private` must be known to nobody else.
///
/// # Panics
/// If the lengths differ.
pub fn encode(prior: &Prior, scores: &[f32], shared: StreamId, private: &PrivateSource, threads: usize) -> Vec<u8> {
    assert_eq!(scores.len(), prior.len(), "one score per weight of the prior");
    let chunks = select::chunks(prior, scores, shared, private, threads);
    let (mut encoder, mut models, mut before) = (Encoder::default(), Models::new(), 0);
    for chunk in &chunks {
        models.split.put(&mut encoder, chunk.split as i32 - before);
        before = chunk.split as i32;
        chunk.indices.iter().for_each(|&index| models.index.put(&mut encoder, index.into()));
    }
    encoder.finish()
}

/// Reads the mask that `code` stands for.
///
/// # Errors
/// A clause that says what is wrong, if `code` is not one that [`encode`] can make under this prior.
pub fn decode(code: &[u8], prior: &Prior, shared: StreamId) -> Result<LayerBits, String> {
    let chunks = read(code, prior.len())?;
    let mut bytes = vec![0u8; prior.len().div_ceil(8)];
    let mut candidates = Candidates::default();
    for (number, chunk) in chunks.iter().enumerate() {
        for (block, &index) in ChunkSplit::of(number, prior.len(), chunk.split).blocks().zip(&chunk.indices) {
            let kept = candidates.draw(shared, &prior.thresholds()[block.clone()], block.start, index.into());
            for (at, kept) in block.zip(kept) {
                bytes[at / 8] |= u8::from(kept) << (at % 8);
            }
        }
    }
    let mut mask = LayerBits::from_vec(bytes);
    mask.truncate(prior.len());
    Ok(mask)
}

/// Reads the numbers, and refuses those that no encoder writes, before a single candidate is drawn.
fn read(code: &[u8], weights: usize) -> Result<Vec<Chunk>, String> {
    let (mut decoder, mut models, mut before) = (Decoder::new(code)?, Models::new(), 0);
    let ends = |number: usize| format!("its code ends in chunk {number} of {}", weights.div_ceil(CHUNK));
    let mut chunks = Vec::with_capacity(weights.div_ceil(CHUNK));
    for number in 0..weights.div_ceil(CHUNK) {
        before += models.split.take(&mut decoder).ok_or_else(|| ends(number))?;
        let split = usize::try_from(before).ok().filter(|&split| split < SPLITS.len());
        let split = split.ok_or_else(|| format!("chunk {number} is split in way {before} of {}", SPLITS.len()))?;
        let cut = ChunkSplit::of(number, weights, split);
        if cut.count() > cut.weights() {
            return Err(format!("chunk {number} of {} weights is split into {} blocks", cut.weights(), cut.count()));
        }
        let mut indices = Vec::with_capacity(cut.count());
        for _ in 0..cut.count() {
            let index = models.index.take(&mut decoder).ok_or_else(|| ends(number))?;
            if index as usize >= CANDIDATES {
                return Err(format!("a block of chunk {number} has candidate {index} of {CANDIDATES}"));
            }
            indices.push(index as u16);
        }
        chunks.push(Chunk { split, indices });
    }
    decoder.finish()?;
    Ok(chunks)
}

#[cfg(test)]
mod tests;
