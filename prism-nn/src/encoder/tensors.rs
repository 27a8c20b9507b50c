//! Named tensors out of a safetensors file that may be truncated, altered or hostile.

use std::path::Path;

use half::{bf16, f16};
use prism_core::file::read_bounded;
use safetensors::{Dtype, SafeTensors};

use super::ConvWeights;
use super::weights::{BatchNorm, KERNEL};
use crate::error::{Error, Result};

/// Bytes that a weights file may have: VGG19 with its classifier takes 575 MB.
pub const MAX_FILE: u64 = 1 << 30;

/// The bytes of the weights file at `path`.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    if !path.exists() {
        return Err(Error::usage(format!(
            "there is no encoder weights file {}; give the path of a safetensors file",
            path.display()
        )));
    }
    Ok(read_bounded(path, MAX_FILE)?)
}

/// A parsed safetensors file and what errors call it.
pub struct Tensors<'a> {
    what: String,
    tensors: SafeTensors<'a>,
    metadata: Option<String>,
}

impl<'a> Tensors<'a> {
    /// Parses `bytes`; every offset and length is checked here.
    pub fn parse(what: impl Into<String>, bytes: &'a [u8]) -> Result<Self> {
        let what = what.into();
        let refuse = |e| Error::corrupt(&what, format!("it is no complete safetensors file ({e}); fetch it again"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(refuse)?;
        let metadata = header.metadata().as_ref().and_then(|all| all.get("prism").cloned());
        let tensors = SafeTensors::deserialize(bytes).map_err(refuse)?;
        Ok(Tensors { what, tensors, metadata })
    }

    /// An error about this file.
    pub fn corrupt(&self, why: impl Into<String>) -> Error {
        Error::corrupt(&self.what, why)
    }

    /// The text under the metadata key `prism`.
    pub fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    /// Whether there is a tensor called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// The name and shape of every tensor.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.tensors.iter().map(|(name, view)| (name.to_string(), view.shape().to_vec())).collect()
    }

    /// The values of tensor `name`, which must have `shape` and be f32, f16 or bf16.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let view = self.tensors.tensor(name).map_err(|_| self.corrupt(format!("it has no tensor '{name}'")))?;
        if view.shape() != shape {
            return Err(self.corrupt(format!("tensor '{name}' has shape {:?} instead of {shape:?}", view.shape())));
        }
        let data = view.data();
        Ok(match view.dtype() {
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::BF16 => data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            other => {
                return Err(self.corrupt(format!("tensor '{name}' has type {other:?}; it must be F32, F16 or BF16")));
            }
        })
    }

    /// The convolution `PREFIX.weight`, `PREFIX.bias`.
    pub fn conv(&self, prefix: &str, (inputs, outputs): (usize, usize)) -> Result<ConvWeights> {
        let weight = self.floats(&format!("{prefix}.weight"), &[outputs, inputs, KERNEL, KERNEL])?;
        let bias = self.floats(&format!("{prefix}.bias"), &[outputs])?;
        Ok(ConvWeights { inputs, outputs, weight, bias })
    }

    /// The batch norm `PREFIX.weight`, `.bias`, `.running_mean` and `.running_var`, in PyTorch's naming.
    pub fn norm(&self, prefix: &str, channels: usize) -> Result<BatchNorm> {
        let values = |name: &str| self.floats(&format!("{prefix}.{name}"), &[channels]);
        let variance = values("running_var")?;
        if let Some(negative) = variance.iter().find(|v| **v < 0.0) {
            return Err(self.corrupt(format!("tensor '{prefix}.running_var' has the negative variance {negative}")));
        }
        let (scale, shift, mean) = (values("weight")?, values("bias")?, values("running_mean")?);
        Ok(BatchNorm { scale, shift, mean, variance, epsilon: 1e-5 })
    }
}
