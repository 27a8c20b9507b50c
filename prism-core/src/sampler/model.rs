//! What a sampler needs to know about a generator, checked once.

use crate::arch::{Architecture, Layer};
use crate::error::{Error, Result};
use crate::frozen::sign_bytes;
use crate::mask::{LayerBits, Mask, to_bytes};
use crate::prelude::*;

/// One batch norm after training, folded to `y = scale * x + shift`, channel by channel.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedNorm {
    /// One factor per channel.
    pub scale: Vec<f32>,
    /// One summand per channel.
    pub shift: Vec<f32>,
}

/// A generator: its shape, the seed of its frozen weights, which of them are kept, and its folded norms.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    arch: &'a Architecture,
    seed: u64,
    mask: &'a Mask,
    norms: &'a [FoldedNorm],
}

impl<'a> Model<'a> {
    /// Checks that `mask` and `norms` have the shapes of `arch`.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what does not fit.
    pub fn new(arch: &'a Architecture, seed: u64, mask: &'a Mask, norms: &'a [FoldedNorm]) -> Result<Self> {
        arch.validate()?;
        if !mask.fits(arch) {
            return Err(Error::usage(format!(
                "a mask of {} bits does not fit an architecture of {} weights",
                mask.len(),
                arch.weights()
            )));
        }
        check_norms(arch, norms).map_err(Error::Usage)?;
        Ok(Model { arch, seed, mask, norms })
    }

    /// A model of parts that are known to fit.
    pub(crate) fn of_checked_parts(arch: &'a Architecture, seed: u64, mask: &'a Mask, norms: &'a [FoldedNorm]) -> Self {
        Model { arch, seed, mask, norms }
    }

    /// The generator's shape.
    pub fn arch(&self) -> &'a Architecture {
        self.arch
    }

    /// The seed of its frozen weights.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Its folded norms, in the order of [`Architecture::norms`].
    pub fn norms(&self) -> &'a [FoldedNorm] {
        self.norms
    }

    /// The mask of layer `index`.
    pub(super) fn mask_of(&self, index: usize) -> &'a LayerBits {
        &self.mask.layers()[index]
    }

    /// The weights of layer `index` in units of its sigma: -1, 0 or 1, in the order of [`Layer::shape`].
    pub(super) fn weights(&self, index: usize, layer: &Layer) -> Vec<i8> {
        let (signs, kept) = (sign_bytes(self.seed, index, layer.weights()), to_bytes(&self.mask.layers()[index]));
        let bit = |bytes: &[u8], i: usize| (bytes[i / 8] >> (i % 8) & 1) as i8;
        (0..layer.weights()).map(|i| bit(&kept, i) * (2 * bit(&signs, i) - 1)).collect()
    }
}

/// Says which norm has the wrong number of channels or holds something that is no finite number.
pub(crate) fn check_norms(arch: &Architecture, norms: &[FoldedNorm]) -> core::result::Result<(), String> {
    let wanted = arch.norms();
    if wanted.len() != norms.len() {
        return Err(format!("there are {} norms; this architecture has {}", norms.len(), wanted.len()));
    }
    for (wanted, norm) in wanted.iter().zip(norms) {
        for (what, values) in [("scale", &norm.scale), ("shift", &norm.shift)] {
            let name = &wanted.name;
            if values.len() != wanted.channels {
                return Err(format!("the {what} of norm {name} has {} values, not {}", values.len(), wanted.channels));
            }
            if let Some(channel) = values.iter().position(|v| !v.is_finite()) {
                return Err(format!("the {what} of norm {name} is {} in channel {channel}", values[channel]));
            }
        }
    }
    Ok(())
}
