//! A frozen encoder and the moment loss on channels-last maps: features forward, gradient of the images backward.
//!
//! A feature map is stored once, after its ReLU; it is the next layer's input, the loss's feature and the ReLU's gate.

use std::sync::Arc;

use candle_core::{Result, TensorId};
use prism_core::simd::Isa;
use rayon::prelude::*;

use super::Work;
use super::sketch::{self, Sketches};
use crate::cpu::layer::Layer;
use crate::cpu::map::Map;
use crate::cpu::map_pool::{halved, max_pool, max_pool_gradient};
use crate::cpu::moments::{Gradient, Targets, moment_loss, pooled};
use crate::cpu::packed::{Packed, WeightShape};
use crate::cpu::scheme::Winograd;
use crate::cpu::share::Disjoint;
use crate::cpu::source::{BiasRelu, FeatureGradient, Plain, Store};
use crate::encoder::{Encoder, Step};
use crate::ops::FrozenConv;
use crate::ops::storage::with_floats;

/// An encoder's weights, packed once for all steps.
#[derive(Clone, Debug)]
pub struct Weights {
    isa: Isa,
    convs: Arc<Vec<Conv>>,
    steps: Vec<Step>,
    sketches: Arc<Vec<sketch::Weights>>,
}

#[derive(Debug)]
struct Conv {
    packed: Packed,
    /// One number a stored channel.
    bias: Vec<f32>,
    shape: WeightShape,
}

/// The shapes of an encoder for one batch and image size.
#[derive(Clone, Debug)]
pub struct Net {
    weights: Weights,
    layers: Vec<Planned>,
}

#[derive(Clone, Copy, Debug)]
enum Planned {
    /// A convolution, and its number.
    Conv(Layer<Winograd>, usize),
    Pool(Map),
}

/// The memory of one pass, kept from step to step.
#[derive(Default)]
pub struct Memory {
    /// Output of every step of the layout.
    outputs: Vec<Vec<f32>>,
    losses: Vec<Gradient>,
    /// Gradient of the step's output, and of its input.
    gradients: [Vec<f32>; 2],
    /// The targets of each output of the encoder.
    targets: Vec<Reordered>,
    /// What each grid of sketches needs, of one convolution after the other.
    sketches: Vec<sketch::Memory>,
}

/// Targets with channels last, kept as long as the same tensors are asked for.
#[derive(Clone, Default)]
struct Reordered {
    of: Option<[Option<TensorId>; 4]>,
    /// Mean, second moment and their weights.
    values: [Vec<f32>; 4],
}

/// What one layer's features should be, features ordered as channels, rows, columns.
#[derive(Clone, Copy, Debug)]
pub struct LayerTargets<'a> {
    /// As the kernel takes them, but for the order.
    pub targets: Targets<'a>,
    /// Cells a side over which features are pooled; none for every pixel by itself.
    pub grid: Option<usize>,
    /// The tensors of mean, second moment and their weights, by which they are known again; none if they may change.
    pub tensors: Option<[Option<TensorId>; 4]>,
}

impl Weights {
    /// Packs `encoder`.
    ///
    /// # Errors
    /// If a convolution is not 3x3, or not in main memory.
    pub fn new(isa: Isa, encoder: &Encoder) -> Result<Self> {
        let pack = |conv: &FrozenConv| {
            let (outputs, inputs, height, width) = conv.weight().dims4()?;
            if (height, width) != (3, 3) {
                candle_core::bail!("an encoder's convolutions are 3x3, not {height}x{width}");
            }
            let shape = WeightShape { outputs, inputs, taps: 9 };
            with_floats([conv.weight(), conv.bias()], |[weight, bias]| {
                let mut packed = Packed::default();
                packed.pack::<Winograd>(isa, weight, shape);
                let mut bias = bias.to_vec();
                bias.resize(outputs.next_multiple_of(isa.lanes()), 0.0);
                Conv { packed, bias, shape }
            })
        };
        let convs = encoder.convs().iter().map(pack).collect::<Result<Vec<_>>>()?;
        let sketches =
            encoder.sketches().iter().map(|sketch| sketch::Weights::new(isa, sketch)).collect::<Result<_>>()?;
        let steps = encoder.layout().steps().to_vec();
        Ok(Weights { isa, convs: Arc::new(convs), steps, sketches: Arc::new(sketches) })
    }
}

