//! An encoder made ready for maps with channels last: packed convolutions, the normalisation of colours, and sketches.

use candle_core::{Result, Tensor};
use prism_core::simd::Isa;

use super::Encoder;
use super::layout::{EncoderLayer, INPUTS};
use super::precision::Weights;
use super::sketch::Sketch;
use crate::cpu::conv::ConvLayer;
use crate::cpu::map::Map;
use crate::cpu::map_pool::{halved, max_pool};
use crate::cpu::packed::WeightShape;
use crate::cpu::scheme::Winograd;
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
    Conv(ConvLayer<Winograd>, usize),
    /// A pool of maps of this shape.
    Pool(Map),
}

impl Stage {
    /// The shape of what goes in.
    pub fn input(&self) -> Map {
        match self {
            Stage::Conv(layer, _) => layer.input,
            Stage::Pool(map) => *map,
        }
    }

    /// The same layer for so many images.
    pub fn with_batch(&self, batch: usize) -> Self {
        match *self {
            Stage::Conv(layer, number) => {
                let input = Map { batch, ..layer.input };
                Stage::Conv(ConvLayer::new(layer.isa, input, layer.output.channels), number)
            }
            Stage::Pool(map) => Stage::Pool(Map { batch, ..map }),
        }
    }

    /// The shape of what comes out.
    pub fn output(&self) -> Map {
        match self {
            Stage::Conv(layer, _) => layer.output,
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
            let shape = shape_of(conv)?;
            with_floats([conv.weight(), conv.bias()], |[weight, bias]| {
                let weights = encoder.precision().pack_forward(isa, weight, shape);
                let mut bias = bias.to_vec();
                bias.resize(shape.outputs.next_multiple_of(isa.lanes()), 0.0);
                PackedConv { weights, bias }
            })
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
            Stage::Conv(layer, number) => {
                assert!(x.len() == layer.input.len() && y.len() == layer.output.len(), "maps of the stage's shape");
                let conv = &self.convs[number];
                let store = Store { values: Disjoint::new(y), map: layer.output };
                let sink = BiasRelu { store, bias: &conv.bias };
                conv.weights.forward(layer, Plain { values: x, map: layer.input }, sink);
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
                Stage::Conv(ConvLayer::new(isa, map, outputs), number - 1)
            }
        };
        map = stage.output();
        stages.push(stage);
    }
    stages
}

/// The shape of an encoder's convolution.
///
/// # Errors
/// If it is not 3x3.
pub(crate) fn shape_of(conv: &FrozenConv) -> Result<WeightShape> {
    let (outputs, inputs, height, width) = conv.weight().dims4()?;
    if (height, width) != (3, 3) {
        candle_core::bail!("an encoder's convolutions are 3x3, not {height}x{width}");
    }
    Ok(WeightShape { outputs, inputs, taps: height * width })
}

impl PackedSketch {
    /// Lays `sketch` out.
    fn new(isa: Isa, sketch: &Sketch) -> Result<Self> {
        let mix = |matrix: &Tensor| {
            let channels = matrix.dim(0)?;
            with_floats([matrix], |[matrix]| Mix::new(matrix, channels, channels.next_multiple_of(isa.lanes())))
        };
        Ok(PackedSketch { sketch: sketch.clone(), mixes: sketch.mixes().iter().map(mix).collect::<Result<_>>()? })
    }

    /// The sketch's shape, of a convolution whose output is a `map`.
    pub fn shape(&self, map: Map) -> Map {
        let side = self.sketch.side(map.height);
        Map { height: side, width: side, ..map }
    }
}
