//! Doubling and pooling, over the kernels of [`crate::cpu::planar::resample`].

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};

use super::composed;
use super::storage::{floats, on_cpu};
use crate::cpu::planar::resample;

/// Nearest-neighbour doubling: `[B, C, H, W]` -> `[B, C, 2H, 2W]`.
///
/// # Errors
/// If `x` does not have four axes.
pub fn upsample2x(x: &Tensor) -> Result<Tensor> {
    if !on_cpu(x) {
        return composed::upsample2x(x);
    }
    x.contiguous()?.apply_op1(Upsample)
}

/// Maximum over disjoint 2x2 squares: `[B, C, H, W]` -> `[B, C, H/2, W/2]`, an odd last row or column left out.
///
/// The first maximum of a square, row by row, receives its gradient.
///
/// # Errors
/// If `x` does not have four axes.
pub fn max_pool2x2(x: &Tensor) -> Result<Tensor> {
    if !on_cpu(x) {
        return composed::max_pool2x2(x);
    }
    x.contiguous()?.apply_op1(MaxPool)
}

struct Upsample;

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "upsample2x"
    }

    fn cpu_fwd(&self, x: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = at.shape().dims4()?;
        let x = floats(x, at)?;
        let mut y = vec![0.0; 4 * x.len()];
        resample::upsample(x, (height, width), &mut y);
        Ok((CpuStorage::F32(y), Shape::from((batch, channels, 2 * height, 2 * width))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient.contiguous()?.apply_op1_no_bwd(&UpsampleGradient).map(Some)
    }
}

struct UpsampleGradient;

impl CustomOp1 for UpsampleGradient {
    fn name(&self) -> &'static str {
        "upsample2x-gradient"
    }

    fn cpu_fwd(&self, g: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = at.shape().dims4()?;
        let g = floats(g, at)?;
        let mut dx = vec![0.0; g.len() / 4];
        resample::upsample_gradient(g, (height / 2, width / 2), &mut dx);
        Ok((CpuStorage::F32(dx), Shape::from((batch, channels, height / 2, width / 2))))
    }
}

struct MaxPool;

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool2x2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = at.shape().dims4()?;
        let mut y = vec![0.0; batch * channels * (height / 2) * (width / 2)];
        resample::max_pool(floats(x, at)?, (height, width), &mut y);
        Ok((CpuStorage::F32(y), Shape::from((batch, channels, height / 2, width / 2))))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        x.apply_op3_no_bwd(y, &gradient.contiguous()?, &MaxPoolGradient).map(Some)
    }
}

/// `(x, y, gradient of y)` -> gradient of x.
struct MaxPoolGradient;

impl CustomOp3 for MaxPoolGradient {
    fn name(&self) -> &'static str {
        "max-pool2x2-gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_at: &Layout,
        y: &CpuStorage,
        y_at: &Layout,
        g: &CpuStorage,
        g_at: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, _, height, width) = x_at.shape().dims4()?;
        let arguments = [floats(x, x_at)?, floats(y, y_at)?, floats(g, g_at)?];
        let mut dx = vec![0.0; arguments[0].len()];
        resample::max_pool_gradient(arguments, (height, width), &mut dx);
        Ok((CpuStorage::F32(dx), x_at.shape().clone()))
    }
}
