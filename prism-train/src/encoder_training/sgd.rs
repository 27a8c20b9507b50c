//! Stochastic gradient descent with Nesterov's momentum and weight decay, and its learning rate.

use candle_core::{Result, Tensor, Var};

const MOMENTUM: f64 = 0.9;

/// Pulls convolution and classifier weights towards 0, not the norms' gains and shifts.
const WEIGHT_DECAY: f64 = 5e-4;

/// Share of the steps in which the learning rate rises.
const WARM_UP: f64 = 0.25;

/// A learning rate that rises linearly from 0 and falls linearly back to 0 (Smith and Topin 2019).
#[derive(Clone, Copy, Debug)]
pub struct OneCycle {
    /// The rate at the top.
    pub highest: f64,
    /// Steps in all.
    pub steps: usize,
}

impl OneCycle {
    /// The rate of `step`, counted from 0.
    pub fn at(self, step: usize) -> f64 {
        let done = (step as f64 + 0.5) / self.steps as f64;
        self.highest * (done / WARM_UP).min((1.0 - done) / (1.0 - WARM_UP))
    }
}

/// One velocity a parameter.
pub struct Sgd {
    velocities: Vec<Tensor>,
}

impl Sgd {
    /// At rest.
    pub fn new(parameters: &[Var]) -> Result<Self> {
        Ok(Sgd { velocities: parameters.iter().map(|p| p.zeros_like()).collect::<Result<_>>()? })
    }

    /// `v <- 0.9 v + d; p <- p - rate (d + 0.9 v)` with `d = gradient + decay * p`.
    pub fn update(&mut self, parameters: &[Var], gradients: &[Tensor], rate: f64) -> Result<()> {
        for ((parameter, gradient), velocity) in parameters.iter().zip(gradients).zip(&mut self.velocities) {
            // Gains and shifts are vectors.
            let decay = if parameter.rank() > 1 { WEIGHT_DECAY } else { 0.0 };
            let direction = (gradient + (parameter.as_detached_tensor() * decay)?)?;
            let next = ((&*velocity * MOMENTUM)? + &direction)?;
            let step = (direction + (&next * MOMENTUM)?)?;
            parameter.set(&(parameter.as_detached_tensor() - (step * rate)?)?)?;
            *velocity = next.detach();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_zero() {
        let cycle = OneCycle { highest: 0.4, steps: 1000 };
        assert!(cycle.at(0) < 0.001 && cycle.at(999) < 0.001);
        assert!((cycle.at(250) - 0.4).abs() < 0.001);
        assert!(cycle.at(100) < cycle.at(200) && cycle.at(500) > cycle.at(800));
    }

    /// ```python
    /// p = torch.nn.Parameter(torch.tensor([[1., -2.]]))
    /// o = torch.optim.SGD([p], 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    /// for g in ([0.5, 1.], [-1., 2.]): p.grad = torch.tensor([g]); o.step()
    /// p  # [[1.05427861, -2.65052104]]
    /// ```
    #[test]
    fn steps_are_those_of_pytorch() {
        let tensor = |values: &[f32]| Tensor::new(&[[values[0], values[1]]], &Device::Cpu).unwrap();
        let parameters = [Var::from_tensor(&tensor(&[1.0, -2.0])).unwrap()];
        let mut sgd = Sgd::new(&parameters).unwrap();
        for gradient in [[0.5, 1.0], [-1.0, 2.0]] {
            sgd.update(&parameters, &[tensor(&gradient)], 0.1).unwrap();
        }
        let moved = parameters[0].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!((moved[0] - PYTORCH[0]).abs() < 1e-6 && (moved[1] - PYTORCH[1]).abs() < 1e-6, "{moved:?}");
    }

    const PYTORCH: [f32; 2] = [1.054_278_6, -2.650_521];
}
