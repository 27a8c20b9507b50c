//! The generator's forward and backward pass on channels-last maps, for one batch size.
//!
//! ```text
//! x0 = first(z);   block:  a = conv1(up(relu(norm(x)))),  x' = conv2(relu(norm(a))) + up(skip(x));   u = last(relu(norm(x)))
//! ```
//!
//! What is stored is x and a of every block, the norms' two numbers a channel, and u. Norm, ReLU, doubling and the residual
//! sum happen while a convolution reads or writes.

use prism_core::arch::Architecture;
use prism_core::simd::Isa;

use super::Work;
use super::first::FirstLayer;
use crate::cpu::layer::Layer;
use crate::cpu::map::Map;
use crate::cpu::map_norm::{Affine, Sums, measure_gradient, measure_image, normalise_gradient};
use crate::cpu::map_pool::sum_pool;
use crate::cpu::packed::{Packed, WeightShape, unpack_gradient};
use crate::cpu::scheme::{Doubled, Pointwise, Scheme, Winograd};
use crate::cpu::share::Disjoint;
use crate::cpu::source::{AddDoubled, NormRelu, Plain, Sink, Store};
use crate::ops::composed::NORM_EPSILON;

/// Layers of a block, in the order of the architecture's weights.
const PER_BLOCK: usize = 3;

/// The shapes of a generator for one batch size.
#[derive(Clone, Debug)]
pub struct Net {
    isa: Isa,
    first: FirstLayer,
    blocks: Vec<Block>,
    last: Layer<Winograd>,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    conv1: Layer<Doubled>,
    conv2: Layer<Winograd>,
    skip: Layer<Pointwise>,
}

/// The memory of one pass, kept from step to step.
#[derive(Default)]
pub struct Memory {
    /// One entry a layer; the first layer's lies in `first`.
    packed: Vec<Packed>,
    first: Vec<f32>,
    /// Input of each block, and of the last norm.
    x: Vec<Vec<f32>>,
    /// Output of each block's first convolution.
    a: Vec<Vec<f32>>,
    /// Two norms a block, and the last.
    norms: Vec<Affine>,
    skip: Vec<f32>,
    u: Vec<f32>,
    sums: Sums,
    pieces: Vec<f32>,
    weight: Vec<f32>,
    /// Gradients of x', a, x through the skip, x through the block.
    gradients: [Vec<f32>; 4],
}

impl Net {
    /// The generator of `arch`, `batch` images at a time.
    pub fn new(isa: Isa, arch: &Architecture, batch: usize) -> Self {
        let layers = arch.layers();
        let (first, rest) = (&layers[0], &layers[1..layers.len() - 1]);
        let first = FirstLayer::new(isa, batch, arch.inputs(), first.outputs);
        let mut x = first.output;
        let block = |convs: &[prism_core::arch::Layer]| {
            let conv1 = Layer::new(isa, x, convs[0].outputs);
            let block = Block {
                conv1,
                conv2: Layer::new(isa, conv1.output, convs[1].outputs),
                skip: Layer::new(isa, x, convs[2].outputs),
            };
            x = block.conv2.output;
            block
        };
        let blocks = rest.chunks_exact(PER_BLOCK).map(block).collect();
        Net { isa, first, blocks, last: Layer::new(isa, x, arch.channels) }
    }

    /// The shape of `u`, the image before its tanh.
    pub fn output(&self) -> Map {
        self.last.output
    }

    /// Its arithmetic, forward and backward.
    pub fn work(&self) -> Work {
        let blocks = self.blocks.iter().map(|block| {
            let Block { conv1, conv2, skip } = block;
            Work::of_layer(conv1, true) + Work::of_layer(conv2, true) + Work::of_layer(skip, true)
        });
        blocks.fold(self.first.work() + Work::of_layer(&self.last, true), |sum, block| sum + block)
    }

