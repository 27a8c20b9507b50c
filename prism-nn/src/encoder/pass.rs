//! An encoder's forward pass over any number of images, in memory that does not grow with them.
//!
//! Layers between two pools work on maps of one size. They take as many images at a time as fill [`MAP_FLOATS`]: few where maps
//! are large, so that these stay in the cache, and many where they are small, so that the weights, which are large there, are
//! read once for all of them:
//!
//! ```text
//! block 0 (32x32)  a b  c d  e f  g h        each block asks the one before it for its inputs, some at a time
//! block 1 (16x16)  a b c d   e f g h
//! block 2 (8x8)    a b c d e f g h
//! ```
//!
//! An image's features are computed from it alone, so they are the same bits in any company and at any number of threads.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::layout::INPUTS;
use super::packed::{PackedEncoder, Stage};
use crate::cpu::map::Map;
use crate::cpu::sketch::average;

/// Floats of the largest map of a block, over all images that pass at once: half of a common last-level cache with its neighbour.
const MAP_FLOATS: usize = 1 << 21;

/// One output of an encoder for some of the images that were given to it.
#[derive(Clone, Copy, Debug)]
pub struct Features<'a> {
    /// The output's number, in the order of [`Encoder::feature_shapes`](super::Encoder::feature_shapes).
    pub output: usize,
    /// The number of the first of these images. Every output comes image after image.
    pub first: usize,
    /// Batch, height, width and channels. Channels lie innermost, and those that only fill a register are 0.
    pub map: Map,
    /// The features.
    pub values: &'a [f32],
}

/// Images as `[batch, 1 or 3 channels, height, width]` floats in [-1, 1].
#[derive(Clone, Copy, Debug)]
pub(super) struct Images<'a> {
    pub pixels: &'a [f32],
    pub batch: usize,
    pub channels: usize,
    pub side: (usize, usize),
}

/// The memory of one pass, kept for the next.
#[derive(Debug, Default)]
struct Memory {
    /// Inputs of each block.
    inputs: Vec<Vec<f32>>,
    /// Inputs and outputs of a block's convolutions, in turn.
    maps: [Vec<f32>; 2],
    /// Means over the cells of one grid, over those of the next, and the sketch.
    sketches: [Vec<f32>; 3],
}

/// Memory of passes that have ended: never more than passes ran at the same time.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Memory>>);

impl Spare {
    fn take(&self) -> Memory {
        self.lock().pop().unwrap_or_default()
    }

