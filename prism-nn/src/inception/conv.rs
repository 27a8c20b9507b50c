//! A convolution with its batch norm folded in, then ReLU.

use candle_core::{Device, Result as TensorResult, Tensor};

use super::weights::Weights;
use crate::encoder::ConvWeights;
use crate::error::Result;
use crate::ops::{self, FrozenConv};

/// What Inception's batch norms add to a variance.
const EPSILON: f64 = 1e-3;

/// The geometry of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: (usize, usize),
    /// Step in both directions.
    pub stride: usize,
    /// Zeros above and below, and left and right.
    pub padding: (usize, usize),
}

impl Geometry {
    /// Whether it is what [`FrozenConv`] computes: a square kernel, stride 1, and zeros around that keep the side.
    fn keeps_the_side(self) -> bool {
        let Geometry { kernel: (height, width), stride, padding, .. } = self;
        stride == 1 && height == width && padding == (height / 2, height / 2)
    }
}

/// `ReLU(norm(conv(x)))`.
pub struct Conv {
    weight: Tensor,
    bias: Tensor,
    geometry: Geometry,
    /// The same convolution made ready for our own kernels, where they can compute it.
    frozen: Option<FrozenConv>,
}

impl Conv {
    /// Reads `NAME.conv.weight` and the batch norm `NAME.bn`.
    pub fn read(weights: &Weights, name: &str, geometry: Geometry, device: &Device) -> Result<Self> {
        let Geometry { inputs, outputs, kernel, .. } = geometry;
        let shape = [outputs, inputs, kernel.0, kernel.1];
        let weight = weights.floats(&format!("{name}.conv.weight"), &shape)?;
        let norm = weights.norm(&format!("{name}.bn"), outputs, EPSILON)?;
        let folded = ConvWeights { inputs, outputs, weight, bias: vec![0.0; outputs] }.folded(&norm);
        let weight = Tensor::from_vec(folded.weight, &shape, device)?;
        let bias = Tensor::from_vec(folded.bias, outputs, device)?;
        let frozen = if geometry.keeps_the_side() { Some(FrozenConv::new(&weight, &bias)?) } else { None };
        Ok(Conv { weight, bias, geometry, frozen })
    }

    /// `[B, inputs, H, W]` -> `[B, outputs, H', W']`.
    pub fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        if let Some(frozen) = &self.frozen {
            return ops::conv2d_relu_frozen(x, frozen);
        }
        let Geometry { stride, padding, .. } = self.geometry;
        let padded = x.pad_with_zeros(2, padding.0, padding.0)?.pad_with_zeros(3, padding.1, padding.1)?;
        let y = padded.contiguous()?.conv2d(&self.weight, 0, stride, 1, 1)?;
        y.broadcast_add(&self.bias.reshape((1, (), 1, 1))?)?.relu()
    }
}
