//! What a training step may be told: which weights it keeps, and how its tanh leaks.

use prism_core::stream::StreamId;

use crate::step_mask::StepMask;

/// How one step trains; from a [`StepMask`], or the stream it is drawn from, without a leak.
#[derive(Clone, Copy, Debug)]
pub struct StepRule {
    /// Which weights the step keeps.
    pub mask: StepMask,
    /// What the slope of the generator's last tanh is greater by on the way back ([`ops::tanh`](crate::ops::tanh)); 0 for its own.
    pub tanh_leak: f32,
}

impl From<StepMask> for StepRule {
    fn from(mask: StepMask) -> Self {
        StepRule { mask, tanh_leak: 0.0 }
    }
}

impl From<StreamId> for StepRule {
    fn from(stream: StreamId) -> Self {
        StepMask::from(stream).into()
    }
}
