//! Batch norm and ReLU in one, over the kernels of [`crate::cpu::planar::norm`].

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};
use prism_core::simd::Isa;

use super::composed::{self, NORM_EPSILON};
use super::storage::{floats, on_cpu, planes};
use crate::cpu::planar::norm::{Statistics, norm_relu, norm_relu_gradient};

/// `ReLU((x - mean) / sqrt(variance + 1e-5))` with the batch's own mean and (biased) variance per channel.
///
/// `x [B, C, H, W]` -> `[B, C, H, W]`.
///
/// # Errors
/// If `x` does not have four axes.
pub fn batch_norm_relu(x: &Tensor) -> Result<Tensor> {
    if !on_cpu(x) {
        return composed::batch_norm_relu(x);
    }
    x.contiguous()?.apply_op1(NormRelu::default())
}

#[derive(Default)]
struct NormRelu {
    /// What the forward pass measured, for the gradient.
    statistics: Arc<OnceLock<Vec<Statistics>>>,
}

impl CustomOp1 for NormRelu {
    fn name(&self) -> &'static str {
        "batch-norm-relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, at)?;
        let mut y = vec![0.0; x.len()];
        let statistics = norm_relu(Isa::detect(), x, planes(at.shape())?, NORM_EPSILON, &mut y);
        // The operation is applied once, so there is nothing to overwrite.
        let _ = self.statistics.set(statistics);
        Ok((CpuStorage::F32(y), at.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let op = NormReluGradient { statistics: self.statistics.clone() };
        x.apply_op3_no_bwd(y, &gradient.contiguous()?, &op).map(Some)
    }
}

/// `(x, y, gradient of y)` -> gradient of x.
struct NormReluGradient {
    statistics: Arc<OnceLock<Vec<Statistics>>>,
}

impl CustomOp3 for NormReluGradient {
    fn name(&self) -> &'static str {
        "batch-norm-relu-gradient"
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
        let Some(statistics) = self.statistics.get() else {
            candle_core::bail!("a batch norm has no gradient before its forward pass");
        };
        let arguments = [floats(x, x_at)?, floats(y, y_at)?, floats(g, g_at)?];
        let mut dx = vec![0.0; arguments[0].len()];
        norm_relu_gradient(Isa::detect(), arguments, planes(x_at.shape())?, statistics, &mut dx);
        Ok((CpuStorage::F32(dx), x_at.shape().clone()))
    }
}