    /// The memory that passes need.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        memory.packed.resize(2 + PER_BLOCK * self.blocks.len(), Packed::default());
        memory.x.push(vec![0.0; self.first.output.len()]);
        for block in &self.blocks {
            memory.a.push(vec![0.0; block.conv1.output.len()]);
            memory.x.push(vec![0.0; block.conv2.output.len()]);
        }
        memory.norms.resize(2 * self.blocks.len() + 1, Affine::default());
        memory.u = vec![0.0; self.last.output.len()];
        memory
    }

    /// The shape of layer `index`'s weight `[O, I, taps]`; the first layer's is `[I, O, taps]`.
    fn shape(&self, index: usize) -> WeightShape {
        fn of<C: Scheme>(layer: Layer<C>) -> WeightShape {
            let (inputs, outputs) = (layer.input.channels, layer.output.channels);
            WeightShape { outputs, inputs, taps: C::TAPS * C::TAPS }
        }
        match (index, (index.max(1) - 1) % PER_BLOCK) {
            (0, _) => self.first.shape(),
            (index, _) if index > PER_BLOCK * self.blocks.len() => of(self.last),
            (index, place) => {
                let block = self.blocks[(index - 1) / PER_BLOCK];
                [of(block.conv1), of(block.conv2), of(block.skip)][place]
            }
        }
    }

    /// Makes every layer's weight ready; `fill(index, weight)` writes it, in the architecture's order.
    pub fn load_weights<E>(
        &self,
        memory: &mut Memory,
        mut fill: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let last = memory.packed.len() - 1;
        for index in 0..=last {
            let shape = self.shape(index);
            memory.weight.resize(shape.len(), 0.0);
            fill(index, &mut memory.weight)?;
            let (weight, packed) = (&memory.weight, &mut memory.packed[index]);
            match (index, (index.max(1) - 1) % PER_BLOCK) {
                (0, _) => self.first.pack(weight, &mut memory.first),
                (index, 0) if index < last => packed.pack::<Doubled>(self.isa, weight, shape),
                (index, 2) if index < last => packed.pack::<Pointwise>(self.isa, weight, shape),
                _ => packed.pack::<Winograd>(self.isa, weight, shape),
            }
        }
        Ok(())
    }

    /// Computes `u` for the inputs `z [batch, inputs]` and returns it.
    pub fn forward<'m>(&self, memory: &'m mut Memory, z: &[f32]) -> &'m [f32] {
        self.first.forward(z, &memory.first, &mut memory.x[0]);
        memory.sums.reset(self.first.output);
        let sums = memory.sums.share();
        for (image, pixels) in memory.x[0].chunks_exact(self.first.output.image_len()).enumerate() {
            // SAFETY: one image after another.
            unsafe { measure_image(self.isa, pixels, self.first.output, image, sums) };
        }
        memory.norms[0].measure(&memory.sums, self.first.output, NORM_EPSILON);
        for (index, block) in self.blocks.iter().enumerate() {
            self.forward_block(memory, index, block);
        }
        let (x, norm) = (&memory.x[self.blocks.len()], &memory.norms[2 * self.blocks.len()]);
        let packed = &memory.packed[memory.packed.len() - 1];
        let sink = Store { values: Disjoint::new(&mut memory.u), map: self.last.output };
        self.last.forward(normed(x, self.last.input, norm), packed, sink, |_| ());
        &memory.u
    }

    fn forward_block(&self, memory: &mut Memory, index: usize, block: &Block) {
        let Memory { packed, x, a, norms, skip, sums, .. } = memory;
        let (x, next) = x[index..].split_at_mut(1);
        let (x, next, a) = (&x[0], &mut next[0], &mut a[index]);
        let packed = &packed[1 + PER_BLOCK * index..];

        let source = normed(x, block.conv1.input, &norms[2 * index]);
        norms[2 * index + 1] = measured(block.conv1, source, &packed[0], a, sums, |store| store);

        skip.resize(block.skip.output.len(), 0.0);
        let sink = Store { values: Disjoint::new(skip), map: block.skip.output };
        block.skip.forward(Plain { values: x, map: block.skip.input }, &packed[2], sink, |_| ());

        let source = normed(a, block.conv2.input, &norms[2 * index + 1]);
        let residual = |store| AddDoubled { store, other: skip };
        norms[2 * index + 2] = measured(block.conv2, source, &packed[1], next, sums, residual);
    }

    /// Given the gradient of `u`, calls `each(index, gradient)` with every layer's weight gradient, last layer first.
    pub fn backward<E>(
        &self,
        memory: &mut Memory,
        z: &[f32],
        du: &[f32],
        mut each: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let blocks = self.blocks.len();
        let Memory { packed, x, a, norms, skip, sums, pieces, weight, gradients, .. } = memory;
        let [dx, da, through_skip, through_block] = gradients;

        let gradient = Plain { values: du, map: self.last.output };
        let last = packed.len() - 1;
        let input = (x[blocks].as_slice(), &norms[2 * blocks]);
        normed_backward(self.last, input, gradient, &packed[last], dx, pieces, sums);
        self.unpack::<Winograd, E>(last, pieces, weight, &mut each)?;
        normalise_gradient(self.isa, dx, input, self.last.input, sums, None);

        for (index, block) in self.blocks.iter().enumerate().rev() {
            let first = 1 + PER_BLOCK * index;
            let gradient = Plain { values: dx, map: block.conv2.output };
            let input = (a[index].as_slice(), &norms[2 * index + 1]);
            normed_backward(block.conv2, input, gradient, &packed[first + 1], da, pieces, sums);
            self.unpack::<Winograd, E>(first + 1, pieces, weight, &mut each)?;
            normalise_gradient(self.isa, da, input, block.conv2.input, sums, None);

            skip.resize(block.skip.output.len(), 0.0);
            sum_pool(self.isa, dx, block.conv2.output, skip);
            through_skip.resize(block.skip.input.len(), 0.0);
            pieces.resize(block.skip.pieces_len(), 0.0);
            let plain = Plain { values: &x[index], map: block.skip.input };
            let gradient = Plain { values: skip, map: block.skip.output };
            let packed_skip = &packed[first + 2];
            block.skip.backward((plain, gradient), packed_skip, through_skip, Some(pieces), |_, _| ());
            self.unpack::<Pointwise, E>(first + 2, pieces, weight, &mut each)?;

            let gradient = Plain { values: da, map: block.conv1.output };
            let input = (x[index].as_slice(), &norms[2 * index]);
            normed_backward(block.conv1, input, gradient, &packed[first], through_block, pieces, sums);
            self.unpack::<Doubled, E>(first, pieces, weight, &mut each)?;
            normalise_gradient(self.isa, through_block, input, block.conv1.input, sums, Some(through_skip));
            std::mem::swap(dx, through_block);
        }
        weight.resize(self.first.shape().len(), 0.0);
        self.first.weight_gradient(z, dx, pieces, weight);
        each(0, weight)
    }

    fn unpack<C: Scheme, E>(
        &self,
        index: usize,
        pieces: &[f32],
        weight: &mut Vec<f32>,
        each: &mut impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let shape = self.shape(index);
        weight.resize(shape.len(), 0.0);
        unpack_gradient::<C>(self.isa, pieces, shape, weight);
        each(index, weight)
    }
}

