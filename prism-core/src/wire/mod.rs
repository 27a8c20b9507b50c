//! The federation's messages as bytes: what the server broadcasts and what a client answers.
//!
//! ```text
//! header (50 bytes)                                            payload
//! "PRSM" version kind codec round client score-layers          broadcast: every layer's scores
//! architecture seed payload-length checksum                    update: every layer's mask bits; the last
//!                                                              `score-layers` layers as scores (PRISM-alpha)
//! ```
//!
//! All numbers are little-endian; `FORMAT.md` lists every byte. Both ends know the payload's exact length before the first
//! byte arrives, because they agreed on a [`Session`]; so a reader never allocates what a message merely claims.
//!
//! ```
//! use prism_core::Architecture;
//! use prism_core::wire::{Broadcast, Session};
//! let arch = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 2, classes: 0, label_scale: 3.0 };
//! let scores: Vec<_> = arch.layers().iter().map(|layer| vec![0.5; layer.weights()]).collect();
//! let session = Session::new(&arch, 7, 0)?;
//! let bytes = Broadcast { round: 3, scores }.encode(&session);
//! assert_eq!(Broadcast::decode(&bytes, &session, 3)?.scores[0][0], 0.5);
//! # Ok::<(), prism_core::Error>(())
//! ```

mod header;
mod message;

use sha2::{Digest, Sha256};

pub use header::{Codec, HEADER_BYTES, Header, Kind, VERSION};
pub use message::{Broadcast, LayerUpdate, Update};

use crate::arch::{Architecture, Layer};
use crate::error::{Error, Result};

/// What server and clients agreed on before the first round.
#[derive(Clone, Debug)]
pub struct Session {
    digest: [u8; 8],
    seed: u64,
    score_layers: usize,
    layers: Vec<Layer>,
}

impl Session {
    /// A federation over `arch` with frozen weights from `seed`, whose updates carry the last `score_layers` layers as
    /// real scores (PRISM-alpha) and the others as masks; 0 for plain PRISM.
    ///
    /// # Errors
    /// [`Error::Usage`] if the architecture is out of its limits or has fewer than `score_layers` layers.
    pub fn new(arch: &Architecture, seed: u64, score_layers: usize) -> Result<Self> {
        arch.validate()?;
        let layers = arch.layers();
        if score_layers > layers.len() {
            return Err(Error::usage(format!(
                "{score_layers} layers cannot be sent as scores; this architecture has {} layers: choose fewer",
                layers.len()
            )));
        }
        Ok(Session { digest: architecture_digest(arch), seed, score_layers, layers })
    }

    /// The masked layers, in the order of the architecture.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// How many of the last layers an update carries as scores.
    pub fn score_layers(&self) -> usize {
        self.score_layers
    }

    /// Whether an update carries layer `index` as scores rather than as mask bits.
    pub fn is_score_layer(&self, index: usize) -> bool {
        index + self.score_layers >= self.layers.len()
    }

    /// Exact length in bytes of a broadcast.
    pub fn broadcast_bytes(&self) -> usize {
        HEADER_BYTES + self.layers.iter().map(|layer| 4 * layer.weights()).sum::<usize>()
    }

    /// Exact length in bytes of an update under [`Codec::Raw`].
    pub fn update_bytes(&self) -> usize {
        let bytes = |(index, layer): (usize, &Layer)| match self.is_score_layer(index) {
            true => 4 * layer.weights(),
            false => layer.weights().div_ceil(8),
        };
        HEADER_BYTES + self.layers.iter().enumerate().map(bytes).sum::<usize>()
    }
}

/// The first 8 bytes of SHA-256 over `prism-architecture-v1`, a zero byte, then image size, channels, ngf, latent and
/// classes as 8 little-endian bytes each, then the label scale as 4 bytes of IEEE 754 single precision.
pub fn architecture_digest(arch: &Architecture) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(b"prism-architecture-v1\0");
    for number in [arch.image_size, arch.channels, arch.ngf, arch.latent, arch.classes] {
        hash.update((number as u64).to_le_bytes());
    }
    hash.update(arch.label_scale.to_le_bytes());
    first_eight(hash)
}

/// The first 8 bytes of a finished hash.
fn first_eight(hash: Sha256) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    first
}

#[cfg(test)]
mod tests;
