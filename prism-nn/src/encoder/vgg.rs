//! VGG16 and VGG19 (Simonyan and Zisserman 2015) with ImageNet weights: 13 or 16 convolutions and 4 of 5 pools. VGG19 is the
//! paper's encoder.
//!
//! Reads safetensors files in the naming of torchvision and timm (`features.N`), with or without batch norms, which are folded
//! with their running statistics, and of Keras (`blockB_convI`). The classifier is not read.

use std::path::Path;

use candle_core::Device;

use super::tensors::{self, Tensors};
use super::weights::KERNEL;
use super::{ConvWeights, Encoder, EncoderLayer, EncoderLayout, Normalisation};
use crate::error::Result;

/// What torchvision and timm subtract from ImageNet's pixels, and divide by.
pub const IMAGENET: Normalisation = Normalisation { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };

/// What Keras subtracts from pixels from 0 to 255; it divides by nothing.
const KERAS: Normalisation =
    Normalisation { mean: [123.68 / 255.0, 116.779 / 255.0, 103.939 / 255.0], deviation: [1.0 / 255.0; 3] };

/// What both networks were trained on.
const TRAINING_SET: &str = "imagenet-1k";

/// Which of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vgg {
    /// With 13 convolutions.
    Vgg16,
    /// With 16 convolutions.
    Vgg19,
}

impl Vgg {
    /// The network called `name` where encoders are chosen.
    pub fn named(name: &str) -> Option<Self> {
        [Vgg::Vgg16, Vgg::Vgg19].into_iter().find(|vgg| vgg.name() == name)
    }

    /// Its name, as in `vgg16:PATH`.
    pub fn name(self) -> &'static str {
        match self {
            Vgg::Vgg16 => "vgg16",
            Vgg::Vgg19 => "vgg19",
        }
    }

    /// The convolutions and pools up to the last convolution; the pool after it has no features to compare.
    pub fn layout(self) -> EncoderLayout {
        let text = match self {
            Vgg::Vgg16 => "64,64,M,128,128,M,256,256,256,M,512,512,512,M,512,512,512",
            Vgg::Vgg19 => "64,64,M,128,128,M,256,256,256,256,M,512,512,512,512,M,512,512,512,512",
        };
        // A test parses both.
        text.parse().expect("a layout")
    }

    /// Opens `vgg16:PATH` or `vgg19:PATH`, a safetensors file of f32, f16 or bf16.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if there is no such file, [`prism_core::Error::Corrupt`] if it does not hold the network.
    pub fn open(self, path: &Path, device: &Device) -> Result<Encoder> {
        self.from_bytes(&format!("{} weights {}", self.name(), path.display()), &tensors::read(path)?, device)
    }

    /// Opens `vgg16` or `vgg19` without a path: timm's copy of torchvision's weights, from the Hugging Face hub.
    ///
    /// # Errors
    /// [`prism_core::Error::Io`] if the hub cannot be reached; without the feature `hub`, [`prism_core::Error::Usage`].
    #[cfg(feature = "hub")]
    pub fn fetch(self, device: &Device) -> Result<Encoder> {
        let name = self.name();
        self.open(&super::hub::fetch(&format!("timm/{name}.tv_in1k"), "model.safetensors", name)?, device)
    }

    /// Opens `vgg16` or `vgg19` without a path.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`], since this build has no way to fetch the weights.
    #[cfg(not(feature = "hub"))]
    pub fn fetch(self, _device: &Device) -> Result<Encoder> {
        let name = self.name();
        Err(crate::Error::usage(format!(
            "encoder '{name}' needs a weights file; write :PATH behind it, as in {name}:PATH, with a safetensors file in torchvision's, timm's or Keras' \
             naming (such as model.safetensors of timm/{name}.tv_in1k), build with --features hub to have it fetched, or choose \
             public"
        )))
    }

    /// The network out of the bytes of a safetensors file that errors call `what`.
    ///
    /// # Errors
    /// [`prism_core::Error::Corrupt`] if the bytes do not hold it.
    pub fn from_bytes(self, what: &str, bytes: &[u8], device: &Device) -> Result<Encoder> {
        let file = Tensors::parse(what, bytes)?;
        let layout = self.layout();
        if let Some(naming) = keras_naming(&file) {
            let weights = keras_convs(&file, &layout, naming)?;
            return Ok(
                Encoder::from_weights(self.name(), layout, &weights, Some(KERAS), device)?.trained_on(TRAINING_SET)
            );
        }
        // A batch norm between each convolution and its ReLU shifts the layers' numbers.
        let normed = file.has("features.1.running_mean");
        let name = if normed { format!("{}_bn", self.name()) } else { self.name().to_owned() };
        let convs = indices(&layout, normed).into_iter().zip(layout.convs());
        let weights =
            convs.map(|(index, shape)| torch_conv(&file, index, shape, normed)).collect::<Result<Vec<_>>>()?;
        Ok(Encoder::from_weights(name, layout, &weights, Some(IMAGENET), device)?.trained_on(TRAINING_SET))
    }
}