fn normed<'a>(values: &'a [f32], map: Map, norm: &'a Affine) -> NormRelu<'a> {
    NormRelu { x: Plain { values, map }, scale: &norm.scale, shift: &norm.shift }
}

/// Convolves into `y` by way of `sink`, and measures the batch norm of what was written.
fn measured<'a, C: Scheme, Y: Sink>(
    layer: Layer<C>,
    x: NormRelu<'_>,
    packed: &Packed,
    y: &'a mut [f32],
    sums: &mut Sums,
    sink: impl FnOnce(Store<'a>) -> Y,
) -> Affine {
    let (map, values) = (layer.output, Disjoint::new(y));
    sums.reset(map);
    let shared = sums.share();
    layer.forward(x, packed, sink(Store { values, map }), |image| {
        // SAFETY: the layer has finished this image, and calls once for each.
        unsafe {
            let pixels = values.part(image * map.image_len(), map.image_len());
            measure_image(layer.isa, pixels, map, image, shared);
        }
    });
    let mut norm = Affine::default();
    norm.measure(sums, map, NORM_EPSILON);
    norm
}

/// The gradient with respect to the output of the norm and ReLU before `layer`, and the sums that the norm's own needs.
fn normed_backward<C: Scheme>(
    layer: Layer<C>,
    (x, norm): (&[f32], &Affine),
    gradient: Plain<'_>,
    packed: &Packed,
    dx: &mut Vec<f32>,
    pieces: &mut Vec<f32>,
    sums: &mut Sums,
) {
    let map = layer.input;
    dx.resize(map.len(), 0.0);
    pieces.resize(layer.pieces_len(), 0.0);
    sums.reset(map);
    let shared = sums.share();
    layer.backward((normed(x, map, norm), gradient), packed, dx, Some(pieces), |image, gradient| {
        let pixels = &x[image * map.image_len()..][..map.image_len()];
        // SAFETY: the layer calls once for each image.
        unsafe { measure_gradient(layer.isa, gradient, (pixels, norm), map, image, shared) };
    });
}
