//! A frozen encoder and the moment loss on channels-last maps: features forward, gradient of the images backward.
//!
//! A feature map is stored once, after its ReLU; it is the next layer's input, the loss's feature and the ReLU's gate.

use std::sync::Arc;

use candle_core::{Result, TensorId};
use prism_core::simd::Isa;
use rayon::prelude::*;

use super::sketch::{self, Sketches};
use crate::cpu::map::Map;
use crate::cpu::map_pool::max_pool_gradient;
use crate::cpu::moments::{Gradient, Targets, moment_loss, pooled};
use crate::cpu::source::{FeatureGradient, Plain};
use crate::cpu::work::Work;
use crate::encoder::conv::{self, Direction};
use crate::encoder::packed::{PackedEncoder, Stage, stages};
use crate::encoder::{Encoder, EncoderLayer};
use crate::ops::FrozenConv;

/// An encoder's weights, packed once for all steps.
#[derive(Clone, Debug)]
pub struct Weights {
    /// What the forward pass reads, shared with passes that only measure.
    pub forward: Arc<PackedEncoder>,
    /// What the gradients of each convolution's inputs are computed by.
    backward: Arc<Vec<conv::Weights>>,
}

/// The shapes of an encoder for one batch and image size.
#[derive(Clone, Debug)]
pub struct Net {
    weights: Weights,
    stages: Vec<Stage>,
}

/// The memory of one pass, kept from step to step.
#[derive(Default)]
pub struct Memory {
    /// Output of every step of the layout.
    outputs: Vec<Vec<f32>>,
    /// Gradient of the loss of one convolution's features.
    of_features: Gradient,
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
    pub fn new(encoder: &Encoder) -> Result<Self> {
        let forward = encoder.packed()?;
        let pack =
            |conv: &FrozenConv| conv::Weights::new(forward.isa, conv, encoder.precision(), Direction::InputGradients);
        let backward = encoder.convs().iter().map(pack).collect::<Result<Vec<_>>>()?;
        Ok(Weights { forward, backward: Arc::new(backward) })
    }
}

impl Net {
    /// The encoder for images of shape `input`.
    pub fn new(weights: &Weights, input: Map) -> Self {
        Net { weights: weights.clone(), stages: weights.forward.stages(input) }
    }

    /// The memory that passes need.
    pub fn memory(&self) -> Memory {
        let outputs = self.stages.iter().map(|stage| vec![0.0; stage.output().len()]);
        let PackedEncoder { sketches, .. } = &*self.weights.forward;
        let convs = self.weights.forward.convs();
        let targets = vec![Reordered::default(); convs * (1 + sketches.len())];
        let sketches = vec![sketch::Memory::default(); sketches.len()];
        Memory { outputs: outputs.collect(), targets, sketches, ..Memory::default() }
    }

    /// Computes the features of `images`, a map of the net's input shape.
    pub fn forward(&self, memory: &mut Memory, images: &[f32]) {
        for (index, stage) in self.stages.iter().enumerate() {
            let (before, rest) = memory.outputs.split_at_mut(index);
            let x = before.last().map_or(images, Vec::as_slice);
            self.weights.forward.run(stage, x, &mut rest[0]);
        }
    }

