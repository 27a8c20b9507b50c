//! The moment losses of an encoder's sketches on channels-last maps.
//!
//! Grids are nested, so the means over a coarse one's cells are means of the next finer one's, and their gradients go the same
//! way back: the maps themselves are read once and their gradients are added to once, for all grids.

use candle_core::{Result, Tensor};
use prism_core::simd::Isa;

use crate::cpu::map::Map;
use crate::cpu::moments::{Gradient, Targets, moment_loss};
use crate::cpu::sketch::{Mix, average, spread};
use crate::encoder::sketch::Sketch;
use crate::ops::storage::with_floats;

/// The sketches of all convolutions over one grid.
#[derive(Debug)]
pub struct Weights {
    sketch: Sketch,
    /// One a convolution.
    mixes: Vec<Mix>,
}

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

impl Weights {
    /// Lays `sketch` out.
    ///
    /// # Errors
    /// If it is not in main memory.
    pub fn new(isa: Isa, sketch: &Sketch) -> Result<Self> {
        let mix = |matrix: &Tensor| {
            let channels = matrix.dim(0)?;
            with_floats([matrix], |[matrix]| Mix::new(matrix, channels, channels.next_multiple_of(isa.lanes())))
        };
        Ok(Weights { sketch: sketch.clone(), mixes: sketch.mixes().iter().map(mix).collect::<Result<_>>()? })
    }

    /// The sketch's shape, of a convolution whose output is a `map`.
    pub fn shape(&self, map: Map) -> Map {
        let side = self.sketch.side(map.height);
        Map { height: side, width: side, ..map }
    }
}

/// The sketches of one convolution.
#[derive(Clone, Copy)]
pub struct Sketches<'a> {
    pub isa: Isa,
    /// Rising; each has a memory and targets of its own.
    pub grids: &'a [Weights],
    /// The convolution's number, and its output's shape.
    pub conv: usize,
    pub map: Map,
}

impl Sketches<'_> {
    /// The loss of all sketches of the convolution's output `features`, `images` of each group; adds its gradient to `gradient`.
    pub fn loss(
        self,
        features: &[f32],
        images: usize,
        targets: &[Targets<'_>],
        memory: &mut [Memory],
        gradient: &mut [f32],
    ) -> f64 {
        let mut loss = 0.0;
        for grid in (0..self.grids.len()).rev() {
            let (coarser, finer) = memory.split_at_mut(grid + 1);
            let Some(own) = coarser.last_mut() else { continue };
            let shape = self.grids[grid].shape(self.map);
            let x = finer.first().map_or(features, |finer| finer.cells.as_slice());
            average(x, self.finer(grid), shape.height, &mut own.cells);
            let mix = &self.grids[grid].mixes[self.conv];
            mix.forward(self.isa, &own.cells, &mut own.values);
            let counted = shape.channels * shape.pixels();
            loss += moment_loss(self.isa, &own.values, images, targets[grid], counted, &mut own.gradient);
            own.gradient.evaluate(&own.values, targets[grid].scale.len());
            mix.backward(self.isa, &own.gradient.shift, &mut own.of_cells);
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
