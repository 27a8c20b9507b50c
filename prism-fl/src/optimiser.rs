//! A client's optimiser state: Adam's moments of every layer, and the moving average where one is matched, which stay with the client from round to round.

use candle_core::{Device, Tensor, Var};
use prism_core::Architecture;
use prism_nn::Result;
use prism_nn::adam::{Adam, AdamState};

use crate::baselines::moving_average::MovingAverage;

/// Adam's moments of every layer, and how many steps they have seen.
pub struct OptimiserState {
    steps: u64,
    layers: Vec<AdamState>,
    /// The moving average of the gaps, if one is matched and a step was taken.
    pub average: Option<MovingAverage>,
}

impl OptimiserState {
    /// The state of a client that has not trained yet.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(arch: &Architecture, device: &Device) -> Result<Self> {
        let zeros = |layer: prism_core::arch::Layer| {
            Ok(AdamState::zeros_like(&Tensor::zeros(&layer.shape(), candle_core::DType::F32, device)?)?)
        };
        let layers = arch.layers().into_iter().map(zeros).collect::<Result<_>>()?;
        Ok(OptimiserState { steps: 0, layers, average: None })
    }

    /// The state of `steps` steps, from the moments of each layer in the order of the architecture.
    pub fn from_layers(steps: u64, layers: Vec<AdamState>, average: Option<MovingAverage>) -> Self {
        OptimiserState { steps, layers, average }
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The moments of each layer, in the order of the architecture.
    pub fn layers(&self) -> &[AdamState] {
        &self.layers
    }

    /// All that it holds.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor> {
        let average = self.average.iter().flat_map(MovingAverage::tensors).map(|(_, tensor)| tensor);
        self.layers.iter().flat_map(|moments| [moments.first.clone(), moments.second.clone()]).chain(average)
    }

    /// One step of `adam` on every layer's scores.
    ///
    /// # Errors
    /// If a gradient is not of its layer's shape or the computation fails.
    pub fn step(&mut self, adam: &Adam, scores: &[Var], gradients: &[Tensor]) -> Result<()> {
        self.steps += 1;
        for ((score, gradient), moments) in scores.iter().zip(gradients).zip(&mut self.layers) {
            adam.update(score, gradient, moments, self.steps)?;
        }
        Ok(())
    }
}
