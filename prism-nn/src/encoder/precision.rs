//! What an encoder's convolutions multiply: `f32`, or `bf16`, half as wide, on machines that have an instruction for it.
//!
//! Inputs and weights are rounded to 8 bits of fraction when a tile has been transformed ([`crate::cpu::scheme`]); sums, biases
//! and features stay `f32`. Both directions of a training step and measuring compute so. It is another encoder, with a digest of
//! its own: moments of the one are not compared with features of the other.

use prism_core::simd::Isa;
use sha2::{Digest, Sha256};

use super::{Encoder, weights};
use crate::cpu::conv::ConvLayer;
use crate::cpu::factor::Bf16;
use crate::cpu::packed::{Packed, WeightShape};
use crate::cpu::scheme::Winograd;
use crate::cpu::source::{Sink, Source};
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

/// A convolution's weights, packed.
#[derive(Clone, Debug)]
pub(crate) enum Weights {
    F32(Packed),
    Bf16(Packed<Bf16>),
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

impl Precision {
    /// Packs `weight` for outputs.
    pub fn pack_forward(self, isa: Isa, weight: &[f32], shape: WeightShape) -> Weights {
        let mut packed = Weights::empty(self);
        match &mut packed {
            Weights::F32(packed) => packed.pack_forward::<Winograd>(isa, weight, shape),
            Weights::Bf16(packed) => packed.pack_forward::<Winograd>(isa, weight, shape),
        }
        packed
    }

    /// Packs `weight` for gradients of inputs.
    pub fn pack_backward(self, isa: Isa, weight: &[f32], shape: WeightShape) -> Weights {
        let mut packed = Weights::empty(self);
        match &mut packed {
            Weights::F32(packed) => packed.pack_backward::<Winograd>(isa, weight, shape),
            Weights::Bf16(packed) => packed.pack_backward::<Winograd>(isa, weight, shape),
        }
        packed
    }
}

impl Weights {
    fn empty(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Weights::F32(Packed::default()),
            Precision::Bf16 => Weights::Bf16(Packed::default()),
        }
    }

    /// Convolves `x` into `y`; the weights must be packed for outputs.
    pub fn forward(&self, layer: ConvLayer<Winograd>, x: impl Source, y: impl Sink) {
        match self {
            Weights::F32(packed) => layer.forward(x, packed, y, |_| ()),
            Weights::Bf16(packed) => layer.forward(x, packed, y, |_| ()),
        }
    }

    /// Writes the gradient of the inputs, given that of the outputs; the weights must be packed for gradients.
    pub fn input_gradient(&self, layer: ConvLayer<Winograd>, dy: impl Source, dx: &mut [f32]) {
        match self {
            Weights::F32(packed) => layer.input_gradient(dy, packed, dx),
            Weights::Bf16(packed) => layer.input_gradient(dy, packed, dx),
        }
    }
}
