//! The tanh that ends the generator, with a way back for what has gone all white or black.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, backend::BackendStorage};

use super::storage::floats;

/// `tanh(u)`, through which a gradient that would bring a pixel back to grey passes at a slope of at least `leak`.
///
/// The slope of the tanh is 0 where a pixel is all white or black, so that no gradient would ever move it again. One that would
/// push it further out keeps the tanh's own slope, else nothing would hold `u`.
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
    // Descent goes against the gradient: one of the sign of `t` brings `t` nearer to 0.
    if t * g > 0.0 { slope.max(leak) } else { slope }
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
        let inward = (&t * gradient)?.gt(0.0)?;
        let slope = inward.where_cond(&slope.maximum(f64::from(self.leak))?, &slope)?;
        Ok(Some((gradient * slope)?))
    }
}
