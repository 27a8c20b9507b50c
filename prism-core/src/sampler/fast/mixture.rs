//! The sampler of a whole model: one for each of its components, of which most models have one.

use std::convert::Infallible;
use std::num::NonZeroUsize;

use super::Sampler;
use crate::arch::Architecture;
use crate::mixture::route;
use crate::sampler::{Isa, Model, Precision};

/// The samplers of a model's components.
pub struct Mixture {
    /// At least one.
    samplers: Vec<Sampler>,
}

impl Mixture {
    /// Lays out the weights of every model for `f32` on this machine.
    ///
    /// # Panics
    /// If there is no model.
    pub fn new(models: &[Model<'_>]) -> Self {
        Self::with(models, Precision::F32, Isa::detect())
    }

    /// Lays out the weights of every model for a precision and an instruction set.
    ///
    /// # Panics
    /// If there is no model, or this machine does not have the instruction set.
    pub fn with(models: &[Model<'_>], precision: Precision, isa: Isa) -> Self {
        assert!(!models.is_empty(), "a mixture has at least one component");
        Mixture { samplers: models.iter().map(|model| Sampler::with(model, precision, isa)).collect() }
    }

    /// The generators' shape.
    pub fn arch(&self) -> &Architecture {
        self.samplers[0].arch()
    }

    /// Number of components.
    pub fn components(&self) -> usize {
        self.samplers.len()
    }

    /// The images of `inputs`, row r drawn by component `components[r]`, as `[n, channels, size, size]` in [-1, 1], by
    /// up to `threads` threads.
    ///
    /// # Panics
    /// If there are not as many rows of `arch.inputs()` numbers as components named, or one of these does not exist.
    pub fn images(&self, inputs: &[f32], components: &[usize], threads: NonZeroUsize) -> Vec<f32> {
        let draw = |component: usize, rows: &[f32]| Ok::<_, Infallible>(self.samplers[component].images(rows, threads));
        match route(inputs, self.arch().inputs(), components, draw) {
            Ok(images) => images,
            Err(never) => match never {},
        }
    }
}
