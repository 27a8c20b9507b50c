//! Adam (Kingma and Ba, 2015) on the scores.

use candle_core::{Result, Tensor, Var};

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
pub struct Moments {
    /// Mean of the gradient.
    pub first: Tensor,
    /// Mean of the squared gradient.
    pub second: Tensor,
}

impl Moments {
    /// Zero moments for `parameter`.
    pub fn zeros_like(parameter: &Tensor) -> Result<Self> {
        Ok(Moments { first: parameter.zeros_like()?, second: parameter.zeros_like()? })
    }
}

impl Adam {
    /// PRISM's settings at learning rate `lr`: betas 0.5 and 0.999.
    pub fn new(lr: f64) -> Self {
        Adam { lr, beta1: 0.5, beta2: 0.999, epsilon: 1e-8 }
    }

    /// Moves `parameter` against `gradient`; `step` counts from 1.
    pub fn update(&self, parameter: &Var, gradient: &Tensor, moments: &mut Moments, step: u64) -> Result<()> {
        let step = step as i32;
        let first = ((&moments.first * self.beta1)? + (gradient * (1.0 - self.beta1))?)?;
        let second = ((&moments.second * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
        let rate = self.lr / (1.0 - self.beta1.powi(step));
        let root = ((&second / (1.0 - self.beta2.powi(step)))?.sqrt()? + self.epsilon)?;
        parameter.set(&(parameter.as_tensor() - ((&first / root)? * rate)?)?)?;
        *moments = Moments { first: first.detach(), second: second.detach() };
        Ok(())
    }
}
