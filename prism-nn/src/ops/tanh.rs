//! The tanh that ends the generator, with a way back for what has gone all white or black.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, backend::BackendStorage};

use super::storage::floats;

/// Beyond this a pixel counts as all white or black. It lies far beyond the last of 255 steps: chance drives pixels back from here, and
/// must not drive them off black.
const FULL: f32 = 0.9999;

/// `tanh(u)`, whose slope is greater by `leak` on the way back, but for gradients that would push a pixel out which is all white or
/// black already.
///
/// The slope of the tanh is 0 there, so that no gradient would ever move such a pixel again. With a leak for those that push it
/// further out nothing would hold `u`: a long training of clothes broke. With a leak for those alone that lead back, chance would drive
/// every pixel to grey: black grounds became dark ones, and a classifier that learned from such images read 23% of real ones.
///
/// # Errors
/// Those of candle, such as a device's memory that is used up.
pub fn tanh(u: &Tensor, leak: f32) -> Result<Tensor> {
    let images = u.tanh()?;
    if leak == 0.0 {
        return Ok(images);
    }
    // 0 itself, with the slope of the tanh.
    let slope = (u.contiguous()?.apply_op1(TanhSlope { leak })? - u.detach())?;
    images.detach() + slope
}

/// The slope of [`tanh`] where the tanh is `t`, for a gradient `g` of the loss over it.
pub fn slope(t: f32, g: f32, leak: f32) -> f32 {
    let slope = 1.0 - t * t;
    // Descent goes against the gradient: one of the other sign than `t` brings `t` further from 0.
    if t * g < 0.0 && t.abs() > FULL { slope } else { slope + leak }
}

/// `u` itself, whose gradient is that of [`tanh`].
struct TanhSlope {
    leak: f32,
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
        let pushed_out = ((&t * gradient)?.lt(0.0)? * t.abs()?.gt(FULL)?)?;
        let slope = pushed_out.where_cond(&slope, &(&slope + f64::from(self.leak))?)?;
        Ok(Some((gradient * slope)?))
    }
}
