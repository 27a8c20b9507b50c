//! Named random streams: every random draw of the project comes from one of these.
//!
//! A stream is the ChaCha20 keystream (RFC 8439, 12 zero bytes of nonce, block counter from 0) under the key
//!
//! ```text
//! SHA-256( "prism-stream-v1" 00 PURPOSE 00 seed round client layer index )
//! ```
//!
//! with the five numbers as 8 little-endian bytes each. Naming a draw by what it is for, instead of by when it happens,
//! is what makes a run independent of thread count, batch size and interruption.
//!
//! ```
//! use prism_core::stream::{Purpose, StreamId};
//! let mut signs = StreamId::new(7, Purpose::Sign).layer(2).open();
//! let mut first = [0u8; 4];
//! signs.fill(&mut first);
//! ```

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use sha2::{Digest, Sha256};

/// What a stream is for. Two purposes never share a keystream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Signs of the frozen weights (`layer`). Part of the artifact format.
    Sign,
    /// Latents of generated images (`index` = image number). Part of the artifact format.
    Latent,
    /// Which component of a mixture draws a generated image (`index` = image number). Part of the artifact format.
    Component,
    /// Initial scores (`layer`).
    Score,
    /// Latents of a local training step (`round`, `client`, `index` = step).
    TrainLatent,
    /// Masks of a local training step (`round`, `client`, `layer`, `index` = step).
    TrainMask,
    /// Which classes a local training step draws (`round`, `client`, `index` = step).
    TrainClass,
    /// The private choices of a simulated client's update (`round`, `client`); real clients use no named stream for
    /// them.
    UplinkMask,
    /// Candidate masks of a block of weights, shared by client and server (`round`, `client`, `index` = first weight).
    MrcCandidate,
    /// Numbers with which client and server draw the same weights under the uplink `flips` (`round`, `client`).
    Dither,
    /// The key that two simulated clients share under blinded sums (`round`, `client`, `index` = the two, smaller
    /// first).
    SumBlind,
    /// MADA's mask drawn from the old theta (`round`, `layer`).
    MadaOld,
    /// MADA's mask drawn from the aggregate (`round`, `layer`).
    MadaNew,
    /// Which clients take part in a round (`round`).
    ClientSample,
    /// How the data set is divided among clients.
    Partition,
    /// One procedurally drawn image (`index`; `client` = split).
    Strokes,
    /// Weights of a random encoder (`layer`).
    EncoderWeight,
    /// Signs by which an encoder's sketch mixes channels (`layer` = convolution, `index` = cells a side).
    Sketch,
    /// Shuffles and augmentations of encoder training (`round` = epoch, `index`).
    EncoderTraining,
    /// Latents from which batch-norm statistics are measured (`index`).
    CalibrationLatent,
    /// The final mask, where it is sampled rather than thresholded (`layer`).
    FinalMask,
    /// Which real images a model is compared with, where there are more than asked for.
    Evaluation,
    /// Anything drawn by a test.
    Test,
}

impl Purpose {
    /// The name that enters the stream's key. Names are part of the format and never change.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Sign => "sign",
            Purpose::Latent => "latent",
            Purpose::Component => "component",
            Purpose::Score => "score",
            Purpose::TrainLatent => "train-latent",
            Purpose::TrainMask => "train-mask",
            Purpose::TrainClass => "train-class",
            Purpose::UplinkMask => "uplink-mask",
            Purpose::MrcCandidate => "mrc-candidate",
            Purpose::Dither => "dither",
            Purpose::SumBlind => "sum-blind",
            Purpose::MadaOld => "mada-old",
            Purpose::MadaNew => "mada-new",
            Purpose::ClientSample => "client-sample",
            Purpose::Partition => "partition",
            Purpose::Strokes => "strokes",
            Purpose::EncoderWeight => "encoder-weight",
            Purpose::Sketch => "sketch",
            Purpose::EncoderTraining => "encoder-training",
            Purpose::CalibrationLatent => "calibration-latent",
            Purpose::FinalMask => "final-mask",
            Purpose::Evaluation => "evaluation",
            Purpose::Test => "test",
        }
    }
}

/// The full name of a stream. Fields that a purpose does not use stay 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId {
    seed: u64,
    purpose: Purpose,
    round: u64,
    client: u64,
    layer: u64,
    index: u64,
}

impl StreamId {
    /// The stream of `purpose` under the root `seed`, with every other field 0.
    pub const fn new(seed: u64, purpose: Purpose) -> Self {
        StreamId { seed, purpose, round: 0, client: 0, layer: 0, index: 0 }
    }

