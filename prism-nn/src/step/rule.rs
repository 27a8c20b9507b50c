//! What a training step may be told: which weights it keeps, and the bias of its tanh's slope.

use prism_core::stream::StreamId;

use crate::step_mask::StepMask;

/// How one step trains; from a [`StepMask`], or the stream it is drawn from, without a bias.
#[derive(Clone, Copy, Debug)]
pub struct StepRule {
    /// Which weights the step keeps.
    pub mask: StepMask,
    /// Added to the slope of the generator's last tanh on the way back ([`ops::tanh`](crate::ops::tanh)); 0 for its own slope.
    pub tanh_grad_bias: f32,
}

impl From<StepMask> for StepRule {
    fn from(mask: StepMask) -> Self {
        StepRule { mask, tanh_grad_bias: 0.0 }
    }
}

impl From<StreamId> for StepRule {
    fn from(stream: StreamId) -> Self {
        StepMask::from(stream).into()
    }
}
