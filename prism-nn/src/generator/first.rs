//! The generator's first layer on channels-last maps: a matrix product for each of the 4x4 pixels.
//!
//! ```text
//! y[b, p, o] = sum over i of z[b, i] * w[i, o, p]
//! ```

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use crate::cpu::gemm::{Product, panel_width, transposed_product};
use crate::cpu::map::Map;
use crate::cpu::packed::WeightShape;
use crate::cpu::share::Disjoint;
use crate::cpu::work::Work;

/// Side of the first map.
const SIDE: usize = 4;
const PIXELS: usize = SIDE * SIDE;

/// The shapes of the first layer.
#[derive(Clone, Copy, Debug)]
pub struct FirstLayer {
    isa: Isa,
    inputs: usize,
    /// What comes out.
    pub output: Map,
}

impl FirstLayer {
    /// From `inputs` numbers to a 4x4 map of `outputs` channels.
    pub fn new(isa: Isa, batch: usize, inputs: usize, outputs: usize) -> Self {
        FirstLayer { isa, inputs, output: Map::new(batch, (SIDE, SIDE), outputs, isa.lanes()) }
    }

    /// Its arithmetic: outputs and the gradient of the weight.
    pub fn work(&self) -> Work {
        Work::of_product(self.output.batch * PIXELS, self.inputs, self.output.channels, self.output.stride)
    }

    /// Of the weight `[I, O, 4, 4]`.
    pub fn shape(&self) -> WeightShape {
        WeightShape { outputs: self.output.channels, inputs: self.inputs, taps: PIXELS }
    }

    /// Floats of one pixel's matrix.
    fn plane(&self) -> usize {
        self.inputs * self.output.stride
    }

    /// Packs `weight` as one matrix `[I, O]` a pixel, in panels.
    pub fn pack(&self, weight: &[f32], packed: &mut Vec<f32>) {
        packed.resize(PIXELS * self.plane(), 0.0);
        let (lanes, stride, channels) = (self.isa.lanes(), self.output.stride, self.output.channels);
        packed.par_chunks_exact_mut(self.plane()).enumerate().for_each(|(pixel, matrix)| {
            for output in 0..channels {
                let panel = output / (2 * lanes) * (2 * lanes);
                let width = panel_width(lanes, panel, stride);
                let start = self.inputs * panel + output - panel;
                for input in 0..self.inputs {
                    matrix[start + input * width] = weight[(input * channels + output) * PIXELS + pixel];
                }
            }
        });
    }

    /// Writes the map of `z [batch, inputs]` to `y`.
    ///
    /// # Panics
    /// If the lengths of the slices disagree with the shapes.
    pub fn forward(&self, z: &[f32], packed: &[f32], y: &mut [f32]) {
        assert_eq!(z.len(), self.output.batch * self.inputs, "inputs for every image");
        assert!(y.len() == self.output.len() && packed.len() == PIXELS * self.plane(), "whole maps and weights");
        let y = Disjoint::new(y);
        (0..PIXELS).into_par_iter().for_each(|pixel| {
            let product = Product {
                rows: self.output.batch,
                shared: self.inputs,
                columns: self.output.stride,
                a: z.as_ptr(),
                a_row: self.inputs,
                b: packed[pixel * self.plane()..].as_ptr(),
                c: y.at(pixel * self.output.stride),
                c_row: self.output.image_len(),
                accumulate: false,
            };
            // SAFETY: `isa` is one of this machine's; lengths were checked, and every task writes its own pixel of each image.
            unsafe { self.isa.run(product) };
        });
    }

    /// Writes the gradient of the weight to `out`, given that of the map; `sums` is working memory.
    ///
    /// # Panics
    /// If the lengths of the slices disagree with the shapes.
    pub fn weight_gradient(&self, z: &[f32], dy: &[f32], sums: &mut Vec<f32>, out: &mut [f32]) {
        assert_eq!(z.len(), self.output.batch * self.inputs, "inputs for every image");
        assert!(dy.len() == self.output.len() && out.len() == self.shape().len(), "whole maps and weights");
        sums.resize(PIXELS * self.plane(), 0.0);
        sums.par_chunks_exact_mut(self.plane()).enumerate().for_each(|(pixel, sums)| {
            // SAFETY: `isa` is one of this machine's.
            unsafe { self.isa.run(Gradient { layer: *self, z, dy, pixel, sums }) };
        });
        let channels = self.output.channels;
        out.par_chunks_exact_mut(channels * PIXELS).enumerate().for_each(|(input, row)| {
            for (output, taps) in row.chunks_exact_mut(PIXELS).enumerate() {
                let at = input * self.output.stride + output;
                for (pixel, w) in taps.iter_mut().enumerate() {
                    *w = sums[pixel * self.plane() + at];
                }
            }
        });
    }
}

struct Gradient<'a> {
    layer: FirstLayer,
    z: &'a [f32],
    dy: &'a [f32],
    pixel: usize,
    sums: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let FirstLayer { inputs, output, .. } = self.layer;
        // SAFETY: below `Isa::run` of `S`; lengths were checked.
        unsafe {
            transposed_product::<S>(
                (inputs, output.batch, output.stride),
                (self.z.as_ptr(), inputs),
                (self.dy.as_ptr().add(self.pixel * output.stride), output.image_len()),
                (self.sums.as_mut_ptr(), false),
            );
        }
    }
}