    fn give_back(&self, memory: Memory) {
        self.lock().push(memory);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Memory>> {
        // Memory is in the list only while nobody uses it, so a panic elsewhere cannot have left it half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `each` with every output for all of `images`, some images at a time, in the order of images for each output.
///
/// # Errors
/// The first that `each` returns.
pub(super) fn visit<E>(
    encoder: &PackedEncoder,
    spare: &Spare,
    images: Images<'_>,
    each: &mut impl FnMut(Features<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut memory = spare.take();
    let mut pass = Pass { encoder, images, blocks: blocks(encoder, images), memory: &mut memory, each };
    pass.memory.inputs.resize_with(pass.blocks.len().max(pass.memory.inputs.len()), Vec::new);
    let done = pass.run();
    spare.give_back(memory);
    done
}

/// Layers that work on maps of one size: convolutions, and the pool after them, if any.
struct Block {
    /// For one image each.
    stages: Vec<Stage>,
    /// Images that pass at once.
    images: usize,
}

fn blocks(encoder: &PackedEncoder, images: Images<'_>) -> Vec<Block> {
    let mut stages = encoder.stages(encoder.input(1, images.side));
    // Nobody reads what is pooled after the last convolution.
    while let Some(Stage::Pool(_)) = stages.last() {
        stages.pop();
    }
    let ends_block = |stage: &Stage| matches!(stage, Stage::Pool(_));
    let block = |stages: &[Stage]| {
        let largest = stages.iter().map(|stage| stage.input().len().max(stage.output().len())).max();
        // Every thread has an image, whatever its size.
        let images = (MAP_FLOATS / largest.unwrap_or(1).max(1)).max(rayon::current_num_threads());
        Block { stages: stages.to_vec(), images }
    };
    stages.split_inclusive(ends_block).map(block).collect()
}

struct Pass<'a, F> {
    encoder: &'a PackedEncoder,
    images: Images<'a>,
    blocks: Vec<Block>,
    memory: &'a mut Memory,
    each: &'a mut F,
}

impl<E, F: FnMut(Features<'_>) -> Result<(), E>> Pass<'_, F> {
    fn run(&mut self) -> Result<(), E> {
        let Some(last) = self.blocks.len().checked_sub(1) else { return Ok(()) };
        let batch = self.images.batch;
        for first in (0..batch).step_by(self.blocks[last].images) {
            let count = self.blocks[last].images.min(batch - first);
            self.fill(last, first, count)?;
            self.block(last, first, count, &mut [])?;
        }
        Ok(())
    }

    /// Computes the inputs of block `number` for `count` images from number `first` on.
    fn fill(&mut self, number: usize, first: usize, count: usize) -> Result<(), E> {
        let input = self.blocks[number].stages[0].input();
        // The memory is not used while the blocks before are at work.
        let mut inputs = std::mem::take(&mut self.memory.inputs[number]);
        inputs.resize(count * input.len(), 0.0);
        let filled = match number.checked_sub(1) {
            None => {
                channels_last(self.encoder, self.images, first, &mut inputs);
                Ok(())
            }
            Some(before) => {
                let some = self.blocks[before].images;
                inputs.chunks_mut(some * input.len()).enumerate().try_for_each(|(chunk, out)| {
                    let (first, count) = (first + chunk * some, out.len() / input.len());
                    self.fill(before, first, count)?;
                    self.block(before, first, count, out)
                })
            }
        };
        self.memory.inputs[number] = inputs;
        filled
    }

    /// Runs block `number` on its inputs, those of `count` images from number `first` on; its pool writes to `pooled`.
    fn block(&mut self, number: usize, first: usize, count: usize, pooled: &mut [f32]) -> Result<(), E> {
        let Memory { inputs, maps, sketches } = &mut *self.memory;
        let [from, to] = maps;
        let mut x = inputs[number].as_slice();
        for stage in &self.blocks[number].stages {
            let stage = stage.with_batch(self.encoder.isa, count);
            let Stage::Conv(conv, number) = stage else {
                self.encoder.run(&stage, x, pooled);
                return Ok(());
            };
            to.resize(conv.output().len(), 0.0);
            self.encoder.run(&stage, x, to);
            std::mem::swap(from, to);
            x = from;
            let features = Features { output: number, first, map: conv.output(), values: x };
            (self.each)(features)?;
            sketch(self.encoder, features, sketches, &mut *self.each)?;
        }
        Ok(())
    }
}

/// Calls `each` with every sketch of a convolution's output, finest grid first: a coarser one's means are those of means.
fn sketch<E>(
    encoder: &PackedEncoder,
    features: Features<'_>,
    [finer, cells, values]: &mut [Vec<f32>; 3],
    each: &mut impl FnMut(Features<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut map = features.map;
    for (grid, sketch) in encoder.sketches.iter().enumerate().rev() {
        let shape = sketch.shape(features.map);
        let x = if map == features.map { features.values } else { finer.as_slice() };
        average(x, map, shape.height, cells);
        sketch.mixes[features.output].forward(cells, values);
        let output = features.output + (1 + grid) * encoder.convs();
        each(Features { output, map: shape, values, ..features })?;
        map = shape;
        std::mem::swap(finer, cells);
    }
    Ok(())
}

/// Writes the images from number `first` on as maps, normalised, grey ones as three equal colours.
fn channels_last(encoder: &PackedEncoder, images: Images<'_>, first: usize, out: &mut [f32]) {
    let map = encoder.input(1, images.side);
    let pixels = map.pixels();
    let sources = images.pixels[first * images.channels * pixels..].par_chunks_exact(images.channels * pixels);
    out.par_chunks_exact_mut(map.image_len()).zip(sources).for_each(|(out, source)| {
        for (pixel, out) in out.chunks_exact_mut(map.stride).enumerate() {
            out[INPUTS..].fill(0.0);
            for (colour, out) in out.iter_mut().enumerate().take(INPUTS) {
                let plane = colour.min(images.channels - 1);
                *out = encoder.scale[colour] * source[plane * pixels + pixel] + encoder.shift[colour];
            }
        }
    });
}