    /// The same stream name at another round.
    pub const fn round(mut self, round: u64) -> Self {
        self.round = round;
        self
    }

    /// The same stream name for another client.
    pub const fn client(mut self, client: u64) -> Self {
        self.client = client;
        self
    }

    /// The same stream name for another layer.
    pub const fn layer(mut self, layer: u64) -> Self {
        self.layer = layer;
        self
    }

    /// The same stream name at another index.
    pub const fn index(mut self, index: u64) -> Self {
        self.index = index;
        self
    }

    /// The stream's 32-byte ChaCha20 key.
    pub fn key(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"prism-stream-v1\0");
        hash.update(self.purpose.name().as_bytes());
        hash.update([0]);
        for number in [self.seed, self.round, self.client, self.layer, self.index] {
            hash.update(number.to_le_bytes());
        }
        hash.finalize().into()
    }

    /// Opens the stream at its first byte.
    pub fn open(&self) -> Stream {
        Stream { cipher: ChaCha20::new(&self.key().into(), &[0u8; 12].into()), spare_normal: None }
    }
}

/// A position in a keystream, read as bytes, integers, uniforms or normals.
pub struct Stream {
    cipher: ChaCha20,
    spare_normal: Option<f64>,
}

impl Stream {
    /// Moves to byte `position` of the keystream.
    pub fn seek(&mut self, position: u64) {
        self.spare_normal = None;
        self.cipher.seek(position);
    }

    /// Overwrites `out` with the next keystream bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
        self.cipher.apply_keystream(out);
    }

    /// The next four bytes as a little-endian integer.
    pub fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// The next eight bytes as a little-endian integer.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A uniform number in [0, 1), a multiple of 2^-53: the next eight bytes, shifted right by 11.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A uniform integer in `0..bound`, without bias.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "an integer below 0 does not exist");
        let bound = bound as u64;
        // Draws from the last, incomplete multiple of `bound` are refused, or small values would come up more often.
        let limit = u64::MAX - (u64::MAX % bound + 1) % bound;
        loop {
            let draw = self.next_u64();
            if draw <= limit {
                return (draw % bound) as usize;
            }
        }
    }

    /// A standard normal number by Box and Muller's transform.
    ///
    /// Two uniforms u, v make the pair `sqrt(-2 ln(1 - u)) * (cos(2 pi v), sin(2 pi v))`, returned cosine first.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        let (u, v) = (self.uniform(), self.uniform());
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - u));
        let angle = 2.0 * core::f64::consts::PI * v;
        self.spare_normal = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }

    /// Fills `out` with standard normals, each rounded to `f32`.
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        out.iter_mut().for_each(|x| *x = self.normal() as f32);
    }

    /// Shuffles `items` in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `python3 -c "import hashlib, struct; print(hashlib.sha256(b'prism-stream-v1\0sign\0' +
    /// struct.pack('<5Q', 7, 0, 0, 2, 0)).hexdigest())"`
    #[test]
    fn key_is_the_hash_that_format_md_describes() {
        let key = StreamId::new(7, Purpose::Sign).layer(2).key();
        let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "c714b911da383e5c4c5acb4afdc8f61e04f0d7514eee757ef513ac8f974e4591");
    }

    #[test]
    fn seeking_reads_the_same_bytes_as_reading_on() {
        let id = StreamId::new(1, Purpose::Test);
        let mut whole = [0u8; 300];
        id.open().fill(&mut whole);
        let mut tail = [0u8; 100];
        let mut stream = id.open();
        stream.seek(200);
        stream.fill(&mut tail);
        assert_eq!(whole[200..], tail);
    }

    #[test]
    fn every_field_of_the_name_changes_the_stream() {
        let base = StreamId::new(1, Purpose::Test);
        let others = [StreamId::new(2, Purpose::Test), base.round(1), base.client(1), base.layer(1), base.index(1)];
        let mut keys: Vec<_> = others.iter().map(StreamId::key).collect();
        keys.push(base.key());
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 6);
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let mut stream = StreamId::new(3, Purpose::Test).open();
        let draws: Vec<f64> = (0..100_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.015, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }

    #[test]
    fn integers_below_a_bound_are_uniform() {
        let mut stream = StreamId::new(4, Purpose::Test).open();
        let mut counts = [0u32; 7];
        (0..70_000).for_each(|_| counts[stream.below(7)] += 1);
        let chi_square: f64 = counts.iter().map(|&c| (f64::from(c) - 10_000.0).powi(2) / 10_000.0).sum();
        // The 99.9% quantile of chi-square with 6 degrees of freedom.
        assert!(chi_square < 22.46, "chi-square {chi_square}");
    }
}
