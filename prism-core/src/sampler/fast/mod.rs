//! The sampler that is made for speed.
//!
//! The way down from here: `engine` divides images among threads, which `thread_pool` keeps from call to call; `draw`
//! takes a few of them through the `network`; each `layer` convolves by a `scheme` of few products; `product`
//! multiplies matrices; a `sink` takes what comes out.

mod draw;
mod engine;
mod layer;
mod mixture;
mod network;
mod product;
mod sink;
mod space;
mod team;
mod thread_pool;
mod weights;

use core::num::NonZeroUsize;

use engine::Engine;
pub use mixture::Mixture;

use super::{Isa, Model, Precision};
use crate::arch::Architecture;

/// A generator with its weights laid out for speed. Build it once, then draw as often as needed.
pub struct Sampler {
    engine: AnyEngine,
}

enum AnyEngine {
    F32(Engine<f32>),
    I16(Engine<i16>),
}

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
