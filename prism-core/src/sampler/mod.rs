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
//! The way down from here: `engine` divides images among threads, which `thread_pool` keeps from call to call; `draw`
//! takes a few of them through the `network`; each `layer` convolves by a `scheme` of few products; `product`
//! multiplies matrices; a `sink` takes what comes out.

#[cfg(feature = "std")]
mod draw;
mod element;
#[cfg(feature = "std")]
mod engine;
pub mod frugal;
mod image;
#[cfg(feature = "std")]
mod layer;
mod maps;
#[cfg(feature = "std")]
mod mixture;
pub(crate) mod model;
#[cfg(feature = "std")]
mod network;
pub mod pixel;
#[cfg(feature = "std")]
mod product;
pub mod reference;
mod scales;
mod scheme;
#[cfg(feature = "std")]
mod sink;
#[cfg(feature = "std")]
mod space;
#[cfg(feature = "std")]
mod team;
#[cfg(feature = "std")]
mod thread_pool;
#[cfg(feature = "std")]
mod weights;

#[cfg(feature = "std")]
use core::num::NonZeroUsize;

#[cfg(feature = "std")]
use engine::Engine;
#[cfg(feature = "std")]
pub use mixture::Mixture;
pub use model::{FoldedNorm, Model};

#[cfg(feature = "std")]
use crate::arch::Architecture;
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

#[cfg(feature = "std")]
/// A generator with its weights laid out for speed. Build it once, then draw as often as needed.
pub struct Sampler {
    engine: AnyEngine,
}

#[cfg(feature = "std")]
enum AnyEngine {
    F32(Engine<f32>),
    I16(Engine<i16>),
}

#[cfg(feature = "std")]
impl Sampler {
    /// Lays out the weights of `model` for `f32` on this machine: one to four bytes for each.
    pub fn new(model: &Model<'_>) -> Self {
        Self::with(model, Precision::F32, Isa::detect())
    }

    /// Lays out the weights of `model` for a precision and an instruction set.
    ///
    /// # Panics
    /// If this machine does not have the instruction set.
    pub fn with(model: &Model<'_>, precision: Precision, isa: Isa) -> Self {
        let engine = match precision {
            Precision::F32 => AnyEngine::F32(Engine::new(model, isa)),
            Precision::I16 => AnyEngine::I16(Engine::new(model, isa)),
        };
        Sampler { engine }
    }

    /// The generator's shape.
    pub fn arch(&self) -> &Architecture {
        match &self.engine {
            AnyEngine::F32(engine) => &engine.network.arch,
            AnyEngine::I16(engine) => &engine.network.arch,
        }
    }

    /// The images of `inputs`, as `[n, channels, size, size]` in [-1, 1], drawn by up to `threads` threads.
    ///
    /// # Panics
    /// If the length of `inputs` is no multiple of `arch.inputs()`.
    pub fn images(&self, inputs: &[f32], threads: NonZeroUsize) -> Vec<f32> {
        let width = self.arch().inputs();
        assert_eq!(inputs.len() % width, 0, "inputs are rows of {width} numbers");
        match &self.engine {
            AnyEngine::F32(engine) => engine.images(inputs, threads),
            AnyEngine::I16(engine) => engine.images(inputs, threads),
        }
    }
}

#[cfg(test)]
mod tests;
