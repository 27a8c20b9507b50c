//! The penalty toward the prior: `beta * sum_i KL(sigmoid(s_i) || sigmoid(p_i))`, which trades fit against bits on the wire.
//!
//! With scores s of the client and p of the broadcast, the gradient of the KL in nats is `q (1 - q) (s - p)`, q = sigmoid(s).
//! beta (`--kl-weight`) is the price of a nat, in units of the loss.

use candle_core::{Tensor, Var};
use prism_nn::Result;

/// The gradient of the penalty with respect to one layer's `scores`; `known` are the broadcast ones, of the same shape.
///
/// # Errors
/// If the shapes differ or the computation fails.
pub fn gradient(beta: f64, scores: &Var, known: &Tensor) -> Result<Tensor> {
    let q = (scores.neg()?.exp()? + 1.0)?.recip()?;
    let slope = (&q * (1.0 - &q)?)?;
    Ok(((slope * (scores.as_tensor() - known)?)? * beta)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::federation::divergence::tests::kl_bits;

    #[test]
    fn the_gradient_is_that_of_the_divergence() {
        let (scores, known) = ([0.3f32, -1.2, 2.0, 0.0], [0.0f32, -1.0, 3.0, 0.0]);
        let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
        let got = gradient(0.7, &Var::from_tensor(&tensor(&scores)).unwrap(), &tensor(&known)).unwrap();
        let loss = |at: [f32; 4]| 0.7 * 4.0 * std::f64::consts::LN_2 * kl_bits(&[at.to_vec()], &[known.to_vec()]);
        for (i, got) in got.to_vec1::<f32>().unwrap().into_iter().enumerate() {
            let at = |h: f32| loss(std::array::from_fn(|j| scores[j] + if i == j { h } else { 0.0 }));
            let difference = (at(0.02) - at(-0.02)) / 0.04;
            assert!((f64::from(got) - difference).abs() < 1e-3, "{i}: {got} and {difference}");
        }
    }
}
