//! CPU kernels: plain slices in, plain slices out, no tensors.
//!
//! [`prism_core::simd`] names a vector register and its operations once, for AVX-512, AVX2 with FMA, NEON and plain Rust;
//! every kernel is written against it and compiled for each. Which one runs is decided when the program runs
//! ([`Isa`](prism_core::simd::Isa)). Work is divided among the threads of the current rayon pool so that no result depends on
//! how many there are: each number is computed by one task alone, or sums are cut into pieces whose number and order follow
//! from the shapes.
//!
//! # Which convolution runs where
//!
//! * [`conv`], on maps with channels last, by the few products of a [`scheme`]: everything whose speed a user waits for. The
//!   training step there and back ([`crate::step`]), every frozen encoder that only measures ([`crate::encoder`]), and the
//!   finished generator whose batch norms are measured at export ([`crate::generator`]).
//! * [`planar`], on `[B, C, H, W]` tensors as candle stores them, by direct sums: the differentiable operations of
//!   [`crate::ops`]. They exist because candle differentiates compositions of them: training of encoders and classifiers, the
//!   moving-average baseline, Inception, and the composed step that the fused one is tested against.
//! * [`crate::ops::composed`], candle's own convolution: what runs on a GPU, and the reference of [`planar`].
//! * The sampler of `prism-core`: forward only, without candle, in 16-bit integers or `f32`, also in a browser.
//!
//! No column matrix is ever stored by any of them.

pub mod conv;
pub mod factor;
pub mod gemm;
pub mod map;
pub mod map_norm;
pub mod map_pool;
pub mod masking;
pub mod moments;
pub mod packed;
pub mod peak;
pub mod planar;
pub mod scheme;
pub mod scratch;
pub mod share;
pub mod sketch;
pub mod source;
pub mod tile;
pub mod work;
