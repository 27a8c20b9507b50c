//! Convolutions as candle operations over the kernels of [`crate::cpu::planar::conv`].

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use prism_core::simd::Isa;

use super::composed;
use super::storage::{floats, on_cpu, with_floats};
use crate::cpu::planar::conv::{Fused, Weights, convolve};
use crate::cpu::planar::planes::Planes;
use crate::cpu::planar::weight_grad::weight_gradient;

/// Convolution with stride 1 and `kernel / 2` zeros around: `x [B, I, H, W]`, `weight [O, I, k, k]` -> `[B, O, H, W]`.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn conv2d(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if !(on_cpu(x) && on_cpu(weight) && weight.dim(2)? % 2 == 1) {
        return composed::conv2d(x, weight);
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, Conv2d)
}

/// A frozen convolution, `ReLU(conv(x) + bias)` with constant `weight [O, I, k, k]` and `bias [O]`.
#[derive(Clone, Debug)]
pub struct FrozenConv {
    weight: Tensor,
    bias: Tensor,
    /// Made ready when it is first used on the CPU.
    packed: Arc<OnceLock<Arc<PackedConv>>>,
}

#[derive(Debug)]
struct PackedConv {
    forward: Weights,
    transposed: Weights,
    bias: Vec<f32>,
}

impl FrozenConv {
    /// Takes constant `weight [O, I, k, k]` and `bias [O]`.
    ///
    /// # Errors
    /// If the shapes do not fit each other.
    pub fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (weight, bias) = (weight.detach().contiguous()?, bias.detach().contiguous()?);
        let shape = kernel_shape(weight.shape())?;
        if bias.dims() != [shape.0] {
            candle_core::bail!("a convolution of {} outputs cannot take a bias of shape {:?}", shape.0, bias.shape());
        }
        Ok(FrozenConv { weight, bias, packed: Arc::default() })
    }

    /// The weight, `[O, I, k, k]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, `[O]`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    fn packed(&self, shape: (usize, usize, usize)) -> Result<Arc<PackedConv>> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed.clone());
        }
        let packed = with_floats([&self.weight, &self.bias], |[weight, bias]| PackedConv {
            forward: Weights::forward(Isa::detect(), weight, shape),
            transposed: Weights::transposed(Isa::detect(), weight, shape),
            bias: bias.to_vec(),
        })?;
        Ok(self.packed.get_or_init(|| Arc::new(packed)).clone())
    }
}

/// `ReLU(conv(x) + bias)` for a constant convolution; only `x` gets a gradient: `[B, I, H, W]` -> `[B, O, H, W]`.
///
/// # Errors
/// If `x` does not have the convolution's number of channels.
pub fn conv2d_relu_frozen(x: &Tensor, conv: &FrozenConv) -> Result<Tensor> {
    let shape = kernel_shape(conv.weight.shape())?;
    if !(on_cpu(x) && on_cpu(&conv.weight) && on_cpu(&conv.bias) && shape.2 % 2 == 1) {
        return composed::conv2d_relu_frozen(x, &conv.weight, &conv.bias);
    }
    x.contiguous()?.apply_op1(ReluConv { packed: conv.packed(shape)?, shape })
}

/// Outputs, inputs and side of a square kernel.
fn kernel_shape(shape: &Shape) -> Result<(usize, usize, usize)> {
    let (outputs, inputs, height, width) = shape.dims4()?;
    if height != width {
        candle_core::bail!("a convolution kernel must be square, not {height}x{width}");
    }
    Ok((outputs, inputs, height))
}

/// The batch and the shape of its images, which must have `channels` channels.
fn images(shape: &Shape, channels: usize) -> Result<(usize, Planes)> {
    let (batch, found, height, width) = shape.dims4()?;
    if found != channels {
        candle_core::bail!("a convolution of {channels} channels cannot take images of {found}");
    }
    Ok((batch, Planes { channels, height, width }))
}

fn run(
    x: &[f32],
    (batch, planes): (usize, Planes),
    weights: &Weights,
    outputs: usize,
    fused: Fused<'_>,
) -> (CpuStorage, Shape) {
    let mut y = vec![0.0; batch * outputs * planes.pixels()];
    convolve(x, planes, weights, fused, &mut y);
    (CpuStorage::F32(y), Shape::from((batch, outputs, planes.height, planes.width)))
}

struct Conv2d;

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_at: &Layout, w: &CpuStorage, w_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = kernel_shape(w_at.shape())?;
        let images = images(x_at.shape(), shape.1)?;
        let weights = Weights::forward(Isa::detect(), floats(w, w_at)?, shape);
        Ok(run(floats(x, x_at)?, images, &weights, shape.0, Fused::default()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let dx = if x.track_op() { Some(grad.apply_op2_no_bwd(w, &InputGradient)?) } else { None };
        let side = w.dim(2)?;
        let dw = if w.track_op() { Some(x.apply_op2_no_bwd(&grad, &WeightGradient { side })?) } else { None };
        Ok((dx, dw))
    }
}

/// `(gradient of y, w)` -> gradient of x.
struct InputGradient;

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "conv2d-input-gradient"
    }

    fn cpu_fwd(&self, g: &CpuStorage, g_at: &Layout, w: &CpuStorage, w_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = kernel_shape(w_at.shape())?;
        let images = images(g_at.shape(), shape.0)?;
        let weights = Weights::transposed(Isa::detect(), floats(w, w_at)?, shape);
        Ok(run(floats(g, g_at)?, images, &weights, shape.1, Fused::default()))
    }
}

/// `(x, gradient of y)` -> gradient of w.
struct WeightGradient {
    side: usize,
}

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "conv2d-weight-gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_at: &Layout, g: &CpuStorage, g_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, inputs, height, width) = x_at.shape().dims4()?;
        let planes = Planes { channels: inputs, height, width };
        let outputs = g_at.shape().dims4()?.1;
        let mut dw = vec![0.0; outputs * inputs * self.side * self.side];
        weight_gradient(Isa::detect(), (floats(x, x_at)?, planes), (floats(g, g_at)?, outputs), self.side, &mut dw);
        Ok((CpuStorage::F32(dw), Shape::from((outputs, inputs, self.side, self.side))))
    }
}

struct ReluConv {
    packed: Arc<PackedConv>,
    /// Outputs, inputs, kernel side.
    shape: (usize, usize, usize),
}

impl CustomOp1 for ReluConv {
    fn name(&self) -> &'static str {
        "conv2d-relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let images = images(at.shape(), self.shape.1)?;
        let fused = Fused { bias: Some(&self.packed.bias), relu: true, gate: None };
        Ok(run(floats(x, at)?, images, &self.packed.forward, self.shape.0, fused))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let op = ReluConvGradient { packed: self.packed.clone(), shape: self.shape };
        grad.contiguous()?.apply_op2_no_bwd(y, &op).map(Some)
    }
}

/// `(gradient of y, y)` -> gradient of x.
struct ReluConvGradient {
    packed: Arc<PackedConv>,
    shape: (usize, usize, usize),
}

impl CustomOp2 for ReluConvGradient {
    fn name(&self) -> &'static str {
        "conv2d-relu-gradient"
    }

    fn cpu_fwd(&self, g: &CpuStorage, g_at: &Layout, y: &CpuStorage, y_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let images = images(g_at.shape(), self.shape.0)?;
        let fused = Fused { gate: Some(floats(y, y_at)?), ..Fused::default() };
        Ok(run(floats(g, g_at)?, images, &self.packed.transposed, self.shape.1, fused))
    }
}
