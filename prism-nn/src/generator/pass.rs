//! The generator's forward and backward pass on channels-last maps, for one batch size: what a training step runs on the CPU, and
//! the forward pass of a finished generator.
//!
//! ```text
//! x0 = first(z);   block:  a = conv1(up(relu(norm(x)))),  x' = conv2(relu(norm(a))) + up(skip(x));   u = last(relu(norm(x)))
//! ```
//!
//! What is stored is x and a of every block, the norms' two numbers a channel, and u. Norm, ReLU, doubling and the residual
//! sum happen while a convolution reads or writes.

use prism_core::arch::Architecture;
use prism_core::simd::Isa;

use super::first::FirstLayer;
use crate::cpu::conv::ConvLayer;
use crate::cpu::map::Map;
use crate::cpu::map_norm::{Affine, ChannelSums, measure_gradient, measure_image, normalise_gradient};
use crate::cpu::map_pool::sum_pool;
use crate::cpu::packed::{Packed, WeightShape, unpack_gradient};
use crate::cpu::scheme::{Doubled, Pointwise, Scheme, Winograd};
use crate::cpu::share::Disjoint;
use crate::cpu::source::{AddDoubled, NormRelu, Plain, Sink, Store};
use crate::cpu::work::Work;
use crate::ops::composed::NORM_EPSILON;

/// Layers of a block, in the order of the architecture's weights.
const PER_BLOCK: usize = 3;

/// The shapes of a generator for one batch size.
#[derive(Clone, Debug)]
pub struct Net {
    isa: Isa,
    first: FirstLayer,
    blocks: Vec<ResidualBlock>,
    last: ConvLayer<Winograd>,
}

#[derive(Clone, Copy, Debug)]
struct ResidualBlock {
    conv1: ConvLayer<Doubled>,
    conv2: ConvLayer<Winograd>,
    skip: ConvLayer<Pointwise>,
}

/// A generator's weights, packed.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// One entry a layer; the first layer's lies in `first`.
    packed: Vec<Packed>,
    first: Vec<f32>,
    /// One layer's weight before it is packed.
    plain: Vec<f32>,
}

