//! What PRISM's masks are compared with, off the plain path: published variants that lose, or protect less.
//!
//! * [`moving_average`]: the objective of GFMN and of PRISM's own code, a moving average of the moments' gaps
//! * [`mask_noise`]: PRISM's own privacy mechanism, noise on every round's mask

pub mod mask_noise;
pub mod moving_average;
