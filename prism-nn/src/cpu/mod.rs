//! CPU kernels under the operations: plain slices in, plain slices out, no tensors.
//!
//! [`prism_core::simd`] names a vector register and its operations once, for AVX-512, AVX2 with FMA, NEON and plain Rust;
//! every kernel is written against it and compiled for each. Which one runs is decided when the program runs
//! ([`Isa`](prism_core::simd::Isa)).
//!
//! Work is divided among the threads of the current rayon pool so that no result depends on how many there are: either
//! each number is computed by one task alone, or sums are cut into pieces whose number and order are fixed by the shapes.
//!
//! Convolutions are implicit matrix products: no column matrix is ever stored.

pub mod conv;
pub mod gemm;
pub mod layer;
pub mod map;
pub mod map_norm;
pub mod map_pool;
pub mod masking;
pub mod matmul;
pub mod moments;
pub mod norm;
pub mod packed;
pub mod peak;
pub mod planes;
pub mod resample;
pub mod scheme;
pub mod scratch;
pub mod share;
pub mod sketch;
pub mod source;
pub mod tile;
pub mod weight_grad;