/// The memory of one pass, kept from step to step.
#[derive(Default)]
pub struct Memory {
    /// Input of each block, and of the last norm.
    x: Vec<Vec<f32>>,
    /// Output of each block's first convolution.
    a: Vec<Vec<f32>>,
    /// Two norms a block, and the last.
    norms: Vec<Affine>,
    skip: Vec<f32>,
    u: Vec<f32>,
    sums: ChannelSums,
    pieces: Vec<f32>,
    /// Gradient of one layer's weight.
    dw: Vec<f32>,
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
            let conv1 = ConvLayer::new(isa, x, convs[0].outputs);
            let block = ResidualBlock {
                conv1,
                conv2: ConvLayer::new(isa, conv1.output, convs[1].outputs),
                skip: ConvLayer::new(isa, x, convs[2].outputs),
            };
            x = block.conv2.output;
            block
        };
        let blocks = rest.chunks_exact(PER_BLOCK).map(block).collect();
        Net { isa, first, blocks, last: ConvLayer::new(isa, x, arch.channels) }
    }

    /// The shape of `u`, the image before its tanh.
    pub fn output(&self) -> Map {
        self.last.output
    }

    /// Its arithmetic, forward and backward.
    pub fn work(&self) -> Work {
        let blocks = self.blocks.iter().map(|block| {
            let ResidualBlock { conv1, conv2, skip } = block;
            Work::of_layer(conv1, true) + Work::of_layer(conv2, true) + Work::of_layer(skip, true)
        });
        blocks.fold(self.first.work() + Work::of_layer(&self.last, true), |sum, block| sum + block)
    }

    /// The memory that passes need.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
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
        fn of<C: Scheme>(layer: ConvLayer<C>) -> WeightShape {
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
        weights: &mut Weights,
        mut fill: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let last = 1 + PER_BLOCK * self.blocks.len();
        let Weights { packed, first, plain } = weights;
        packed.resize(last + 1, Packed::default());
        for (index, packed) in packed.iter_mut().enumerate() {
            let shape = self.shape(index);
            plain.resize(shape.len(), 0.0);
            fill(index, plain)?;
            match (index, (index.max(1) - 1) % PER_BLOCK) {
                (0, _) => self.first.pack(plain, first),
                (index, 0) if index < last => packed.pack::<Doubled>(self.isa, plain, shape),
                (index, 2) if index < last => packed.pack::<Pointwise>(self.isa, plain, shape),
                _ => packed.pack::<Winograd>(self.isa, plain, shape),
            }
        }
        Ok(())
    }

    /// Computes `u` for the inputs `z [batch, inputs]` and returns it; batch norms are those of the batch.
    pub fn forward<'m>(&self, weights: &Weights, memory: &'m mut Memory, z: &[f32]) -> &'m [f32] {
        self.forward_with(weights, memory, z, |_, sums, map| Affine::of(sums, map, NORM_EPSILON))
    }

    /// As [`Net::forward`], with batch norm `i` by `norm(i, sums over its input, shape of its input)`.
    pub fn forward_with<'m>(
        &self,
        weights: &Weights,
        memory: &'m mut Memory,
        z: &[f32],
        mut norm: impl FnMut(usize, &ChannelSums, Map) -> Affine,
    ) -> &'m [f32] {
        let map = self.first.output;
        self.first.forward(z, &weights.first, &mut memory.x[0]);
        memory.sums.reset(map);
        let sums = memory.sums.share();
        for (image, pixels) in memory.x[0].chunks_exact(map.image_len()).enumerate() {
            // SAFETY: one image after another.
            unsafe { measure_image(self.isa, pixels, map, image, sums) };
        }
        memory.norms[0] = norm(0, &memory.sums, map);
        for (index, block) in self.blocks.iter().enumerate() {
            self.forward_block(&weights.packed[1 + PER_BLOCK * index..], memory, (index, block), &mut norm);
        }
        let (x, norm) = (&memory.x[self.blocks.len()], &memory.norms[2 * self.blocks.len()]);
        let packed = &weights.packed[1 + PER_BLOCK * self.blocks.len()];
        let sink = Store { values: Disjoint::new(&mut memory.u), map: self.last.output };
        self.last.forward(norm.of_map(x, self.last.input), packed, sink, |_| ());
        &memory.u
    }

    fn forward_block(
        &self,
        packed: &[Packed],
        memory: &mut Memory,
        (index, block): (usize, &ResidualBlock),
        norm: &mut impl FnMut(usize, &ChannelSums, Map) -> Affine,
    ) {
        let Memory { x, a, norms, skip, sums, .. } = memory;
        let (x, next) = x[index..].split_at_mut(1);
        let (x, next, a) = (&x[0], &mut next[0], &mut a[index]);
        let ResidualBlock { conv1, conv2, skip: skip_conv } = block;

        let source = norms[2 * index].of_map(x, conv1.input);
        let store = Store { values: Disjoint::new(a), map: conv1.output };
        measured(*conv1, (source, &packed[0]), store, |store| store, sums);
        norms[2 * index + 1] = norm(2 * index + 1, sums, conv1.output);

        skip.resize(skip_conv.output.len(), 0.0);
        let sink = Store { values: Disjoint::new(skip), map: skip_conv.output };
        skip_conv.forward(Plain { values: x, map: skip_conv.input }, &packed[2], sink, |_| ());

        let source = norms[2 * index + 1].of_map(a, conv2.input);
        let store = Store { values: Disjoint::new(next), map: conv2.output };
        measured(*conv2, (source, &packed[1]), store, |store| AddDoubled { store, other: skip }, sums);
        norms[2 * index + 2] = norm(2 * index + 2, sums, conv2.output);
    }

    /// Given the gradient of `u`, calls `each(index, gradient)` with every layer's weight gradient, last layer first.
    pub fn backward<E>(
        &self,
        Weights { packed, .. }: &Weights,
        memory: &mut Memory,
        z: &[f32],
        du: &[f32],
        mut each: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let blocks = self.blocks.len();
        let Memory { x, a, norms, skip, sums, pieces, dw, gradients, .. } = memory;
        let [dx, da, through_skip, through_block] = gradients;

        let last = packed.len() - 1;
        let input = norms[2 * blocks].of_map(&x[blocks], self.last.input);
        let gradient = Plain { values: du, map: self.last.output };
        normed_backward(self.last, (input, gradient), &packed[last], Outputs { dx, pieces, sums });
        self.unpack::<Winograd, E>(last, pieces, dw, &mut each)?;
        normalise_gradient(self.isa, dx, input, sums, None);

        for (index, block) in self.blocks.iter().enumerate().rev() {
            let first = 1 + PER_BLOCK * index;
            let ResidualBlock { conv1, conv2, skip: skip_conv } = *block;
            let input = norms[2 * index + 1].of_map(&a[index], conv2.input);
            let gradient = Plain { values: dx, map: conv2.output };
            normed_backward(conv2, (input, gradient), &packed[first + 1], Outputs { dx: da, pieces, sums });
            self.unpack::<Winograd, E>(first + 1, pieces, dw, &mut each)?;
            normalise_gradient(self.isa, da, input, sums, None);

            skip.resize(skip_conv.output.len(), 0.0);
            sum_pool(self.isa, dx, conv2.output, skip);
            through_skip.resize(skip_conv.input.len(), 0.0);
            pieces.resize(skip_conv.pieces_len(), 0.0);
            let plain = Plain { values: &x[index], map: skip_conv.input };
            let gradient = Plain { values: skip, map: skip_conv.output };
            skip_conv.backward((plain, gradient), &packed[first + 2], through_skip, Some(pieces), |_, _| ());
            self.unpack::<Pointwise, E>(first + 2, pieces, dw, &mut each)?;

            let input = norms[2 * index].of_map(&x[index], conv1.input);
            let gradient = Plain { values: da, map: conv1.output };
            normed_backward(conv1, (input, gradient), &packed[first], Outputs { dx: through_block, pieces, sums });
            self.unpack::<Doubled, E>(first, pieces, dw, &mut each)?;
            normalise_gradient(self.isa, through_block, input, sums, Some(through_skip));
            std::mem::swap(dx, through_block);
        }
        dw.resize(self.first.shape().len(), 0.0);
        self.first.weight_gradient(z, dx, pieces, dw);
        each(0, dw)
    }

    fn unpack<C: Scheme, E>(
        &self,
        index: usize,
        pieces: &[f32],
        dw: &mut Vec<f32>,
        each: &mut impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let shape = self.shape(index);
        dw.resize(shape.len(), 0.0);
        unpack_gradient::<C>(self.isa, pieces, shape, dw);
        each(index, dw)
    }
}

