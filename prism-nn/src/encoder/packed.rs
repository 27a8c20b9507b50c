//! An encoder made ready for maps with channels last: packed convolutions, the normalisation of colours, and sketches.

use candle_core::{Result, Tensor};
use prism_core::simd::Isa;

use super::Encoder;
use super::conv::{Conv, Direction, Weights};
use super::layout::{EncoderLayer, INPUTS};
use super::sketch::Sketch;
use crate::cpu::map::Map;
use crate::cpu::map_pool::{halved, max_pool};
use crate::cpu::share::Disjoint;
use crate::cpu::sketch::Mix;
use crate::cpu::source::{BiasRelu, Plain, Store};
use crate::ops::FrozenConv;
use crate::ops::storage::with_floats;

/// An encoder's weights, packed for forward passes.
#[derive(Debug)]
pub(crate) struct PackedEncoder {
    pub isa: Isa,
    convs: Vec<PackedConv>,
    layers: Vec<EncoderLayer>,
    /// Factor and summand of each colour, for pixels in [-1, 1].
    pub scale: [f32; INPUTS],
    pub shift: [f32; INPUTS],
    /// One a grid, rising.
    pub sketches: Vec<PackedSketch>,
}

#[derive(Debug)]
struct PackedConv {
    /// For the forward pass only.
    weights: Weights,
    /// One number a stored channel.
    bias: Vec<f32>,
}

/// The sketches of all convolutions over one grid.
#[derive(Debug)]
pub(crate) struct PackedSketch {
    sketch: Sketch,
    /// One a convolution.
    pub mixes: Vec<Mix>,
}

/// One layer for maps of a certain shape.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// A convolution, and its number.
    Conv(Conv, usize),
    /// A pool of maps of this shape.
    Pool(Map),
}

impl Stage {
    /// The shape of what goes in.
    pub fn input(&self) -> Map {
        match self {
            Stage::Conv(conv, _) => conv.input(),
            Stage::Pool(map) => *map,
        }
    }

    /// The same layer for so many images.
    pub fn with_batch(&self, isa: Isa, batch: usize) -> Self {
        match *self {
            Stage::Conv(conv, number) => {
                let input = Map { batch, ..conv.input() };
                Stage::Conv(Conv::new(isa, input, conv.output().channels), number)
            }
            Stage::Pool(map) => Stage::Pool(Map { batch, ..map }),
        }
    }

    /// The shape of what comes out.
    pub fn output(&self) -> Map {
        match self {
            Stage::Conv(conv, _) => conv.output(),
            Stage::Pool(map) => halved(*map),
        }
    }
}

impl PackedEncoder {
    /// Packs `encoder`.
    ///
    /// # Errors
    /// If it is not in main memory.
    pub fn new(isa: Isa, encoder: &Encoder) -> Result<Self> {
        let pack = |conv: &FrozenConv| {
            let weights = Weights::new(isa, conv, encoder.precision(), Direction::Outputs)?;
            let mut bias = with_floats([conv.bias()], |[bias]| bias.to_vec())?;
            bias.resize(bias.len().next_multiple_of(isa.lanes()), 0.0);
            Ok(PackedConv { weights, bias })
        };
        let (mut scale, mut shift) = ([1.0; INPUTS], [0.0; INPUTS]);
        if let Some((scales, shifts)) = encoder.normalisation() {
            with_floats([scales, shifts], |[scales, shifts]| {
                scale.copy_from_slice(scales);
                shift.copy_from_slice(shifts);
            })?;
        }
        Ok(PackedEncoder {
            isa,
            convs: encoder.convs().iter().map(pack).collect::<Result<_>>()?,
            layers: encoder.layout().layers().to_vec(),
            scale,
            shift,
            sketches: encoder.sketches().iter().map(|s| PackedSketch::new(isa, s)).collect::<Result<_>>()?,
        })
    }

    /// The convolutions.
    pub fn convs(&self) -> usize {
        self.convs.len()
    }

    /// The shape of `batch` images of `side` pixels a side, as the first layer reads them.
    pub fn input(&self, batch: usize, (height, width): (usize, usize)) -> Map {
        Map::new(batch, (height, width), INPUTS, self.isa.lanes())
    }

    /// All layers, for images of shape `input`.
    pub fn stages(&self, input: Map) -> Vec<Stage> {
        stages(self.isa, &self.layers, input)
    }

    /// The shape of every output for images of shape `input`, in the order of [`Encoder::feature_shapes`].
    pub fn outputs(&self, input: Map) -> Vec<Map> {
        let stages = self.stages(input);
        let convs = stages.iter().filter(|stage| matches!(stage, Stage::Conv(..))).map(Stage::output);
        let convs: Vec<Map> = convs.collect();
        let sketches = self.sketches.iter().flat_map(|sketch| convs.iter().map(|&map| sketch.shape(map)));
        convs.iter().copied().chain(sketches).collect()
    }

    /// Computes the output `y` of `stage` from its input `x`.
    pub fn run(&self, stage: &Stage, x: &[f32], y: &mut [f32]) {
        match *stage {
            Stage::Pool(map) => max_pool(self.isa, x, map, y),
            Stage::Conv(conv, number) => {
                let (input, output) = (conv.input(), conv.output());
                assert!(x.len() == input.len() && y.len() == output.len(), "maps of the stage's shape");
                let PackedConv { weights, bias } = &self.convs[number];
                let store = Store { values: Disjoint::new(y), map: output };
                weights.forward(conv, Plain { values: x, map: input }, BiasRelu { store, bias });
            }
        }
    }
}

/// All of `layers`, for images of shape `input`.
pub(crate) fn stages(isa: Isa, layers: &[EncoderLayer], input: Map) -> Vec<Stage> {
    let (mut map, mut number) = (input, 0);
    let mut stages = Vec::with_capacity(layers.len());
    for layer in layers {
        let stage = match *layer {
            EncoderLayer::Pool => Stage::Pool(map),
            EncoderLayer::Conv(outputs) => {
                number += 1;
                Stage::Conv(Conv::new(isa, map, outputs), number - 1)
            }
        };
        map = stage.output();
        stages.push(stage);
    }
    stages
}

impl PackedSketch {
    /// Lays `sketch` out.
    fn new(isa: Isa, sketch: &Sketch) -> Result<Self> {
        let mix = |matrix: &Tensor| {
            let channels = matrix.dim(0)?;
            with_floats([matrix], |[matrix]| Mix::new(isa, matrix, channels))
        };
        Ok(PackedSketch { sketch: sketch.clone(), mixes: sketch.mixes().iter().map(mix).collect::<Result<_>>()? })
    }

    /// The sketch's shape, of a convolution whose output is a `map`.
    pub fn shape(&self, map: Map) -> Map {
        let side = self.sketch.side(map.height);
        Map { height: side, width: side, ..map }
    }
}
