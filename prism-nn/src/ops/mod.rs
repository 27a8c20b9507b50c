//! The operations that the generator and the encoders are made of, each with its gradient.
//!
//! Every function here takes and returns row-major `f32` tensors, images as `[batch, channels, height, width]`. On the CPU
//! it runs a kernel of [`crate::cpu`]. [`composed`] spells each one out in candle's own operations: it is what runs on a
//! GPU, and what the kernels are tested against.

pub mod composed;
mod conv;
mod linear;
mod masking;
mod moments;
mod norm;
mod resample;
pub(crate) mod storage;
mod tanh;

pub use composed::MomentTargets;
pub use conv::{FrozenConv, conv2d, conv2d_relu_frozen};
pub use linear::first_layer;
pub use masking::masked_weight;
pub use moments::moment_loss;
pub use norm::batch_norm_relu;
pub use resample::{max_pool2x2, upsample2x};
pub use tanh::{slope as tanh_slope, tanh};
