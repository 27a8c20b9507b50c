//! The federation's messages as bytes: what the server broadcasts and what a client answers.
//!
//! ```text
//! header (50 bytes)                                            payload
//! "PRSM" version kind codec round client score-layers          update: a coded mask; the last `score-layers` layers
//! architecture seed payload-length checksum                            as scores (PRISM-alpha)
//!                                                              broadcast: scores, or records of the rounds that the
//!                                                                      receiver has not seen, or a snapshot
//! ```
//!
//! All numbers are little-endian; `FORMAT.md` lists every byte. Both ends agreed on a [`Session`] beforehand, so a
//! reader never allocates what a message merely claims.
//!
//! ```
//! use prism_core::Architecture;
//! use prism_fl::codec::{Learned, PrivateSource};
//! use prism_fl::secagg::Blinds;
//! use prism_fl::wire::{Session, Update};
//! let arch = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 2, classes: 0, label_scale: 3.0 };
//! let scores: Vec<_> = arch.layers().iter().map(|layer| vec![0.5; layer.weights()]).collect();
//! let layers: Vec<&[f32]> = scores.iter().map(Vec::as_slice).collect();
//! let session = Session::new(&arch, 7, 0)?.with_codecs("mrc".parse()?, "relay".parse()?);
//! let prior = session.prior(&scores);
//! let private = PrivateSource::new([1; 32]); // thirty-two random bytes of the operating system
//! let blinds = Blinds::default();
//! let learned = Learned { layers: &layers, prior: &prior, private: &private, blinds: &blinds, threads: 1 };
//! let bytes = Update::encode(&session, 3, 0, &learned);
//! assert_eq!(Update::decode(&bytes, &session, &prior, 3, 0)?.mask.len(), session.weights());
//! # Ok::<(), prism_core::Error>(())
//! ```

mod broadcast;
mod downlink;
mod header;
mod payload;
pub mod record;
mod update;

use sha2::{Digest, Sha256};

pub use broadcast::{Broadcast, Content, Preface, state_digest};
pub use downlink::Downlink;
pub use header::{Codec, HEADER_BYTES, Header, Kind, VERSION};
pub use record::Record;
pub use update::Update;

use crate::codec::{Prior, Uplink};
use prism_core::arch::{Architecture, Layer};
use prism_core::error::{Error, Result};
use prism_core::score;
use prism_core::stream::{Purpose, StreamId};

/// What server and clients agreed on before the first round.
#[derive(Clone, Debug)]
pub struct Session {
    digest: [u8; 8],
    seed: u64,
    score_layers: usize,
    layers: Vec<Layer>,
    uplink: Uplink,
    downlink: Downlink,
    score_scale: f32,
}

impl Session {
    /// A federation over `arch` with frozen weights from `seed`, whose updates carry the last `score_layers` layers as
    /// real scores (PRISM-alpha) and the others as masks; 0 for plain PRISM. Masks go up raw, scores go down as floats.
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
        let (uplink, downlink) = (Uplink::Raw, Downlink::Scores);
        let (digest, score_scale) = (architecture_digest(arch), 1.0);
        Ok(Session { digest, seed, score_layers, layers, uplink, downlink, score_scale })
    }

    /// The same session under other codecs.
    pub fn with_codecs(mut self, uplink: Uplink, downlink: Downlink) -> Self {
        (self.uplink, self.downlink) = (uplink, downlink);
        self
    }

    /// The same session from initial scores of standard deviation `scale`.
    pub fn with_score_scale(mut self, scale: f32) -> Self {
        self.score_scale = scale;
        self
    }

    /// The scores before the first round, one vector per layer, which everybody draws from the seed.
    pub fn initial_scores(&self) -> Vec<Vec<f32>> {
        let initial = |(index, layer)| score::initial_scores(self.seed, index, layer, self.score_scale);
        self.layers.iter().enumerate().map(initial).collect()
    }

    /// Refuses codecs that exclude each other.
    ///
    /// # Errors
    /// [`Error::Usage`] naming them, and what to choose instead.
    pub fn check(&self) -> Result<()> {
        if self.uplink == Uplink::Sums && self.downlink == Downlink::Relay {
            return Err(Error::usage(
                "the uplink sums hides each client's mask and the downlink relay passes it on; choose the downlink \
                 counts",
            ));
        }
        if self.uplink == Uplink::Sums && self.score_layers > 0 {
            return Err(Error::usage(format!(
                "the codec sums adds up bits, and alpha sends the scores of {} layers; choose an alpha of 0, or another \
                 codec",
                self.score_layers
            )));
        }
        Ok(())
    }

    /// How masks go up.
    pub fn uplink(&self) -> Uplink {
        self.uplink
    }

    /// How the state goes down.
    pub fn downlink(&self) -> Downlink {
        self.downlink
    }

    /// Seed of the frozen weights and root of the shared streams.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of weights in all layers.
    pub fn weights(&self) -> usize {
        self.layers.iter().map(Layer::weights).sum()
    }

    /// Number of weights in the layers that cross as masks.
    pub fn mask_weights(&self) -> usize {
        self.mask_layers().iter().map(Layer::weights).sum()
    }

    /// The layers that cross as masks: all but the last [`Session::score_layers`].
    pub fn mask_layers(&self) -> &[Layer] {
        &self.layers[..self.layers.len() - self.score_layers]
    }

    /// The entries of `layers`, one per layer of the architecture, that belong to layers which cross as scores.
    pub fn score_layers_of<'a, T>(&self, layers: &'a [T]) -> &'a [T] {
        &layers[self.layers.len() - self.score_layers..]
    }

    /// The prior of masks after `scores`, one vector per layer.
    pub fn prior(&self, scores: &[Vec<f32>]) -> Prior {
        Prior::of_layers(scores[..self.mask_layers().len()].iter().map(Vec::as_slice))
    }

    /// The stream that `client` and server share in `round`: numbers under the uplinks `flips` and `sums`, candidates
    /// under `mrc`.
    pub fn shared(&self, round: u32, client: u32) -> StreamId {
        let purpose = if self.uplink.expects() { Purpose::Dither } else { Purpose::MrcCandidate };
        StreamId::new(self.seed, purpose).round(round.into()).client(client.into())
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
}

/// Checks everything outside the payload and returns the payload.
fn open<'a>(bytes: &'a [u8], wanted: &Header) -> Result<&'a [u8]> {
    Header::parse(bytes)?.expect(wanted)?;
    Ok(&bytes[HEADER_BYTES..])
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
