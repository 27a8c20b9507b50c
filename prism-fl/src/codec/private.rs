//! Private randomness: what only the sender of a message may know.
//!
//! The shared streams of [`prism_core::stream`] are named by a public seed, so whoever holds the seed can draw them
//! again. A client's choice of its mask must not be among them. A real client takes its key from the operating system;
//! the simulator takes it from a stream of the run's seed, so that a run gives the same bytes every time.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};

use prism_core::stream::StreamId;

/// A secret key from which a sender draws, part by part.
#[derive(Clone)]
pub struct PrivateSource {
    key: [u8; 32],
}

impl PrivateSource {
    /// A source whose 32 bytes of key came from the operating system's random numbers, and are used for one message
    /// only.
    pub fn new(key: [u8; 32]) -> Self {
        PrivateSource { key }
    }

    /// A source that whoever knows the seed can reproduce: for simulations and tests, where nobody is to be protected.
    pub fn simulated(id: StreamId) -> Self {
        PrivateSource { key: id.key() }
    }

    /// Opens the stream of one part of the message; parts are independent.
    pub fn open(&self, part: u64) -> PrivateStream {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&part.to_le_bytes());
        PrivateStream { cipher: ChaCha20::new(&self.key.into(), &nonce.into()) }
    }
}

impl std::fmt::Debug for PrivateSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateSource(secret)")
    }
}

/// One part of a [`PrivateSource`].
pub struct PrivateStream {
    cipher: ChaCha20,
}

impl PrivateStream {
    /// Overwrites `out` with the next bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
        self.cipher.apply_keystream(out);
    }

    /// A uniform number in (0, 1): `(n + 1/2) / 2^52` for a 52-bit integer n, so that its logarithm is finite.
    pub fn open_uniform(&mut self) -> f64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        ((u64::from_le_bytes(bytes) >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }
}
