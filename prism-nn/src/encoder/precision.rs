//! What an encoder's convolutions multiply: `f32`, or `bf16`, half as wide, on machines that have an instruction for it.
//!
//! Inputs and weights are rounded to 8 bits of fraction when a tile has been transformed ([`crate::cpu::scheme`]); sums, biases
//! and features stay `f32`. Both directions of a training step and measuring compute so. It is another encoder, with a digest of
//! its own: moments of the one are not compared with features of the other.

use prism_core::simd::Isa;
use sha2::{Digest, Sha256};

use super::{Encoder, weights};
use crate::error::{Error, Result};
use crate::ops::storage::on_cpu;

/// What stands before the name of an encoder that multiplies `bf16`.
pub const PREFIX: &str = "bf16+";

/// What convolutions multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Precision {
    #[default]
    F32,
    Bf16,
}

impl Encoder {
    /// The same encoder, which multiplies `bf16`.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if this machine has no instruction for it, or the encoder is on a GPU.
    pub fn with_bf16(mut self) -> Result<Self> {
        if !self.convs.iter().all(|conv| on_cpu(conv.weight())) {
            return Err(Error::usage(format!(
                "encoder {PREFIX}{} computes on the CPU; leave out {PREFIX} on a GPU",
                self.name
            )));
        }
        if !Isa::detect().multiplies_bf16() {
            return Err(Error::usage(format!(
                "encoder {PREFIX}{} needs a processor that multiplies bf16 (AVX512-BF16: AMD since Zen 4, most Intel Xeon \
                 since 2023), which this one does not; leave out {PREFIX}",
                self.name
            )));
        }
        self.name = format!("{PREFIX}{}", self.name);
        self.digest = weights::hex(Sha256::new().chain_update("prism-encoder-bf16-v1\0").chain_update(&self.digest));
        self.precision = Precision::Bf16;
        (self.packed, self.spare) = Default::default();
        Ok(self)
    }
}
