//! Every decoder of bytes that others send, with true inputs to begin from. None may panic, hang or take more memory than its limits.
//!
//! Two harnesses use them: forged inputs, on any toolchain (`tests/fuzz.rs` some, `examples/fuzz.rs` as many as are asked for), and
//! coverage-guided ones with the address sanitizer (`fuzz/`, by cargo-fuzz).
//!
//! An input is what stands behind header and checksum, which are put right before it is decoded, so that it reaches the innermost
//! decoder.

mod files;
mod messages;
mod wire;

pub use files::artifact_file;
use prism_core::stream::Stream;

/// Whether a decoder took an input.
type Decode = dyn Fn(&[u8]) -> bool + Send + Sync;

/// A decoder, and true inputs of what it decodes.
pub struct Target {
    /// Its kind, and of which session where there are several: `update mrc/relay/0`.
    pub name: String,
    /// Inputs that it takes.
    pub truths: Vec<Vec<u8>>,
    decode: Box<Decode>,
}

impl Target {
    fn new(
        name: impl Into<String>,
        truths: Vec<Vec<u8>>,
        decode: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        Target { name: name.into(), truths, decode: Box::new(decode) }
    }

    /// Decodes `input`; whether it was taken. What was taken must have the right shapes, or this panics.
    pub fn decode(&self, input: &[u8]) -> bool {
        (self.decode)(input)
    }

    /// The first word of its name: the folder of its corpus and its binary in `fuzz/`.
    pub fn kind(&self) -> &str {
        self.name.split(' ').next().unwrap_or_default()
    }
}

/// All targets.
pub fn targets() -> Vec<Target> {
    [wire::targets(), messages::targets(), files::targets()].into_iter().flatten().collect()
}

/// The targets of one kind.
///
/// # Panics
/// If there is none.
pub fn of_kind(kind: &str) -> Vec<Target> {
    let found: Vec<Target> = targets().into_iter().filter(|target| target.kind() == kind).collect();
    assert!(!found.is_empty(), "no target is of the kind {kind}");
    found
}

/// Noise, or one of `truths` after a few accidents: bytes flipped, replaced, inserted, cut off or repeated.
pub fn forge(truths: &[Vec<u8>], stream: &mut Stream) -> Vec<u8> {
    if stream.below(8) == 0 {
        let mut noise = vec![0; stream.below(120)];
        stream.fill(&mut noise);
        return noise;
    }
    let mut bytes = truths[stream.below(truths.len())].clone();
    for _ in 0..=stream.below(4) {
        let at = stream.below(bytes.len().max(1));
        match stream.below(5) {
            _ if bytes.is_empty() => bytes.push(stream.next_u32() as u8),
            0 => bytes[at] ^= 1 << stream.below(8),
            1 => bytes[at] = stream.next_u32() as u8,
            2 => bytes.insert(at, stream.next_u32() as u8),
            3 => bytes.truncate(at),
            _ => {
                let end = (at + stream.below(16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.extend(piece);
            }
        }
    }
    bytes
}
