//! Adam (Kingma and Ba, 2015) on the scores.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};
use rayon::prelude::*;

use crate::ops::storage::{floats, floats_mut, has_kernels};

/// Parameters that one task moves.
const CHUNK: usize = 1 << 14;

/// Adam's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Step size.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

/// One parameter's moving moments, each of the parameter's shape.
#[derive(Clone, Debug)]
pub struct AdamState {
    /// Mean of the gradient.
    pub first: Tensor,
    /// Mean of the squared gradient.
    pub second: Tensor,
}

impl AdamState {
    /// Zero moments for `parameter`.
    pub fn zeros_like(parameter: &Tensor) -> Result<Self> {
        Ok(AdamState { first: parameter.zeros_like()?, second: parameter.zeros_like()? })
    }
}

impl Adam {
    /// PRISM's settings at learning rate `lr`: betas 0.5 and 0.999.
    pub fn new(lr: f64) -> Self {
        Adam { lr, beta1: 0.5, beta2: 0.999, epsilon: 1e-8 }
    }

    /// Moves `parameter` against `gradient`; `step` counts from 1.
    ///
    /// The moments are overwritten in place where this crate has a kernel for it, so clones of [`AdamState`] that share their
    /// tensors may change as well.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn update(&self, parameter: &Var, gradient: &Tensor, moments: &mut AdamState, step: u64) -> Result<()> {
        // Beyond this both corrections are 1 in f64.
        let step = step.min(1 << 20) as i32;
        let rate = self.lr / (1.0 - self.beta1.powi(step));
        let correction = 1.0 - self.beta2.powi(step);
        let tensors = [parameter.as_tensor(), gradient, &moments.first, &moments.second];
        if tensors.into_iter().all(|t| has_kernels(t) && t.is_contiguous()) {
            moments.first.inplace_op2(gradient, &Decay { beta: self.beta1, square: false })?;
            moments.second.inplace_op2(gradient, &Decay { beta: self.beta2, square: true })?;
            let advance = Advance { rate: rate as f32, correction: correction as f32, epsilon: self.epsilon as f32 };
            return parameter.as_tensor().inplace_op3(&moments.first, &moments.second, &advance);
        }
        let first = ((&moments.first * self.beta1)? + (gradient * (1.0 - self.beta1))?)?;
        let second = ((&moments.second * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
        let root = ((&second / correction)?.sqrt()? + self.epsilon)?;
        parameter.set(&(parameter.as_tensor() - ((&first / root)? * rate)?)?)?;
        *moments = AdamState { first: first.detach(), second: second.detach() };
        Ok(())
    }
}

/// `moment <- beta * moment + (1 - beta) * gradient`, or the gradient's square.
struct Decay {
    beta: f64,
    square: bool,
}

impl InplaceOp2 for Decay {
    fn name(&self) -> &'static str {
        "adam-moment"
    }

    fn cpu_fwd(&self, moment: &mut CpuStorage, m_at: &Layout, gradient: &CpuStorage, g_at: &Layout) -> Result<()> {
        let (moment, gradient) = (floats_mut(moment, m_at)?, floats(gradient, g_at)?);
        same_length(moment, gradient)?;
        let (keep, take) = (self.beta as f32, (1.0 - self.beta) as f32);
        moment.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).for_each(|(moment, gradient)| {
            for (m, &g) in moment.iter_mut().zip(gradient) {
                *m = keep * *m + take * if self.square { g * g } else { g };
            }
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, moment: &mut CudaStorage, m_at: &Layout, gradient: &CudaStorage, g_at: &Layout) -> Result<()> {
        let factors = (self.beta as f32, (1.0 - self.beta) as f32, self.square);
        crate::cuda::adam_moment((moment, m_at), (gradient, g_at), factors)
    }
}

/// `parameter <- parameter - rate * first / (sqrt(second / correction) + epsilon)`.
struct Advance {
    rate: f32,
    correction: f32,
    epsilon: f32,
}

impl InplaceOp3 for Advance {
    fn name(&self) -> &'static str {
        "adam-step"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        p_at: &Layout,
        first: &CpuStorage,
        m_at: &Layout,
        second: &CpuStorage,
        v_at: &Layout,
    ) -> Result<()> {
        let (parameter, first, second) = (floats_mut(parameter, p_at)?, floats(first, m_at)?, floats(second, v_at)?);
        same_length(parameter, first)?;
        same_length(parameter, second)?;
        let moments = first.par_chunks(CHUNK).zip(second.par_chunks(CHUNK));
        parameter.par_chunks_mut(CHUNK).zip(moments).for_each(|(parameter, (first, second))| {
            for ((p, &m), &v) in parameter.iter_mut().zip(first).zip(second) {
                *p -= self.rate * m / ((v / self.correction).sqrt() + self.epsilon);
            }
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        parameter: &mut CudaStorage,
        p_at: &Layout,
        first: &CudaStorage,
        m_at: &Layout,
        second: &CudaStorage,
        v_at: &Layout,
    ) -> Result<()> {
        let numbers = (self.rate, self.correction, self.epsilon);
        crate::cuda::adam_step((parameter, p_at), (first, m_at), (second, v_at), numbers)
    }
}

fn same_length(a: &[f32], b: &[f32]) -> Result<()> {
    if a.len() != b.len() {
        candle_core::bail!("Adam cannot move {} parameters by {} numbers", a.len(), b.len());
    }
    Ok(())
}
