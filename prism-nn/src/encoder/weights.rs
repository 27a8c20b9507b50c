//! An encoder's weights in main memory: checked, folded, hashed, then frozen on a device.

use std::fmt::Write as _;

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

use super::{EncoderLayout, Normalisation};
use crate::error::{Error, Result};
use crate::ops::FrozenConv;

/// Side of every encoder convolution.
pub const KERNEL: usize = 3;

/// One 3x3 convolution with bias.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvWeights {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// `[outputs, inputs, 3, 3]`, row-major.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

/// A trained batch norm, one value a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Factor on the normalised value.
    pub scale: Vec<f32>,
    /// Added after the factor.
    pub shift: Vec<f32>,
    /// Running mean.
    pub mean: Vec<f32>,
    /// Running variance.
    pub variance: Vec<f32>,
    /// Added to the variance before its root.
    pub epsilon: f64,
}

impl ConvWeights {
    /// The convolution that computes `norm(self(x))`, computed in `f64`; its kernel may have any shape.
    #[must_use]
    pub fn folded(&self, norm: &BatchNorm) -> Self {
        let mut folded = self.clone();
        let filters = folded.weight.chunks_exact_mut(self.weight.len() / self.outputs);
        for (channel, (filter, bias)) in filters.zip(&mut folded.bias).enumerate() {
            let root = libm::sqrt(f64::from(norm.variance[channel]) + norm.epsilon);
            let factor = f64::from(norm.scale[channel]) / root;
            filter.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
            let centred = f64::from(*bias) - f64::from(norm.mean[channel]);
            *bias = (centred * factor + f64::from(norm.shift[channel])) as f32;
        }
        folded
    }

    /// The constant convolution on `device`.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn freeze(&self, device: &Device) -> Result<FrozenConv> {
        let weight = Tensor::from_slice(&self.weight, (self.outputs, self.inputs, KERNEL, KERNEL), device)?;
        let bias = Tensor::from_slice(&self.bias, self.outputs, device)?;
        Ok(FrozenConv::new(&weight, &bias)?)
    }
}

/// Refuses weights that do not fit `layout` or are not finite.
pub(super) fn check(name: &str, layout: &EncoderLayout, weights: &[ConvWeights]) -> Result<()> {
    let refuse = |why: String| Err(Error::corrupt(format!("encoder {name}"), why));
    let convs = layout.convs();
    if convs.len() != weights.len() {
        return refuse(format!("it has {} convolutions where layout {layout} has {}", weights.len(), convs.len()));
    }
    for (index, (conv, (inputs, outputs))) in weights.iter().zip(convs).enumerate() {
        let sizes = (conv.inputs, conv.outputs, conv.weight.len(), conv.bias.len());
        if sizes != (inputs, outputs, outputs * inputs * KERNEL * KERNEL, outputs) {
            return refuse(format!(
                "convolution {index} has (inputs, outputs, weights, biases) {sizes:?} where layout {layout} asks for \
                 {inputs} inputs and {outputs} outputs"
            ));
        }
        if !conv.weight.iter().chain(&conv.bias).all(|value| value.is_finite()) {
            return refuse(format!("convolution {index} has a weight that is infinite or not a number"));
        }
    }
    Ok(())
}

/// Hexadecimal SHA-256 of everything that the features depend on.
pub(super) fn digest(layout: &EncoderLayout, weights: &[ConvWeights], normalisation: Option<&Normalisation>) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("prism-encoder-v1\0{layout}\0"));
    let mut add = |values: &[f32]| values.iter().for_each(|value| hash.update(value.to_le_bytes()));
    for conv in weights {
        add(&conv.weight);
        add(&conv.bias);
    }
    if let Some(Normalisation { mean, deviation }) = normalisation {
        add(mean);
        add(deviation);
    }
    hex(hash)
}

/// What was hashed, as hexadecimal digits.
pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv() -> ConvWeights {
        let weight = (0..2 * 3 * 9).map(|i| i as f32 / 10.0 - 2.0).collect();
        ConvWeights { inputs: 3, outputs: 2, weight, bias: vec![0.5, -1.0] }
    }

    #[test]
    fn folding_is_the_norm_after_the_convolution() {
        let norm = BatchNorm {
            scale: vec![2.0, -1.0],
            shift: vec![0.25, 3.0],
            mean: vec![1.0, -0.5],
            variance: vec![4.0, 0.25],
            epsilon: 1e-5,
        };
        let (plain, folded) = (conv(), conv().folded(&norm));
        let x: Vec<f32> = (0..27).map(|i| (i % 5) as f32 - 1.0).collect();
        for channel in 0..2 {
            let at = |conv: &ConvWeights| {
                let filter = &conv.weight[channel * 27..][..27];
                filter.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>() + conv.bias[channel]
            };
            let root = (norm.variance[channel] + 1e-5).sqrt();
            let expected = (at(&plain) - norm.mean[channel]) / root * norm.scale[channel] + norm.shift[channel];
            assert!((at(&folded) - expected).abs() < 1e-4, "{} {expected}", at(&folded));
        }
    }

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        let layout: EncoderLayout = "2".parse().unwrap();
        assert!(check("test", &layout, &[conv()]).is_ok());
        let mut short = conv();
        short.weight.pop();
        let mut broken = conv();
        broken.bias[1] = f32::NAN;
        for weights in [vec![], vec![short], vec![broken], vec![ConvWeights { inputs: 2, ..conv() }]] {
            assert!(check("test", &layout, &weights).is_err());
        }
    }

    #[test]
    fn the_digest_depends_on_every_part() {
        let layout: EncoderLayout = "2".parse().unwrap();
        let base = digest(&layout, &[conv()], None);
        let mut other = conv();
        other.bias[1] = -1.5;
        assert_eq!(base, digest(&layout, &[conv()], None));
        assert_ne!(base, digest(&layout, &[other], None));
        assert_ne!(base, digest(&"2,M".parse().unwrap(), &[conv()], None));
        let normalisation = Normalisation { mean: [0.5; 3], deviation: [0.5; 3] };
        assert_ne!(base, digest(&layout, &[conv()], Some(&normalisation)));
    }
}
