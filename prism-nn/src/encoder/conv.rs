//! One 3x3 convolution of an encoder, by the scheme that takes the fewest products for its maps.

use std::sync::OnceLock;

use candle_core::{Result, Tensor};
use prism_core::simd::Isa;

use super::precision::Precision;
use crate::cpu::conv::ConvLayer;
use crate::cpu::factor::{Bf16, Factor};
use crate::cpu::map::Map;
use crate::cpu::packed::{Packed, WeightShape};
use crate::cpu::scheme::{Karatsuba, Scheme, Winograd};
use crate::cpu::source::{Sink, Source};
use crate::cpu::work::Work;
use crate::ops::FrozenConv;
use crate::ops::storage::with_floats;

/// The shapes of one convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Conv {
    /// Of maps of any size.
    Tiled(ConvLayer<Winograd>),
    /// Of maps of at most two pixels a side.
    Small(ConvLayer<Karatsuba>),
}

/// What weights are packed for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    Outputs,
    InputGradients,
}

/// A convolution's weights, packed for each scheme when it is first used.
#[derive(Debug)]
pub(crate) struct Weights {
    precision: Precision,
    direction: Direction,
    isa: Isa,
    /// `[O, I, 3, 3]`, in main memory.
    weight: Tensor,
    shape: WeightShape,
    tiled: OnceLock<Products>,
    small: OnceLock<Products>,
}

#[derive(Debug)]
enum Products {
    F32(Packed),
    Bf16(Packed<Bf16>),
}

impl Conv {
    /// A convolution from `input` to `outputs` channels.
    pub fn new(isa: Isa, input: Map, outputs: usize) -> Self {
        if input.height.max(input.width) <= Karatsuba::IN {
            Conv::Small(ConvLayer::new(isa, input, outputs))
        } else {
            Conv::Tiled(ConvLayer::new(isa, input, outputs))
        }
    }

    /// The shape of what goes in.
    pub fn input(&self) -> Map {
        match self {
            Conv::Tiled(layer) => layer.input,
            Conv::Small(layer) => layer.input,
        }
    }

    /// The shape of what comes out.
    pub fn output(&self) -> Map {
        match self {
            Conv::Tiled(layer) => layer.output,
            Conv::Small(layer) => layer.output,
        }
    }

    /// The arithmetic of the outputs and of the input gradient.
    pub fn work(&self) -> Work {
        match self {
            Conv::Tiled(layer) => Work::of_layer(layer, false),
            Conv::Small(layer) => Work::of_layer(layer, false),
        }
    }
}

impl Weights {
    /// The weights of `conv`.
    ///
    /// # Errors
    /// If it is not 3x3, or not in main memory.
    pub fn new(isa: Isa, conv: &FrozenConv, precision: Precision, direction: Direction) -> Result<Self> {
        let (outputs, inputs, height, width) = conv.weight().dims4()?;
        if (height, width) != (3, 3) {
            candle_core::bail!("an encoder's convolutions are 3x3, not {height}x{width}");
        }
        with_floats([conv.weight()], |_| ())?;
        let shape = WeightShape { outputs, inputs, taps: height * width };
        let (tiled, small) = Default::default();
        Ok(Weights { precision, direction, isa, weight: conv.weight().clone(), shape, tiled, small })
    }

    /// Convolves `x` into `y`; the weights must be for outputs.
    pub fn forward(&self, conv: Conv, x: impl Source, y: impl Sink) {
        match conv {
            Conv::Tiled(layer) => self.products::<Winograd>(&self.tiled).forward(layer, x, y),
            Conv::Small(layer) => self.products::<Karatsuba>(&self.small).forward(layer, x, y),
        }
    }

    /// Writes the gradient of the inputs, given that of the outputs; the weights must be for gradients.
    pub fn input_gradient(&self, conv: Conv, dy: impl Source, dx: &mut [f32]) {
        match conv {
            Conv::Tiled(layer) => self.products::<Winograd>(&self.tiled).input_gradient(layer, dy, dx),
            Conv::Small(layer) => self.products::<Karatsuba>(&self.small).input_gradient(layer, dy, dx),
        }
    }

    fn products<'a, C: Scheme>(&self, packed: &'a OnceLock<Products>) -> &'a Products {
        let pack = |[weight]: [&[f32]; 1]| match self.precision {
            Precision::F32 => Products::F32(self.pack::<C, _>(weight)),
            Precision::Bf16 => Products::Bf16(self.pack::<C, _>(weight)),
        };
        if let Some(packed) = packed.get() {
            return packed;
        }
        // Packed before the cell is taken: a thread that packs may take up another pass meanwhile, which wants the same.
        let fresh = with_floats([&self.weight], pack).expect("in main memory, as it was at the beginning");
        packed.get_or_init(|| fresh)
    }

    fn pack<C: Scheme, T: Factor>(&self, weight: &[f32]) -> Packed<T> {
        let mut packed = Packed::default();
        match self.direction {
            Direction::Outputs => packed.pack_forward::<C>(self.isa, weight, self.shape),
            Direction::InputGradients => packed.pack_backward::<C>(self.isa, weight, self.shape),
        }
        packed
    }
}

impl Products {
    fn forward<C: Scheme>(&self, layer: ConvLayer<C>, x: impl Source, y: impl Sink) {
        match self {
            Products::F32(packed) => layer.forward(x, packed, y, |_| ()),
            Products::Bf16(packed) => layer.forward(x, packed, y, |_| ()),
        }
    }

    fn input_gradient<C: Scheme>(&self, layer: ConvLayer<C>, dy: impl Source, dx: &mut [f32]) {
        match self {
            Products::F32(packed) => layer.input_gradient(dy, packed, dx),
            Products::Bf16(packed) => layer.input_gradient(dy, packed, dx),
        }
    }
}
