//! Inception-v3 as FID uses it: the port of TensorFlow's 2015 network that pytorch-fid evaluates (Heusel et al. 2017,
//! Szegedy et al. 2016).
//!
//! ```text
//! images [B, 1 or 3, S, S] in [-1, 1] -> bilinear to 299x299 -> 5 convolutions, 2 pools -> 11 mixed blocks -> mean over pixels
//!                                                                                                   [B, 2048]
//! ```
//!
//! It differs from torchvision's Inception-v3: average pools leave the padding out of the mean, the last block pools by
//! maximum, and the weights are others. Only the layers up to the 2048 pooled features are here. Weights come from a local
//! file, the tensors of pytorch-fid's `pt_inception-2015-12-05-6726825d.pth` as safetensors; batch norms are folded.

mod blocks;
mod conv;
mod pools;
mod weights;

use std::path::Path;

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use blocks::{MixedBlock, Stem};
use weights::Weights;

/// Numbers that an image's features have.
pub const WIDTH: usize = 2048;

/// Side to which images are resized.
const SIDE: usize = 299;

/// Smallest side that every pool and stride can still halve.
const SMALLEST_SIDE: usize = 75;

/// The frozen network.
pub struct Inception {
    stem: Stem,
    blocks: Vec<(&'static str, MixedBlock)>,
    device: Device,
}

impl Inception {
    /// Opens the weights at `path`, a safetensors file.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if there is no such file, [`prism_core::Error::Corrupt`] if it does not hold the network.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        Self::from_weights(&Weights::open(path)?, device)
    }

    /// The network out of the bytes of a safetensors file that errors call `what`.
    ///
    /// # Errors
    /// [`prism_core::Error::Corrupt`] if the bytes do not hold the network.
    pub fn from_bytes(what: &str, bytes: &[u8], device: &Device) -> Result<Self> {
        Self::from_weights(&Weights::parse(what, bytes)?, device)
    }

    fn from_weights(weights: &Weights, device: &Device) -> Result<Self> {
        let stem = Stem::read(weights, device)?;
        let blocks = blocks::read(weights, device)?;
        Ok(Inception { stem, blocks, device: device.clone() })
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The pooled features `[B, 2048]` of `images [B, 1 or 3, S, S]` in [-1, 1]; grey images are three equal colours.
    ///
    /// # Errors
    /// If the computation fails.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let (_, channels, _, _) = images.dims4()?;
        let resized = pools::resize(images, SIDE)?;
        let x = if channels == 1 { resized.repeat((1, 3, 1, 1))? } else { resized };
        let mut last = None;
        self.visit(&x, &mut |_, x| last = Some(x.clone()))?;
        match last {
            Some(map) => Ok(map.mean((2, 3))?),
            None => Err(Error::corrupt("the Inception network", "it has no layer")),
        }
    }

    /// Calls `each` with the name and the output of every layer and block, for `x [B, 3, H, W]` in [-1, 1] as it is.
    ///
    /// # Errors
    /// If the images are too small for the pools, or the computation fails.
    pub fn visit(&self, x: &Tensor, each: &mut dyn FnMut(&str, &Tensor)) -> Result<()> {
        let (_, _, height, width) = x.dims4()?;
        if height.min(width) < SMALLEST_SIDE {
            return Err(Error::usage(format!(
                "images of {height}x{width} pixels are too small for Inception; resize them to at least {SMALLEST_SIDE}"
            )));
        }
        let mut x = self.stem.forward(x, each)?;
        for (name, block) in &self.blocks {
            x = block.forward(&x)?;
            each(name, &x);
        }
        Ok(())
    }
}
