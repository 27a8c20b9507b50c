//! Sketches: further outputs of an encoder, by which features are matched together and not only each by itself.
//!
//! Mean and variance of every feature at its own place do not say what features do *together*: a patch that saturates in a few
//! images can have the variance that was asked for. A sketch averages each map over the cells of a grid and mixes the channels of
//! a cell by random signs that everybody knows:
//!
//! ```text
//! sketch[b, k, cell] = sum over c of sign[k, c] / sqrt(C) * (mean over the cell's pixels of feature[b, c, pixel])
//! ```
//!
//! Its variance is a sum of the covariances of all pairs of channels and pixels of the cell, with signs: as many random
//! equations for the features' covariance as the encoder has channels, at the price of a few percent of a step. Random
//! projections keep second moments well enough with far fewer numbers than the covariance has (Achlioptas 2003).

use std::fmt;
use std::str::FromStr;

use candle_core::{Device, Tensor};
use prism_core::stream::{Purpose, StreamId};
use prism_core::{Error, serde_as_text};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::EncoderLayout;

/// Most cells a side that a grid may have.
const MAX_CELLS: usize = 256;

/// Most grids at once.
const MAX_GRIDS: usize = 8;

/// The grids over which sketches are taken: cells a side, each a power of two, in rising order. Written `1,2,4`, or `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grids(Vec<usize>);

impl Grids {
    /// Cells a side of each grid.
    pub fn cells(&self) -> &[usize] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

serde_as_text!(Grids);

impl FromStr for Grids {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "none" {
            return Ok(Grids::default());
        }
        let cells: Option<Vec<usize>> = text.split(',').map(|word| word.parse().ok()).collect();
        let cells = cells.unwrap_or_default();
        let rising = cells.windows(2).all(|pair| pair[0] < pair[1]);
        let whole = cells.iter().all(|side| side.is_power_of_two() && *side <= MAX_CELLS);
        if cells.is_empty() || cells.len() > MAX_GRIDS || !rising || !whole {
            return Err(Error::usage(format!(
                "grids of sketches '{text:.100}' are not at most {MAX_GRIDS} powers of two up to {MAX_CELLS} in rising order; write \
                 such as 1,2,4, or none"
            )));
        }
        Ok(Grids(cells))
    }
}

impl fmt::Display for Grids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.pad("none");
        }
        f.pad(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

/// The sketch of every convolution over one grid.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    cells: usize,
    /// One matrix a convolution, `[C, C]`: the signs of an output a row, over `sqrt(C)`.
    mixes: Vec<Tensor>,
}

impl Sketch {
    /// The sketch over `cells` cells a side of the convolutions of `layout`. Its signs are everybody's.
    pub(super) fn new(cells: usize, layout: &EncoderLayout, device: &Device) -> candle_core::Result<Self> {
        let mix = |(conv, (_, channels)): (usize, (usize, usize))| {
            let mut stream = StreamId::new(0, Purpose::Sketch).layer(conv as u64).index(cells as u64).open();
            let mut bits = vec![0; (channels * channels).div_ceil(8)];
            stream.fill(&mut bits);
            let size = 1.0 / libm::sqrt(channels as f64) as f32;
            let sign = |i: usize| if bits[i / 8] >> (i % 8) & 1 == 1 { size } else { -size };
            Tensor::from_vec((0..channels * channels).map(sign).collect(), (channels, channels), device)
        };
        let mixes = layout.convs().into_iter().enumerate().map(mix).collect::<candle_core::Result<_>>()?;
        Ok(Sketch { cells, mixes })
    }

    /// Cells a side into which a map of `side` pixels is divided: no smaller than a pixel.
    pub(crate) fn side(&self, side: usize) -> usize {
        self.cells.min(side)
    }

    /// The matrix of each convolution, `[C, C]`: the signs of one output a row, over `sqrt(C)`.
    pub(crate) fn mixes(&self) -> &[Tensor] {
        &self.mixes
    }

