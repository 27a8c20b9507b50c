//! Sums over images of one output's features and of their squares: what moments are made of.

use std::ops::Range;

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use super::pass::Features;
use crate::cpu::map::Map;

/// Features of one task: with their sums they fit a first-level cache.
const CHUNK: usize = 1 << 10;

/// Sum and sum of squares of each feature of one output, in `f64` and in the order of images, so that neither the number of
/// threads nor the size of batches changes a bit.
#[derive(Clone, Debug, Default)]
pub struct FeatureSums {
    images: u64,
    /// The output's shape for one image; none before the first one.
    map: Option<Map>,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl FeatureSums {
    /// Adds those of `images` that `features` are of, one after the other; `images` counts as
    /// [`Encoder::visit`](super::Encoder::visit) does.
    ///
    /// # Panics
    /// If the features are not of the shape of those before.
    pub fn add(&mut self, features: &Features<'_>, images: Range<usize>) {
        let map = Map { batch: 1, ..features.map };
        assert!(self.map.is_none_or(|known| known == map), "features of one output");
        let len = map.len();
        let (from, to) = (images.start.max(features.first), images.end.min(features.first + features.map.batch));
        if from >= to {
            return;
        }
        let rows = &features.values[(from - features.first) * len..(to - features.first) * len];
        self.map = Some(map);
        self.images += (to - from) as u64;
        self.sums.resize(len, 0.0);
        self.squares.resize(len, 0.0);
        let chunks = self.sums.par_chunks_mut(CHUNK).zip(self.squares.par_chunks_mut(CHUNK)).enumerate();
        chunks.for_each(|(chunk, (sums, squares))| {
            let add = AddRows { rows, first: chunk * CHUNK, len, sums, squares };
            // SAFETY: the instruction set is one of this machine's.
            unsafe { Isa::detect().run(add) };
        });
    }

    /// Number of images.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Sum and sum of squares of each feature, in the order of channels, rows and columns.
    pub fn pairs(&self) -> Vec<(f64, f64)> {
        let Some(map) = self.map else { return Vec::new() };
        let at = |channel: usize, pixel: usize| pixel * map.stride + channel;
        let places = (0..map.channels).flat_map(|channel| (0..map.pixels()).map(move |pixel| at(channel, pixel)));
        places.map(|place| (self.sums[place], self.squares[place])).collect()
    }
}

/// Adds some features of all rows.
struct AddRows<'a> {
    rows: &'a [f32],
    /// The first feature.
    first: usize,
    /// Floats from one row to the next.
    len: usize,
    sums: &'a mut [f64],
    squares: &'a mut [f64],
}

impl Kernel for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        for row in self.rows.chunks_exact(self.len) {
            let features = &row[self.first..self.first + self.sums.len()];
            for ((sum, square), &x) in self.sums.iter_mut().zip(self.squares.iter_mut()).zip(features) {
                let x = f64::from(x);
                *sum += x;
                *square += x * x;
            }
        }
    }
}