    /// The moment loss of the features of `images`, whose groups are `groups`; `targets` has an entry for each output of the
    /// encoder. Leaves the gradient with respect to the images in [`Memory::of_images`].
    ///
    /// Each layer's loss is differentiated when the way back comes to it, so that one layer's gradient is kept at a time.
    pub fn loss(&self, memory: &mut Memory, images: &[f32], groups: &[usize], targets: &[LayerTargets<'_>]) -> f64 {
        let mut losses = vec![[0.0; 2]; self.weights.forward.convs()];
        let each: Vec<usize> = (0..groups.len()).collect();
        // Above the last convolution nothing has a gradient.
        let mut begun = false;
        for (index, stage) in self.stages.iter().enumerate().rev() {
            match *stage {
                Stage::Pool(_) if !begun => continue,
                Stage::Pool(map) => {
                    let Memory { outputs, gradients: [upstream, dx], .. } = &mut *memory;
                    dx.resize(map.len(), 0.0);
                    let x = if index == 0 { images } else { &outputs[index - 1] };
                    max_pool_gradient(self.weights.forward.isa, [x, &outputs[index], upstream], map, dx);
                }
                Stage::Conv(conv, number) => {
                    losses[number] = self.layer_loss(memory, (index, number), conv.output(), targets);
                    let Memory { outputs, of_features, gradients: [upstream, dx], .. } = &mut *memory;
                    dx.resize(conv.input().len(), 0.0);
                    let y = Plain { values: &outputs[index], map: conv.output() };
                    let Gradient { shift, slope, per_image } = of_features;
                    let rows = if *per_image { &each } else { groups };
                    let upstream = begun.then_some(upstream.as_slice());
                    let slope = (!slope.is_empty()).then_some(slope.as_slice());
                    let dy = FeatureGradient { y, upstream, shift, slope, rows };
                    self.weights.backward[number].input_gradient(conv, dy, dx);
                    begun = true;
                }
            }
            memory.gradients.swap(0, 1);
        }
        if !begun {
            memory.gradients[0].clear();
            memory.gradients[0].resize(images.len(), 0.0);
        }
        losses.as_flattened().iter().sum()
    }

    /// The moment loss of convolution `number`, step `index`, whose output is a `map`, and that of its sketches.
    fn layer_loss(
        &self,
        memory: &mut Memory,
        (index, number): (usize, usize),
        map: Map,
        all: &[LayerTargets<'_>],
    ) -> [f64; 2] {
        let LayerTargets { targets, grid, tensors } = all[number];
        let isa = self.weights.forward.isa;
        let side = grid.map(|grid| pooled::cells(grid, map.height));
        let of_targets = side.map_or(map, |side| Map { height: side, width: side, ..map });
        let targets = memory.targets[number].reorder(targets, tensors, of_targets);
        let features = Plain { values: &memory.outputs[index], map };
        let loss = match side {
            Some(side) => pooled::moment_loss(isa, features, side, targets, &mut memory.of_features),
            None => moment_loss(isa, features, targets, &mut memory.of_features),
        };
        [loss, self.sketch_loss(memory, (index, number), map, all)]
    }

    /// The moment loss of all sketches of convolution `number`, step `index`, whose output is a `map`; its gradient is added to
    /// that of the convolution's own features.
    fn sketch_loss(
        &self,
        memory: &mut Memory,
        (index, number): (usize, usize),
        map: Map,
        targets: &[LayerTargets<'_>],
    ) -> f64 {
        let (isa, grids) = (self.weights.forward.isa, self.weights.forward.sketches.as_slice());
        if grids.is_empty() {
            return 0.0;
        }
        let places = memory.targets.iter_mut().enumerate().skip(number).step_by(self.weights.forward.convs()).skip(1);
        let reordered = places.zip(grids).map(|((output, place), grid)| {
            let LayerTargets { targets, tensors, .. } = targets[output];
            place.reorder(targets, tensors, grid.shape(map))
        });
        let targets: Vec<Targets<'_>> = reordered.collect();
        let (features, gradient) = (memory.outputs[index].as_slice(), &mut memory.of_features);
        gradient.evaluate(features, targets.first().map_or(1, |targets| targets.scale.len()));
        let sketches = Sketches { isa, grids, conv: number, map };
        sketches.loss(features, &targets, &mut memory.sketches, &mut gradient.shift)
    }
}

impl Memory {
    /// The gradient of the last loss with respect to the images.
    pub fn of_images(&self) -> &[f32] {
        &self.gradients[0]
    }
}

/// The arithmetic of an encoder's forward pass and of its images' gradient.
pub fn work(isa: Isa, layers: &[EncoderLayer], input: Map) -> Work {
    let of_stage = |stage: &Stage| match stage {
        Stage::Conv(conv, _) => conv.work(),
        Stage::Pool(_) => Work::default(),
    };
    stages(isa, layers, input).iter().map(of_stage).fold(Work::default(), |sum, work| sum + work)
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
