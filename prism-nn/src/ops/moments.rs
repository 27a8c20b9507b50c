//! The moment loss, over the kernels of [`crate::cpu::moments`].

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use prism_core::simd::Isa;

use super::composed::{self, MomentTargets};
use super::storage::{floats, on_cpu, with_floats};
use crate::cpu::map::Map;
use crate::cpu::moments::{self, Gradient, Targets};
use crate::cpu::source::Plain;

/// How far generated features are from the targets: the mean over groups g of
/// `mean_d(a_d (mu - mu_g)^2) / v_g + mean_d(b_d (var - var_g)^2) / v_g^2`, a scalar, with the weights a and b of the targets.
///
/// `features [G * n, ...]` holds n images of group 0, then n of group 1, and so on; `var` is unbiased, so n >= 2, or it is the
/// mean square ([`SecondMoment`](crate::SecondMoment)).
/// Only `features` gets a gradient.
/// Source: PRISM, equation 5 (a linear-kernel MMD with second moments, as in GFMN).
///
/// # Errors
/// If the features are not the same number of images, at least 2, for each group.
pub fn moment_loss(features: &Tensor, targets: &MomentTargets) -> Result<Tensor> {
    let (groups, width) = targets.mean.dims2()?;
    let images = features.elem_count() / (groups * width).max(1);
    if images < 2 || features.elem_count() != groups * width * images || targets.scale.elem_count() != groups {
        candle_core::bail!(
            "moments of {groups} groups of {width} features need at least 2 images for each group, not features of shape \
             {:?}",
            features.shape()
        );
    }
    if targets.grid.is_some() || !(on_cpu(features) && on_cpu(&targets.mean)) {
        return composed::moment_loss(features, targets);
    }
    let targets = MomentTargets {
        mean: targets.mean.contiguous()?,
        second: targets.second.contiguous()?,
        kind: targets.kind,
        scale: targets.scale.contiguous()?,
        weights: match &targets.weights {
            Some([a, b]) => Some([a.contiguous()?, b.contiguous()?]),
            None => None,
        },
        grid: None,
        estimator: targets.estimator,
    };
    features.contiguous()?.apply_op1(MomentLoss { targets, images, gradient: Arc::default() })
}

struct MomentLoss {
    targets: MomentTargets,
    /// Images of each group.
    images: usize,
    /// What the forward pass found, for the gradient.
    gradient: Arc<OnceLock<Gradient>>,
}

impl CustomOp1 for MomentLoss {
    fn name(&self) -> &'static str {
        "moment-loss"
    }

    fn cpu_fwd(&self, features: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let features = floats(features, at)?;
        let MomentTargets { mean, second, kind, scale, weights, estimator, .. } = &self.targets;
        let (kind, estimator) = (*kind, *estimator);
        let (groups, width) = mean.dims2()?;
        let map = Map { batch: groups * self.images, height: 1, width: 1, channels: width, stride: width };
        let mut gradient = Gradient::default();
        let mut run = |targets: Targets<'_>| {
            moments::moment_loss(Isa::detect(), Plain { values: features, map }, targets, &mut gradient)
        };
        let loss = match weights {
            None => with_floats([mean, second, scale], |[mean, second, scale]| {
                run(Targets { mean, second, kind, scale, weights: None, estimator })
            }),
            Some([a, b]) => with_floats([mean, second, scale, a, b], |[mean, second, scale, a, b]| {
                run(Targets { mean, second, kind, scale, weights: Some([a, b]), estimator })
            }),
        }?;
        // The operation is applied once, so there is nothing to overwrite.
        let _ = self.gradient.set(gradient);
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, features: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let groups = self.targets.scale.elem_count();
        let op = MomentLossGradient { gradient: self.gradient.clone(), groups };
        features.apply_op2_no_bwd(&gradient.contiguous()?, &op).map(Some)
    }
}

/// `(features, gradient of the loss)` -> gradient of the features.
struct MomentLossGradient {
    gradient: Arc<OnceLock<Gradient>>,
    groups: usize,
}

impl CustomOp2 for MomentLossGradient {
    fn name(&self) -> &'static str {
        "moment-loss-gradient"
    }

    fn cpu_fwd(&self, f: &CpuStorage, f_at: &Layout, g: &CpuStorage, g_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (Some(gradient), Some(&scale)) = (self.gradient.get(), floats(g, g_at)?.first()) else {
            candle_core::bail!("a moment loss has no gradient before its forward pass");
        };
        let features = floats(f, f_at)?;
        let mut out = vec![0.0; features.len()];
        gradient.write(features, self.groups, scale, &mut out);
        Ok((CpuStorage::F32(out), f_at.shape().clone()))
    }
}
