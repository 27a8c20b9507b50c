//! CPU kernels under the operations: plain slices in, plain slices out, no tensors.
//!
//! [`simd`] names a vector register and its operations once, for AVX-512, AVX2 with FMA, NEON and plain Rust; every
//! kernel is written against it and compiled for each. Which one runs is decided when the program runs ([`simd::Isa`]).
//!
//! Work is divided among the threads of the current rayon pool so that no result depends on how many there are: either
//! each number is computed by one task alone, or sums are cut into pieces whose number and order are fixed by the shapes.
//!
//! Convolutions are implicit matrix products: no column matrix is ever stored.

pub mod conv;
pub mod masking;
pub mod matmul;
pub mod moments;
pub mod norm;
pub mod planes;
pub mod resample;
pub mod scratch;
pub mod share;
pub mod simd;
pub mod tile;
pub mod weight_grad;