impl Net {
    /// The encoder for images of shape `input`.
    pub fn new(weights: &Weights, input: Map) -> Self {
        let (mut map, mut convs) = (input, weights.convs.iter().enumerate());
        let mut layers = Vec::with_capacity(weights.steps.len());
        for step in &weights.steps {
            match step {
                Step::Pool => {
                    layers.push(Planned::Pool(map));
                    map = halved(map);
                }
                Step::Conv(_) => {
                    let Some((number, conv)) = convs.next() else { break };
                    let layer = Layer::new(weights.isa, map, conv.shape.outputs);
                    layers.push(Planned::Conv(layer, number));
                    map = layer.output;
                }
            }
        }
        Net { weights: weights.clone(), layers }
    }

    /// The memory that passes need.
    pub fn memory(&self) -> Memory {
        let outputs = self.layers.iter().map(|layer| match layer {
            Planned::Conv(layer, _) => vec![0.0; layer.output.len()],
            Planned::Pool(map) => vec![0.0; halved(*map).len()],
        });
        let convs = self.weights.convs.len();
        let losses = vec![Gradient::default(); convs];
        let targets = vec![Reordered::default(); convs * (1 + self.weights.sketches.len())];
        let sketches = vec![sketch::Memory::default(); self.weights.sketches.len()];
        Memory { outputs: outputs.collect(), losses, targets, sketches, ..Memory::default() }
    }

    /// Computes the features of `images`, a map of the net's input shape.
    pub fn forward(&self, memory: &mut Memory, images: &[f32]) {
        for (index, layer) in self.layers.iter().enumerate() {
            let (before, rest) = memory.outputs.split_at_mut(index);
            let (x, y) = (before.last().map_or(images, Vec::as_slice), &mut rest[0]);
            match *layer {
                Planned::Pool(map) => max_pool(self.weights.isa, x, map, y),
                Planned::Conv(layer, number) => {
                    let conv = &self.weights.convs[number];
                    let store = Store { values: Disjoint::new(y), map: layer.output };
                    let sink = BiasRelu { store, bias: &conv.bias };
                    layer.forward(Plain { values: x, map: layer.input }, &conv.packed, sink, |_| ());
                }
            }
        }
    }