fn torch_conv(file: &Tensors<'_>, index: usize, shape: (usize, usize), normed: bool) -> Result<ConvWeights> {
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
        if matches!(step, EncoderLayer::Conv(_)) {
            indices.push(next);
            next += if normed { 3 } else { 2 };
        } else {
            next += 1;
        }
    }
    indices
}

/// How programs that convert Keras' files call the kernel and the bias of layer `{}`.
const KERAS_NAMINGS: [[&str; 2]; 4] = [
    ["{}.kernel", "{}.bias"],
    ["{}/kernel", "{}/bias"],
    ["{}/kernel:0", "{}/bias:0"],
    ["{}/{}/kernel:0", "{}/{}/bias:0"],
];

fn keras_naming(file: &Tensors<'_>) -> Option<[&'static str; 2]> {
    KERAS_NAMINGS.into_iter().find(|[kernel, _]| file.has(&kernel.replace("{}", "block1_conv1")))
}

/// Keras' convolutions: kernels `[3, 3, in, out]`, the first of which reads blue, green, red.
fn keras_convs(file: &Tensors<'_>, layout: &EncoderLayout, naming: [&str; 2]) -> Result<Vec<ConvWeights>> {
    let names = keras_layers(layout).into_iter().zip(layout.convs()).enumerate();
    let conv = |(index, (layer, (inputs, outputs))): (usize, (String, (usize, usize)))| {
        let [kernel, bias] = naming.map(|name| name.replace("{}", &layer));
        let values = file.floats(&kernel, &[KERNEL, KERNEL, inputs, outputs])?;
        let mut weight = vec![0.0; values.len()];
        for (position, taps) in values.chunks_exact(inputs * outputs).enumerate() {
            for (input, row) in taps.chunks_exact(outputs).enumerate() {
                let input = if index == 0 { inputs - 1 - input } else { input };
                for (output, &value) in row.iter().enumerate() {
                    weight[(output * inputs + input) * KERNEL * KERNEL + position] = value;
                }
            }
        }
        Ok(ConvWeights { inputs, outputs, weight, bias: file.floats(&bias, &[outputs])? })
    };
    names.map(conv).collect()
}

/// `block1_conv1`, `block1_conv2`, `block2_conv1`, ...
fn keras_layers(layout: &EncoderLayout) -> Vec<String> {
    let (mut block, mut conv) = (1, 0);
    let mut names = Vec::new();
    for step in layout.layers() {
        if matches!(step, EncoderLayer::Conv(_)) {
            conv += 1;
            names.push(format!("block{block}_conv{conv}"));
        } else {
            (block, conv) = (block + 1, 0);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_numbered_as_in_torchvision() {
        let layout = Vgg::Vgg19.layout();
        assert_eq!(indices(&layout, false), [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]);
        assert_eq!(indices(&layout, true), [0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49]);
        assert_eq!(indices(&Vgg::Vgg16.layout(), false), [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]);
    }

    #[test]
    fn layers_are_named_as_in_keras() {
        let names = keras_layers(&Vgg::Vgg16.layout());
        assert_eq!((names.len(), names[2].as_str(), names[12].as_str()), (13, "block2_conv1", "block5_conv3"));
    }

    #[test]
    fn a_missing_path_or_file_says_what_to_give() {
        let mut refused = vec![Encoder::open("vgg16:/no/such/file", &Device::Cpu).unwrap_err()];
        if cfg!(not(feature = "hub")) {
            refused.push(Encoder::open("vgg19", &Device::Cpu).unwrap_err());
        }
        for error in refused {
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("safetensors file"), "{error}");
        }
    }
}
