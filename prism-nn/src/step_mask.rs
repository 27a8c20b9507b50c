//! Which weights a training step keeps.

use prism_core::stream::StreamId;

/// Where a step's mask comes from. The gradient passes straight through it either way.
#[derive(Clone, Copy, Debug)]
pub enum StepMask {
    /// Each weight is kept with probability `sigmoid(score)`; layer i draws from `layer(i)` of this stream.
    /// Source: PRISM, section 3.
    Drawn(StreamId),
    /// A weight is kept where its score is above 0: the mask that ships, so nothing is learned that the artifact lacks.
    /// Source: the straight-through threshold of Zhou et al. 2019 and Ramanujan et al. 2020.
    Threshold,
    /// There is no mask: a weight is its score times its frozen weight, so scores are dense weights in units of the frozen
    /// ones. What masks are compared with.
    Dense,
}

impl StepMask {
    /// The rule of layer `layer`.
    pub fn layer(self, layer: u64) -> Self {
        match self {
            StepMask::Drawn(stream) => StepMask::Drawn(stream.layer(layer)),
            StepMask::Threshold | StepMask::Dense => self,
        }
    }
}

impl From<StreamId> for StepMask {
    fn from(stream: StreamId) -> Self {
        StepMask::Drawn(stream)
    }
}
