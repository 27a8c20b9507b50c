//! The operations that the generator and the encoders are made of, each with its gradient.
//!
//! Every function here takes and returns row-major `f32` tensors, images as `[batch, channels, height, width]`.
//! [`composed`] spells each one out in candle's own operations: it is what runs on a GPU, and what the CPU kernels are
//! tested against.

pub mod composed;
mod conv;
mod storage;

pub use composed::{MomentTargets, batch_norm_relu, first_layer, masked_weight, max_pool2x2, moment_loss, upsample2x};
pub use conv::{FrozenConv, conv2d, conv2d_relu_frozen};
