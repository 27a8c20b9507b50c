//! Draws images from a finished model on the CPU.
//!
//! ```text
//! inputs [n, latent + classes]  ->  Sampler::images  ->  [n, channels, size, size] in [-1, 1]
//! ```
//!
//! [`Sampler`] computes in `f32`, or in exact integers ([`Precision`]), on the best instruction set of the machine
//! ([`Isa`]). An image's bits do not depend on the number of threads or on the other images. In `f32` they are the same
//! on all instruction sets with a fused multiply-add (AVX-512, AVX2, NEON) and on all without (portable, wasm), and
//! differ between the two by rounding; in integers they are the same everywhere. [`mod@reference`] is the same
//! generator in plain `f64` loops.
//!
//! [`frugal`] draws the integers' images in little memory, one at a time.
//!
//! A [`Mixture`] is a sampler for each component of a model.
//!
//! Without the feature `std` there are [`frugal`] and the reference alone.

mod element;
#[cfg(feature = "std")]
mod fast;
pub mod frugal;
mod image;
mod maps;
pub(crate) mod model;
pub mod pixel;
pub mod reference;
mod scales;
mod scheme;

#[cfg(feature = "std")]
pub use fast::{Mixture, Sampler};
pub use model::{FoldedNorm, Model};

pub use crate::simd::Isa;

/// What a sampler computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// `f32`: within 1e-5 of the reference.
    #[default]
    F32,
    /// Activations of 16 bits, sums of 32, both exact: the same bits on every machine. On the first 2,000 images of the
    /// MNIST model that ships with `prism-infer` a pixel is at most 1.04e-2 from `F32`'s, 2.6e-4 in the root mean
    /// square. Activations saturate at 16 standard deviations by the artifact's norms, so norms that were not measured
    /// on the model's own images spoil them.
    I16,
}

crate::text_enum!("precision", Precision { F32 = "f32", I16 = "i16" });

#[cfg(test)]
mod tests;
