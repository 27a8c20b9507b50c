//! How much arithmetic a step is, counted from shapes.
//!
//! A multiply-add counts as two operations. Each layer has up to three passes: outputs, gradient of the inputs, gradient of
//! the weights. Only products count: sketches, transforms, norms, activations, draws and the optimiser do not.

use prism_core::arch::Architecture;
use prism_core::simd::Isa;

use super::{encoder, generator};
use crate::cpu::layer::Layer;
use crate::cpu::scheme::Scheme;
use crate::encoder::Layout;
use crate::encoder::layout::INPUTS;

/// Floating-point operations of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// As convolutions are defined, at the size of their outputs.
    pub direct: u64,
    /// As [`crate::cpu::scheme`] computes them on this machine, with the zeros that fill registers and tiles.
    pub products: u64,
}

impl std::ops::Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Work { direct: self.direct + other.direct, products: self.products + other.products }
    }
}

impl Work {
    /// The work of a step of `batch` images.
    pub fn of_step(arch: &Architecture, layout: &Layout, batch: usize) -> Self {
        let isa = Isa::detect();
        let generator = generator::Net::new(isa, arch, batch);
        let output = generator.output();
        let images = output.with((output.height, output.width), INPUTS, isa.lanes());
        generator.work() + encoder::work(isa, layout.steps(), images)
    }

    /// Of one layer; `weights` says whether they are trained.
    pub(super) fn of_layer<C: Scheme>(layer: &Layer<C>, weights: bool) -> Self {
        let (x, y) = (layer.input, layer.output);
        let taps = C::TAPS * C::TAPS;
        let direct = 2 * y.batch * y.pixels() * taps * x.channels * y.channels;
        let tiles = 2 * y.batch * layer.tiles_per_image() * C::IN * C::IN;
        let (forward, backward) = (tiles * x.channels * y.stride, tiles * y.channels * x.stride);
        let trained = usize::from(weights);
        Work { direct: (direct * (2 + trained)) as u64, products: (forward * (1 + trained) + backward) as u64 }
    }

    /// Of a matrix product `[rows, shared] x [shared, columns]` whose columns are stored `stride` apart, and of the gradient
    /// of its right-hand side.
    pub(super) fn of_product(rows: usize, shared: usize, columns: usize, stride: usize) -> Self {
        let (direct, products) = (4 * rows * shared * columns, 4 * rows * shared * stride);
        Work { direct: direct as u64, products: products as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_the_sum_of_its_convolutions() {
        let arch = Architecture { image_size: 8, channels: 3, ngf: 16, latent: 10, classes: 0, label_scale: 1.0 };
        let work = Work::of_step(&arch, &"16,M,32".parse().unwrap(), 2);
        // Per image: first layer; conv1 at 8x8, conv2, skip at 4x4, last; then the encoder at 8x8 and 4x4.
        let generator = 2 * 10 * 32 * 16 + 3 * (64 * 9 * (32 * 16 + 16 * 16 + 16 * 3) + 16 * 32 * 16);
        let encoder = 2 * (64 * 9 * 3 * 16 + 16 * 9 * 16 * 32);
        assert_eq!(work.direct, 2 * 2 * (generator + encoder));
        assert!(work.products > 0);
    }
}
