//! The order of an encoder's convolutions and pools, written as in `32,32,M,64,64,M,128`: a number is a 3x3 convolution
//! of that width, `M` a 2x2 max-pool.

use std::fmt;
use std::str::FromStr;

use prism_core::Error;

/// Colours of the images that an encoder reads.
pub const INPUTS: usize = 3;

/// Convolutions that a layout may have at most.
const MAX_CONVS: usize = 64;

/// Channels that a convolution may have at most.
const MAX_WIDTH: usize = 1024;

/// Pools that a layout may have at most: beyond eight even the largest image is one pixel.
const MAX_POOLS: usize = 8;

/// One layer of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderLayer {
    /// 3x3 convolution with this many outputs, bias and ReLU.
    Conv(usize),
    /// Maximum over disjoint 2x2 squares.
    Pool,
}

/// A VGG-shaped network's layers, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderLayout {
    layers: Vec<EncoderLayer>,
}

impl EncoderLayout {
    /// The layers, in order.
    pub fn layers(&self) -> &[EncoderLayer] {
        &self.layers
    }

    /// Inputs and outputs of each convolution, in order.
    pub fn convs(&self) -> Vec<(usize, usize)> {
        let mut inputs = INPUTS;
        let outputs = self.layers.iter().filter_map(|layer| match layer {
            EncoderLayer::Conv(outputs) => Some(*outputs),
            EncoderLayer::Pool => None,
        });
        outputs.map(|outputs| (std::mem::replace(&mut inputs, outputs), outputs)).collect()
    }

    /// Channels, height and width of each convolution's output for an image of `side` pixels a side.
    pub fn feature_shapes(&self, side: usize) -> Vec<[usize; 3]> {
        let mut side = side;
        let mut shapes = Vec::new();
        for layer in &self.layers {
            match layer {
                EncoderLayer::Conv(outputs) => shapes.push([*outputs, side, side]),
                EncoderLayer::Pool => side /= 2,
            }
        }
        shapes
    }

    /// The smallest side that every pool can still halve: 2 to the number of pools.
    pub fn smallest_side(&self) -> usize {
        1 << self.layers.iter().filter(|layer| **layer == EncoderLayer::Pool).count()
    }
}

impl FromStr for EncoderLayout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: String| Err(Error::usage(format!("encoder layout '{text:.200}' {why}")));
        let mut layers = Vec::new();
        for word in text.split(',') {
            match (word, word.parse()) {
                ("M", _) => layers.push(EncoderLayer::Pool),
                (_, Ok(width)) if (1..=MAX_WIDTH).contains(&width) => layers.push(EncoderLayer::Conv(width)),
                _ => {
                    return refuse(format!(
                        "has the layer '{word:.20}'; write M for a pool or a width from 1 to {MAX_WIDTH}, separated by commas"
                    ));
                }
            }
        }
        let pools = layers.iter().filter(|layer| **layer == EncoderLayer::Pool).count();
        let convs = layers.len() - pools;
        if convs == 0 || convs > MAX_CONVS || pools > MAX_POOLS {
            return refuse(format!(
                "has {convs} convolutions and {pools} pools; choose 1 to {MAX_CONVS} convolutions and at most {MAX_POOLS} \
                 pools"
            ));
        }
        Ok(EncoderLayout { layers })
    }
}

impl fmt::Display for EncoderLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.layers.iter().map(|layer| match layer {
            EncoderLayer::Conv(outputs) => outputs.to_string(),
            EncoderLayer::Pool => "M".into(),
        });
        f.pad(&words.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_written_as_it_was_read() {
        let text = "32,32,M,64,M,128";
        let layout: EncoderLayout = text.parse().unwrap();
        assert_eq!(layout.to_string(), text);
        assert_eq!(layout.convs(), [(3, 32), (32, 32), (32, 64), (64, 128)]);
        assert_eq!(layout.feature_shapes(16), [[32, 16, 16], [32, 16, 16], [64, 8, 8], [128, 4, 4]]);
        assert_eq!(layout.smallest_side(), 4);
    }

    #[test]
    fn hostile_layouts_are_refused() {
        let deep = ["8"; 65].join(",");
        let pools = ["M"; 9].join(",") + ",8";
        for text in ["", "M", "0", "-3", "32,,M", "99999999999999999999", "1025", &deep, &pools, "32,m"] {
            assert!(text.parse::<EncoderLayout>().is_err(), "{text}");
        }
    }
}