    /// The moment loss of the features, `images` of each group; `targets` has an entry for each output of the encoder.
    pub fn loss(&self, memory: &mut Memory, images: usize, targets: &[LayerTargets<'_>]) -> f64 {
        let (mut loss, all) = (0.0, targets);
        for (index, layer) in self.layers.iter().enumerate() {
            let Planned::Conv(layer, number) = *layer else { continue };
            let LayerTargets { targets, grid, tensors } = targets[number];
            let (map, isa) = (layer.output, self.weights.isa);
            let side = grid.map(|grid| pooled::cells(grid, map.height));
            let of_targets = side.map_or(map, |side| Map { height: side, width: side, ..map });
            let targets = memory.targets[number].reorder(targets, tensors, of_targets);
            let (features, gradient) = (&memory.outputs[index], &mut memory.losses[number]);
            loss += match side {
                Some(side) => pooled::moment_loss(isa, features, map, images, side, targets, gradient),
                None => moment_loss(isa, features, images, targets, map.channels * map.pixels(), gradient),
            };
            loss += self.sketch_loss(memory, (index, number), map, images, all);
        }
        loss
    }

    /// The moment loss of all sketches of convolution `number`, step `index`, whose output is a `map`; its gradient is added to
    /// that of the convolution's own features.
    fn sketch_loss(
        &self,
        memory: &mut Memory,
        (index, number): (usize, usize),
        map: Map,
        images: usize,
        targets: &[LayerTargets<'_>],
    ) -> f64 {
        let (isa, grids) = (self.weights.isa, self.weights.sketches.as_slice());
        if grids.is_empty() {
            return 0.0;
        }
        let places = memory.targets.iter_mut().enumerate().skip(number).step_by(self.weights.convs.len()).skip(1);
        let reordered = places.zip(grids).map(|((output, place), grid)| {
            let LayerTargets { targets, tensors, .. } = targets[output];
            place.reorder(targets, tensors, grid.shape(map))
        });
        let targets: Vec<Targets<'_>> = reordered.collect();
        let (features, gradient) = (memory.outputs[index].as_slice(), &mut memory.losses[number]);
        gradient.evaluate(features, targets.first().map_or(1, |targets| targets.scale.len()));
        let gradient = &mut gradient.shift;
        let sketches = Sketches { isa, grids, conv: number, map };
        sketches.loss(features, images, &targets, &mut memory.sketches, gradient)
    }

    /// The gradient of the loss with respect to `images`; `groups` is each image's group.
    pub fn backward<'m>(&self, memory: &'m mut Memory, images: &[f32], groups: &[usize]) -> &'m [f32] {
        let Memory { outputs, losses, gradients, .. } = memory;
        let [upstream, dx] = gradients;
        let each: Vec<usize> = (0..groups.len()).collect();
        // Above the last convolution nothing has a gradient.
        let mut begun = false;
        for (index, layer) in self.layers.iter().enumerate().rev() {
            match *layer {
                Planned::Pool(_) if !begun => continue,
                Planned::Pool(map) => {
                    dx.resize(map.len(), 0.0);
                    let x = if index == 0 { images } else { &outputs[index - 1] };
                    max_pool_gradient(self.weights.isa, [x, &outputs[index], upstream], map, dx);
                }
                Planned::Conv(layer, number) => {
                    dx.resize(layer.input.len(), 0.0);
                    let y = Plain { values: &outputs[index], map: layer.output };
                    let Gradient { shift, slope, per_image } = &losses[number];
                    let rows = if *per_image { &each } else { groups };
                    let upstream = begun.then_some(upstream.as_slice());
                    let slope = (!slope.is_empty()).then_some(slope.as_slice());
                    let dy = FeatureGradient { y, upstream, shift, slope, rows };
                    layer.backward((y, dy), &self.weights.convs[number].packed, dx, None, |_, _| ());
                    begun = true;
                }
            }
            std::mem::swap(upstream, dx);
        }
        if !begun {
            upstream.clear();
            upstream.resize(images.len(), 0.0);
        }
        upstream
    }
}

/// The arithmetic of an encoder's forward pass and of its images' gradient.
pub fn work(isa: Isa, steps: &[Step], input: Map) -> Work {
    let mut map = input;
    let mut work = Work::default();
    for step in steps {
        match *step {
            Step::Pool => map = halved(map),
            Step::Conv(outputs) => {
                let layer = Layer::<Winograd>::new(isa, map, outputs);
                work = work + Work::of_layer(&layer, false);
                map = layer.output;
            }
        }
    }
    work
}

impl Reordered {
    /// `targets`, which are those of `tensors`, with channels last in the shape `map`.
    fn reorder<'a>(
        &'a mut self,
        targets: Targets<'a>,
        tensors: Option<[Option<TensorId>; 4]>,
        map: Map,
    ) -> Targets<'a> {
        let [mean, second, of_mean, of_second] = &mut self.values;
        if tensors.is_none() || self.of != tensors {
            channels_last(targets.mean, map, mean);
            channels_last(targets.second, map, second);
            if let Some([a, b]) = targets.weights {
                channels_last(a, map, of_mean);
                channels_last(b, map, of_second);
            }
            self.of = tensors;
        }
        let weights = targets.weights.map(|_| [of_mean.as_slice(), of_second.as_slice()]);
        Targets { mean, second, weights, ..targets }
    }
}

/// Reorders `[G, C, H, W]` as `[G, H, W, stride]`.
fn channels_last(values: &[f32], map: Map, out: &mut Vec<f32>) {
    let width = map.channels * map.pixels();
    let groups = values.len() / width;
    out.resize(groups * map.image_len(), 0.0);
    out.par_chunks_exact_mut(map.stride).enumerate().for_each(|(place, pixel)| {
        let (group, place) = (place / map.pixels(), place % map.pixels());
        for (channel, out) in pixel.iter_mut().enumerate() {
            *out = if channel < map.channels { values[group * width + channel * map.pixels() + place] } else { 0.0 };
        }
    });
}
