//! The tanh that ends the generator, whose gradient can be made to reach saturated pixels.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, backend::BackendStorage};

use super::storage::floats;

/// Beyond this a pixel counts as saturated: all white or all black. The last of 255 levels begins far below, so that the noise of
/// gradients, which drives pixels back from here, does not drive them off black.
const SATURATED: f32 = 0.9999;

/// `tanh(u)`, with `grad_bias` added to its slope on the way back, except for gradients that push a saturated pixel further out.
///
/// The slope of the tanh is 0 at a saturated pixel, so without the bias no gradient would ever move it again. With a bias for gradients
/// that push it further out as well, nothing would bound `u`: a long training on Fashion-MNIST diverged. With a bias only for gradients
/// that lead back, at every pixel, noise would drive all pixels to grey: black backgrounds became dark grey, and a classifier that
/// learned from such images recognised 23% of real ones.
///
/// # Errors
/// Those of candle, such as a device's memory that is used up.
pub fn tanh(u: &Tensor, grad_bias: f32) -> Result<Tensor> {
    let images = u.tanh()?;
    if grad_bias == 0.0 {
        return Ok(images);
    }
    // 0 itself, with the slope of the tanh.
    let slope = (u.contiguous()?.apply_op1(TanhSlope { grad_bias })? - u.detach())?;
    images.detach() + slope
}

/// The slope of [`tanh`] where the tanh is `t`, for a gradient `g` of the loss over it.
pub fn slope(t: f32, g: f32, grad_bias: f32) -> f32 {
    let slope = 1.0 - t * t;
    // Descent goes against the gradient: one of the other sign than `t` brings `t` further from 0.
    if t * g < 0.0 && t.abs() > SATURATED { slope } else { slope + grad_bias }
}

/// `u` itself, whose gradient is that of [`tanh`].
struct TanhSlope {
    grad_bias: f32,
}

impl CustomOp1 for TanhSlope {
    fn name(&self) -> &'static str {
        "tanh-slope"
    }

    fn cpu_fwd(&self, u: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(floats(u, at)?.to_vec()), at.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, u: &CudaStorage, at: &Layout) -> Result<(CudaStorage, Shape)> {
        if !at.is_contiguous() || at.start_offset() != 0 {
            return Err(candle_core::Error::RequiresContiguous { op: "tanh-slope" });
        }
        Ok((u.try_clone(at)?, at.shape().clone()))
    }

    fn bwd(&self, u: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let t = u.tanh()?;
        let slope = t.sqr()?.affine(-1.0, 1.0)?;
        let pushed_out = ((&t * gradient)?.lt(0.0)? * t.abs()?.gt(SATURATED)?)?;
        let slope = pushed_out.where_cond(&slope, &(&slope + f64::from(self.grad_bias))?)?;
        Ok(Some((gradient * slope)?))
    }
}