/// Convolves into `store` by way of `sink`, and sums up what was written.
fn measured<'a, C: Scheme, Y: Sink>(
    layer: ConvLayer<C>,
    (x, packed): (NormRelu<'_>, &Packed),
    store: Store<'a>,
    sink: impl FnOnce(Store<'a>) -> Y,
    sums: &mut ChannelSums,
) {
    let Store { map, values } = store;
    sums.reset(map);
    let shared = sums.share();
    layer.forward(x, packed, sink(store), |image| {
        // SAFETY: the layer has finished this image, and calls once for each.
        unsafe {
            let pixels = values.part(image * map.image_len(), map.image_len());
            measure_image(layer.isa, pixels, map, image, shared);
        }
    });
}

/// What [`normed_backward`] writes.
struct Outputs<'a> {
    dx: &'a mut Vec<f32>,
    /// Of the weight's gradient.
    pieces: &'a mut Vec<f32>,
    sums: &'a mut ChannelSums,
}

/// The gradient with respect to the output `x` of the norm and ReLU before `layer`, and the sums that the norm's own needs.
fn normed_backward<C: Scheme>(
    layer: ConvLayer<C>,
    (x, gradient): (NormRelu<'_>, Plain<'_>),
    packed: &Packed,
    Outputs { dx, pieces, sums }: Outputs<'_>,
) {
    let map = layer.input;
    dx.resize(map.len(), 0.0);
    pieces.resize(layer.pieces_len(), 0.0);
    sums.reset(map);
    let shared = sums.share();
    layer.backward((x, gradient), packed, dx, Some(pieces), |image, gradient| {
        // SAFETY: the layer calls once for each image.
        unsafe { measure_gradient(layer.isa, gradient, x, image, shared) };
    });
}