    /// The sketch of `features [B, C, H, W]` of convolution number `conv`: `[B, C, N, N]`.
    pub(super) fn of(&self, features: &Tensor, conv: usize) -> candle_core::Result<Tensor> {
        let (batch, channels, height, width) = features.dims4()?;
        let side = self.side(height);
        // Averages as a product, which every device computes fast, there and back.
        let shares = Tensor::from_vec(shares(height, width, side), (height * width, side * side), features.device())?;
        let cells = features.reshape((batch * channels, height * width))?.matmul(&shares)?;
        let mixed = self.mixes[conv].broadcast_matmul(&cells.reshape((batch, channels, side * side))?)?;
        mixed.reshape((batch, channels, side, side))
    }
}

/// What each pixel gives to each of `side` x `side` cells: `[height * width, side * side]`.
fn shares(height: usize, width: usize, side: usize) -> Vec<f32> {
    let (high, wide) = (height / side, width / side);
    let mut shares = vec![0.0; height * width * side * side];
    for (pixel, row) in shares.chunks_exact_mut(side * side).enumerate() {
        row[pixel / width / high * side + pixel % width / wide] = 1.0 / (high * wide) as f32;
    }
    shares
}

/// The digest of the encoder called `encoder`, with sketches over `grids`.
pub(super) fn digest(encoder: &str, grids: &Grids) -> String {
    super::weights::hex(Sha256::new().chain_update(format!("prism-sketch-v1\0{encoder}\0{grids}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_written_as_they_were_read() {
        for text in ["none", "4", "1,2,4", "1,256"] {
            assert_eq!(text.parse::<Grids>().unwrap().to_string(), text);
        }
        for text in ["", "0", "3", "2,1", "2,2", "512", "1,", "1,2,4,8,16,32,64,128,256", "x", "-1"] {
            let error = text.parse::<Grids>().unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("1,2,4"), "{text}: {error}");
        }
    }

    #[test]
    fn a_sketch_is_the_signed_sum_of_its_cells_means() {
        let layout: EncoderLayout = "3".parse().unwrap();
        let sketch = Sketch::new(2, &layout, &Device::Cpu).unwrap();
        let value = |image: usize, channel: usize, pixel: usize| ((image * 7 + channel * 5 + pixel * 3) % 11) as f32;
        let features = (0..2 * 3 * 16).map(|i| value(i / 48, i / 16 % 3, i % 16)).collect();
        let features = Tensor::from_vec(features, (2, 3, 4, 4), &Device::Cpu).unwrap();
        let found = sketch.of(&features, 0).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let signs = sketch.mixes[0].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(signs.iter().any(|x| *x > 0.0) && signs.iter().any(|x| *x < 0.0));
        assert!(signs.iter().all(|x| (x * x * 3.0 - 1.0).abs() < 1e-6));
        for (at, found) in found.into_iter().enumerate() {
            let (image, output, row, column) = (at / 12, at / 4 % 3, at / 2 % 2, at % 2);
            let pixels = [0, 1, 4, 5].map(|pixel| pixel + row * 8 + column * 2);
            let mean = |channel| pixels.iter().map(|&pixel| value(image, channel, pixel)).sum::<f32>() / 4.0;
            let expected: f32 = (0..3).map(|channel| signs[output * 3 + channel] * mean(channel)).sum();
            assert!((found - expected).abs() < 1e-5, "{at}: {found}, not {expected}");
        }
    }

    #[test]
    fn every_grid_and_convolution_has_signs_of_its_own() {
        let layout: EncoderLayout = "8,8".parse().unwrap();
        let signs = |cells, conv: usize| {
            let sketch = Sketch::new(cells, &layout, &Device::Cpu).unwrap();
            sketch.mixes[conv].flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(signs(1, 0), signs(1, 0));
        assert_ne!(signs(1, 0), signs(1, 1));
        assert_ne!(signs(1, 0), signs(2, 0));
    }
}
