//! Masked weights, over the kernels of [`crate::cpu::masking`].

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use prism_core::stream::StreamId;

use super::composed;
use super::storage::{floats, on_cpu};
use crate::cpu::masking::{masked, masked_gradient};
use crate::cpu::simd::Isa;

/// `frozen * M` with M drawn from `Bernoulli(sigmoid(scores))`; the gradient passes straight through M to the probability.
///
/// `scores` and `frozen` have the same shape; `frozen` gets no gradient. Draw i takes bytes 4i..4i+4 of `stream`
/// ([`prism_core::score::draw`]).
/// Source: PRISM, section 3; the estimator is Bengio et al. 2013.
///
/// # Errors
/// If the shapes differ.
pub fn masked_weight(scores: &Tensor, frozen: &Tensor, stream: StreamId) -> Result<Tensor> {
    if !(on_cpu(scores) && on_cpu(frozen)) {
        return composed::masked_weight(scores, frozen, stream);
    }
    scores.contiguous()?.apply_op2(&frozen.contiguous()?, Masked { stream })
}

struct Masked {
    stream: StreamId,
}

impl CustomOp2 for Masked {
    fn name(&self) -> &'static str {
        "masked-weight"
    }

    fn cpu_fwd(&self, s: &CpuStorage, s_at: &Layout, w: &CpuStorage, w_at: &Layout) -> Result<(CpuStorage, Shape)> {
        if s_at.shape() != w_at.shape() {
            candle_core::bail!("scores of shape {:?} cannot mask weights of shape {:?}", s_at.shape(), w_at.shape());
        }
        let scores = floats(s, s_at)?;
        let mut out = vec![0.0; scores.len()];
        masked(Isa::detect(), scores, floats(w, w_at)?, self.stream, &mut out);
        Ok((CpuStorage::F32(out), s_at.shape().clone()))
    }

    fn bwd(&self, s: &Tensor, w: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ds = s.apply_op3_no_bwd(w, &gradient.contiguous()?, &MaskedGradient)?;
        Ok((Some(ds), None))
    }
}

/// `(scores, frozen, gradient of the weight)` -> gradient of the scores.
struct MaskedGradient;

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
        masked_gradient(Isa::detect(), arguments, &mut out);
        Ok((CpuStorage::F32(out), s_at.shape().clone()))
    }
}
