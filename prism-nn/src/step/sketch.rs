//! The moment losses of an encoder's sketches on channels-last maps.
//!
//! Grids are nested, so the means over a coarse one's cells are means of the next finer one's, and their gradients go the same
//! way back: the maps themselves are read once and their gradients are added to once, for all grids.

use prism_core::simd::Isa;

use crate::cpu::map::Map;
use crate::cpu::moments::{Gradient, Targets, moment_loss};
use crate::cpu::sketch::{average, spread};
use crate::cpu::source::Plain;
use crate::encoder::packed::PackedSketch;

/// The memory of one grid, kept from step to step.
#[derive(Clone, Default)]
pub struct Memory {
    /// Means over the cells, and their gradient.
    cells: Vec<f32>,
    of_cells: Vec<f32>,
    /// The sketch, and its gradient.
    values: Vec<f32>,
    gradient: Gradient,
}

/// The sketches of one convolution.
#[derive(Clone, Copy)]
pub struct Sketches<'a> {
    pub isa: Isa,
    /// Rising; each has a memory and targets of its own.
    pub grids: &'a [PackedSketch],
    /// The convolution's number, and its output's shape.
    pub conv: usize,
    pub map: Map,
}

impl Sketches<'_> {
    /// The loss of all sketches of the convolution's output `features`; adds its gradient to `gradient`.
    pub fn loss(self, features: &[f32], targets: &[Targets<'_>], memory: &mut [Memory], gradient: &mut [f32]) -> f64 {
        let mut loss = 0.0;
        for grid in (0..self.grids.len()).rev() {
            let (coarser, finer) = memory.split_at_mut(grid + 1);
            let Some(own) = coarser.last_mut() else { continue };
            let shape = self.grids[grid].shape(self.map);
            let x = finer.first().map_or(features, |finer| finer.cells.as_slice());
            average(x, self.finer(grid), shape.height, &mut own.cells);
            let mix = &self.grids[grid].mixes[self.conv];
            mix.forward(&own.cells, &mut own.values);
            let sketch = Plain { values: &own.values, map: shape };
            loss += moment_loss(self.isa, sketch, targets[grid], &mut own.gradient);
            own.gradient.evaluate(&own.values, targets[grid].scale.len());
            mix.backward(&own.gradient.shift, &mut own.of_cells);
        }
        for grid in 0..self.grids.len() {
            let (coarser, finer) = memory.split_at_mut(grid + 1);
            let Some(own) = coarser.last() else { continue };
            let side = self.grids[grid].shape(self.map).height;
            let of_finer = finer.first_mut().map_or(&mut *gradient, |finer| finer.of_cells.as_mut_slice());
            spread(&own.of_cells, self.finer(grid), side, of_finer);
        }
        loss
    }

    /// The shape of the maps whose means are taken over `grid`: the next finer grid's, or the features'.
    fn finer(&self, grid: usize) -> Map {
        self.grids.get(grid + 1).map_or(self.map, |finer| finer.shape(self.map))
    }
}
