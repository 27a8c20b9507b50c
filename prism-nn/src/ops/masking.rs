//! Masked weights, over the kernels of [`crate::cpu::masking`] and those of the GPU, which draw the same bits.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use prism_core::simd::Isa;

use super::composed;
use super::storage::{floats, has_kernels, on_cpu};
use crate::cpu::masking::{masked, masked_gradient};
use crate::step_mask::StepMask;

/// `frozen * M` with M chosen by `rule`; the gradient passes straight through M to the probability `sigmoid(scores)`. Without
/// a mask, `frozen * scores`.
///
/// `scores` and `frozen` have the same shape; `frozen` gets no gradient. Draw i takes bytes 4i..4i+4 of the stream
/// ([`prism_core::score::draw`]).
/// Source: PRISM, section 3; the estimator is Bengio et al. 2013.
///
/// # Errors
/// If the shapes differ.
pub fn masked_weight(scores: &Tensor, frozen: &Tensor, rule: impl Into<StepMask>) -> Result<Tensor> {
    let rule = rule.into();
    // A GPU needs no kernel of ours where nothing is drawn: candle's own operations do not wait.
    let composes = !matches!(rule, StepMask::Drawn(_)) && !on_cpu(scores);
    if composes || !(has_kernels(scores) && has_kernels(frozen)) {
        return composed::masked_weight(scores, frozen, rule);
    }
    scores.contiguous()?.apply_op2(&frozen.contiguous()?, Masked { rule })
}

struct Masked {
    rule: StepMask,
}

impl CustomOp2 for Masked {
    fn name(&self) -> &'static str {
        "masked-weight"
    }

    fn cpu_fwd(&self, s: &CpuStorage, s_at: &Layout, w: &CpuStorage, w_at: &Layout) -> Result<(CpuStorage, Shape)> {
        same_shape(s_at, w_at)?;
        let scores = floats(s, s_at)?;
        let mut out = vec![0.0; scores.len()];
        masked(Isa::detect(), scores, floats(w, w_at)?, self.rule, &mut out);
        Ok((CpuStorage::F32(out), s_at.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, s_at: &Layout, w: &CudaStorage, w_at: &Layout) -> Result<(CudaStorage, Shape)> {
        same_shape(s_at, w_at)?;
        let StepMask::Drawn(stream) = self.rule else {
            candle_core::bail!("on a GPU only drawn masks have a kernel");
        };
        Ok((crate::cuda::masked(stream, (s, s_at), (w, w_at))?, s_at.shape().clone()))
    }

    fn bwd(&self, s: &Tensor, w: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ds = s.apply_op3_no_bwd(w, &gradient.contiguous()?, &MaskedGradient { rule: self.rule })?;
        Ok((Some(ds), None))
    }
}

/// `(scores, frozen, gradient of the weight)` -> gradient of the scores.
struct MaskedGradient {
    rule: StepMask,
}

impl CustomOp3 for MaskedGradient {
    fn name(&self) -> &'static str {
        "masked-weight-gradient"
    }

    fn cpu_fwd(
        &self,
        s: &CpuStorage,
        s_at: &Layout,
        w: &CpuStorage,
        w_at: &Layout,
        g: &CpuStorage,
        g_at: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let arguments = [floats(s, s_at)?, floats(w, w_at)?, floats(g, g_at)?];
        let mut out = vec![0.0; arguments[0].len()];
        masked_gradient(Isa::detect(), arguments, self.rule, &mut out);
        Ok((CpuStorage::F32(out), s_at.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s: &CudaStorage,
        s_at: &Layout,
        w: &CudaStorage,
        w_at: &Layout,
        g: &CudaStorage,
        g_at: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        same_shape(s_at, w_at)?;
        same_shape(s_at, g_at)?;
        Ok((crate::cuda::masked_gradient([(s, s_at), (w, w_at), (g, g_at)])?, s_at.shape().clone()))
    }
}

fn same_shape(scores: &Layout, others: &Layout) -> Result<()> {
    if scores.shape() != others.shape() {
        candle_core::bail!("scores of shape {:?} cannot mask weights of shape {:?}", scores.shape(), others.shape());
    }
    Ok(())
}
