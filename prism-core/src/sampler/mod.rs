//! Draws images from a finished model on the CPU.
//!
//! ```text
//! inputs [n, latent + classes]  ->  Sampler::images  ->  [n, channels, size, size] in [-1, 1]
//! ```
//!
//! [`Sampler`] works in `f32` and shares the images among threads; an image's bits do not depend on the number of threads,
//! on the other images, or on the machine, because each is computed alone, in a fixed order, without fused
//! multiplications. [`mod@reference`] is the same generator in plain `f64` loops.

mod maps;
pub(crate) mod model;
pub mod pixel;
pub mod reference;
mod taps;

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use maps::Maps;
pub use model::{FoldedNorm, Model};
use taps::TapLayer;

use crate::arch::Architecture;

/// A generator with its weights laid out for speed. Build it once, then draw as often as needed.
pub struct Sampler {
    arch: Architecture,
    /// Weights of `first` in units of its sigma, `[inputs, outputs * 16]`.
    first: Vec<i8>,
    first_sigma: f32,
    /// Every other layer, in the order of the architecture.
    layers: Vec<TapLayer>,
    norms: Vec<FoldedNorm>,
}

/// One thread's feature maps, kept from image to image.
#[derive(Default)]
struct Workspace {
    x: Maps,
    wide: Maps,
    inner: Maps,
    skip: Maps,
    sums: Vec<f32>,
}

impl Sampler {
    /// Lays out the weights of `model`: about 4 bytes for each kept weight.
    pub fn new(model: &Model<'_>) -> Self {
        let arch = model.arch().clone();
        let layers = arch.layers();
        let block_layers = (0..arch.blocks()).flat_map(|block| {
            // conv1 and conv2 run at the block's doubled side, the skip before doubling.
            let side = 4 << block;
            [2 * side, 2 * side, side]
        });
        let sides = block_layers.chain([arch.image_size]);
        let laid_out = layers.iter().enumerate().skip(1).zip(sides);
        Sampler {
            first: model.weights(0, &layers[0]),
            first_sigma: layers[0].sigma(),
            layers: laid_out.map(|((i, layer), side)| TapLayer::new(layer, &model.weights(i, layer), side)).collect(),
            norms: model.norms().to_vec(),
            arch,
        }
    }

    /// The generator's shape.
    pub fn arch(&self) -> &Architecture {
        &self.arch
    }

    /// The images of `inputs`, as `[n, channels, size, size]` in [-1, 1], drawn by up to `threads` threads.
    ///
    /// # Panics
    /// If the length of `inputs` is no multiple of `arch.inputs()`.
    pub fn images(&self, inputs: &[f32], threads: NonZeroUsize) -> Vec<f32> {
        let (width, pixels) = (self.arch.inputs(), self.arch.pixels());
        assert_eq!(inputs.len() % width, 0, "inputs are rows of {width} numbers");
        let mut images = vec![0.0; inputs.len() / width * pixels];
        let work = Mutex::new(inputs.chunks_exact(width).zip(images.chunks_exact_mut(pixels)));
        let helpers = threads.get().min(inputs.len() / width).saturating_sub(1);
        std::thread::scope(|scope| {
            for _ in 0..helpers {
                // A thread that the system refuses is one helper less; the calling thread does the work all the same.
                let _ = std::thread::Builder::new().spawn_scoped(scope, || self.draw_all(&work));
            }
            self.draw_all(&work);
        });
        images
    }

    fn draw_all<'a>(&self, work: &Mutex<impl Iterator<Item = (&'a [f32], &'a mut [f32])>>) {
        let mut space = Workspace::default();
        let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((input, image)) = next() {
            self.draw(input, image, &mut space);
        }
    }

    fn draw(&self, input: &[f32], image: &mut [f32], space: &mut Workspace) {
        let Workspace { x, wide, inner, skip, sums } = space;
        self.first(input, x, sums);
        let (blocks, last) = self.layers.split_at(self.layers.len() - 1);
        let (norms, last_norm) = self.norms.split_at(self.norms.len() - 1);
        for (layers, norms) in blocks.chunks_exact(3).zip(norms.chunks_exact(2)) {
            wide.upsampled_relu_norm(x, &norms[0]);
            layers[0].run(wide, inner);
            inner.relu_norm(&norms[1]);
            layers[2].run(x, skip);
            layers[1].run(inner, x);
            x.add_upsampled(skip);
        }
        x.relu_norm(&last_norm[0]);
        last[0].run(x, wide);
        for (target, row) in image.chunks_exact_mut(self.arch.image_size).zip(wide.rows()) {
            target.iter_mut().zip(row).for_each(|(y, x)| *y = libm::tanhf(*x));
        }
    }

    /// The transposed convolution from 1x1 to 4x4: a product of the input with `[inputs, outputs * 16]`.
    fn first(&self, input: &[f32], x: &mut Maps, sums: &mut Vec<f32>) {
        let outputs = self.first.len() / input.len();
        sums.clear();
        sums.resize(outputs, 0.0);
        for (z, weights) in input.iter().zip(self.first.chunks_exact(outputs)) {
            sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum += f32::from(*w) * z);
        }
        x.reset(outputs / 16, 4);
        for (row, sums) in x.rows_mut().zip(sums.chunks_exact(4)) {
            row.iter_mut().zip(sums).for_each(|(x, sum)| *x = self.first_sigma * sum);
        }
    }
}

#[cfg(test)]
mod tests;
