//! Kernels on `[B, C, H, W]` images, as candle's tensors lie: one plane after the other. They stand under the differentiable
//! operations of [`crate::ops`]; [`super`] says what runs on them and what does not.

pub mod conv;
pub mod matmul;
pub mod norm;
pub mod planes;
pub mod resample;
pub mod weight_grad;
