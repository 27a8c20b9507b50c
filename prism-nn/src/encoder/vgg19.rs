//! VGG19 (Simonyan and Zisserman 2015) with ImageNet weights, the paper's encoder: 16 convolutions, 4 of 5 pools.
//!
//! Reads torchvision's `vgg19` and `vgg19_bn` and timm's, all of which call their layers `features.N`; the classifier is
//! not read. Batch norms are folded with their running statistics.

use std::path::Path;

use candle_core::Device;

use super::tensors::{self, Tensors};
use super::{ConvWeights, Encoder, EncoderLayout, Normalisation};
use crate::error::Result;

/// The convolutions and pools up to the last convolution; the pool after it has no features to compare.
pub const LAYOUT: &str = "64,64,M,128,128,M,256,256,256,256,M,512,512,512,512,M,512,512,512,512";

/// What torchvision and timm subtract from ImageNet's pixels, and divide by.
pub const IMAGENET: Normalisation = Normalisation { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };

/// Opens `vgg19:PATH`, a safetensors file in torchvision's or timm's naming; f32, f16 or bf16.
///
/// # Errors
/// [`prism_core::Error::Usage`] if there is no such file, [`prism_core::Error::Corrupt`] if it does not hold VGG19.
pub fn open(path: &Path, device: &Device) -> Result<Encoder> {
    from_bytes(&format!("VGG19 weights {}", path.display()), &tensors::read(path)?, device)
}

/// Opens `vgg19` without a path: timm's copy of torchvision's weights, from the Hugging Face hub.
///
/// # Errors
/// [`prism_core::Error::Io`] if the hub cannot be reached; without the feature `hub`, [`prism_core::Error::Usage`].
#[cfg(feature = "hub")]
pub fn fetch(device: &Device) -> Result<Encoder> {
    open(&super::hub::fetch("timm/vgg19.tv_in1k", "model.safetensors")?, device)
}

/// Opens `vgg19` without a path.
///
/// # Errors
/// [`prism_core::Error::Usage`], since this build has no way to fetch the weights.
#[cfg(not(feature = "hub"))]
pub fn fetch(_device: &Device) -> Result<Encoder> {
    Err(crate::Error::usage(
        "encoder 'vgg19' needs a weights file; write vgg19:PATH with a safetensors file in torchvision's or timm's naming \
         (such as model.safetensors of timm/vgg19.tv_in1k), build with --features hub to have it fetched, or choose public",
    ))
}

/// VGG19 out of the bytes of a safetensors file that errors call `what`.
///
/// # Errors
/// [`prism_core::Error::Corrupt`] if the bytes do not hold VGG19.
pub fn from_bytes(what: &str, bytes: &[u8], device: &Device) -> Result<Encoder> {
    let file = Tensors::parse(what, bytes)?;
    let layout: EncoderLayout = LAYOUT.parse()?;
    // In `vgg19_bn` a batch norm comes between each convolution and its ReLU, which shifts the layers' numbers.
    let normed = file.has("features.1.running_mean");
    let mut weights = Vec::new();
    for (index, shape) in indices(&layout, normed).into_iter().zip(layout.convs()) {
        weights.push(read_conv(&file, index, shape, normed)?);
    }
    Encoder::from_weights(if normed { "vgg19_bn" } else { "vgg19" }, layout, &weights, Some(IMAGENET), device)
}

fn read_conv(file: &Tensors<'_>, index: usize, shape: (usize, usize), normed: bool) -> Result<ConvWeights> {
    let conv = file.conv(&format!("features.{index}"), shape)?;
    if !normed {
        return Ok(conv);
    }
    Ok(conv.folded(&file.norm(&format!("features.{}", index + 1), shape.1)?))
}

/// The number N of `features.N` of each convolution: a convolution, its norm, its ReLU and a pool each count as one.
fn indices(layout: &EncoderLayout, normed: bool) -> Vec<usize> {
    let mut next = 0;
    let mut indices = Vec::new();
    for step in layout.layers() {
        if matches!(step, super::EncoderLayer::Conv(_)) {
            indices.push(next);
            next += if normed { 3 } else { 2 };
        } else {
            next += 1;
        }
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_numbered_as_in_torchvision() {
        let layout: EncoderLayout = LAYOUT.parse().unwrap();
        assert_eq!(indices(&layout, false), [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]);
        assert_eq!(indices(&layout, true), [0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49]);
    }

    #[test]
    fn a_missing_path_or_file_says_what_to_give() {
        let mut refused = vec![Encoder::open("vgg19:/no/such/file", &Device::Cpu).unwrap_err()];
        if cfg!(not(feature = "hub")) {
            refused.push(Encoder::open("vgg19", &Device::Cpu).unwrap_err());
        }
        for error in refused {
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("safetensors file"), "{error}");
        }
    }
}
