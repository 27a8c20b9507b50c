//! Pixels themselves as features, before an encoder's own: what its first convolutions see only together.
//!
//! ```text
//! of each colour x in [-1, 1]:   x + 1,   5 relu(x - 0.8),   5 relu(-0.8 - x),   relu(l),   relu(-l)
//!                                l = 2 x - (its four neighbours' sum) / 2
//! and once:                      1
//! ```
//!
//! x + 1 says which colours are where, the two after it how many pixels are nearly white or black, the last two how sharp edges
//! are. Without them a generator can saturate whole patches and cross-hatch others at little loss, which people see at once.
//!
//! They are a convolution of 16 outputs like any other. The encoder's own first one reads x + 1 and 1 in place of colours, so that
//! its features are what they were: pixels beyond the border are 0 in both, as they were in normalised colours.

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

use super::layout::INPUTS;
use super::weights::{self, KERNEL};
use super::{ConvWeights, Encoder, EncoderLayout};
use crate::error::Result;
use crate::ops::FrozenConv;

/// What stands before the name of an encoder behind these features.
pub const PREFIX: &str = "pixels+";

/// Features of a pixel: five of each colour, and a constant.
pub const FEATURES: usize = 5 * INPUTS + 1;

/// Where the constant stands, behind the colours.
const CONSTANT: usize = INPUTS;

/// How near to the limits a colour is saturated, and what its distance from there counts.
const SATURATED: (f32, f32) = (0.8, 5.0);

const TAPS: usize = KERNEL * KERNEL;
const CENTRE: usize = TAPS / 2;

impl Encoder {
    /// The same encoder, which has no sketches yet, whose outputs begin with the features of pixels.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if it already has as many layers as an encoder may have; if its weights cannot be read.
    pub(super) fn with_pixels(self, device: &Device) -> Result<Self> {
        let layout = format!("{FEATURES},{}", self.layout).parse::<EncoderLayout>()?;
        let own = self.convs.iter().map(weights_of).collect::<candle_core::Result<Vec<_>>>()?;
        let [scale, shift] = match &self.normalisation {
            None => [[1.0; INPUTS], [0.0; INPUTS]],
            Some((scale, shift)) => [colours(scale)?, colours(shift)?],
        };
        let mut convs = vec![pixel_conv()];
        convs.extend(own.iter().take(1).map(|first| reading_pixels(first, scale, shift)));
        convs.extend(own.into_iter().skip(1));
        let mut encoder = Encoder::from_weights(format!("{PREFIX}{}", self.name), layout, &convs, None, device)?;
        // Of the parts, as they were read: the same wherever the rewritten weights are rounded.
        encoder.digest =
            weights::hex(Sha256::new().chain_update("prism-encoder-pixels-v1\0").chain_update(&self.digest));
        encoder.training_set = self.training_set;
        Ok(encoder)
    }
}

/// The convolution whose outputs after their ReLU are the features above.
fn pixel_conv() -> ConvWeights {
    let (mut weight, mut bias) = (vec![0.0; FEATURES * INPUTS * TAPS], vec![0.0; FEATURES]);
    let (from, factor) = SATURATED;
    bias[CONSTANT] = 1.0;
    for colour in 0..INPUTS {
        let [plain, bright, dark, rising, falling] = [colour, 4 + colour, 7 + colour, 10 + colour, 13 + colour]
            .map(|feature| (feature * INPUTS + colour) * TAPS);
        weight[plain + CENTRE] = 1.0;
        bias[colour] = 1.0;
        weight[bright + CENTRE] = factor;
        weight[dark + CENTRE] = -factor;
        [4 + colour, 7 + colour].iter().for_each(|&feature| bias[feature] = -factor * from);
        for (at, sign) in [(rising, 1.0), (falling, -1.0)] {
            weight[at + CENTRE] = 2.0 * sign;
            [1, 3, 5, 7].iter().for_each(|tap| weight[at + tap] = -0.5 * sign);
        }
    }
    ConvWeights { inputs: INPUTS, outputs: FEATURES, weight, bias }
}

/// The convolution that computes of pixel features what `first` computes of colours times `scale` plus `shift`.
fn reading_pixels(first: &ConvWeights, scale: [f32; INPUTS], shift: [f32; INPUTS]) -> ConvWeights {
    let mut weight = vec![0.0; first.outputs * FEATURES * TAPS];
    for (filter, old) in weight.chunks_exact_mut(FEATURES * TAPS).zip(first.weight.chunks_exact(INPUTS * TAPS)) {
        for (tap, &value) in old.iter().enumerate() {
            let (colour, tap) = (tap / TAPS, tap % TAPS);
            filter[colour * TAPS + tap] = scale[colour] * value;
            // scale x + shift = scale (x + 1) + (shift - scale) 1
            filter[CONSTANT * TAPS + tap] += (shift[colour] - scale[colour]) * value;
        }
    }
    ConvWeights { inputs: FEATURES, outputs: first.outputs, weight, bias: first.bias.clone() }
}

fn weights_of(conv: &FrozenConv) -> candle_core::Result<ConvWeights> {
    let (outputs, inputs, ..) = conv.weight().dims4()?;
    let weight = conv.weight().flatten_all()?.to_vec1()?;
    Ok(ConvWeights { inputs, outputs, weight, bias: conv.bias().to_vec1()? })
}

/// The number of each colour.
fn colours(values: &Tensor) -> candle_core::Result<[f32; INPUTS]> {
    let values = values.flatten_all()?.to_vec1::<f32>()?;
    Ok(std::array::from_fn(|colour| values[colour]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::random::kaiming;
    use crate::encoder::vgg::IMAGENET;

    const SIDE: usize = 8;

    fn images() -> (Vec<f32>, Tensor) {
        let pixels: Vec<f32> = (0..2 * 3 * SIDE * SIDE).map(|i| (i * i % 41) as f32 / 20.0 - 1.0).collect();
        (pixels.clone(), Tensor::from_vec(pixels, (2, 3, SIDE, SIDE), &Device::Cpu).unwrap())
    }

    fn largest(values: &Tensor) -> f32 {
        values.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn an_encoders_own_features_stay_what_they_were() {
        let layout: EncoderLayout = "6,M,5".parse().unwrap();
        for normalisation in [None, Some(IMAGENET)] {
            let plain = Encoder::from_weights("own", layout.clone(), &kaiming(&layout, 3), normalisation, &Device::Cpu);
            let plain = plain.unwrap().trained_on("some");
            let both = plain.clone().with_pixels(&Device::Cpu).unwrap();
            assert_eq!((both.name(), both.training_set()), ("pixels+own", Some("some")));
            assert_ne!(both.digest(), plain.digest());
            let (of_plain, of_both) = (plain.forward(&images().1).unwrap(), both.forward(&images().1).unwrap());
            assert_eq!(of_both.len(), 3);
            for (own, same) in of_plain.iter().zip(&of_both[1..]) {
                let apart = largest(&(own - same).unwrap());
                assert!(apart < 1e-5 * largest(own), "{normalisation:?}: {apart} of {}", largest(own));
            }
        }
    }

    #[test]
    fn the_first_features_are_those_of_the_formula() {
        let encoder = Encoder::open("pixels+random:1", &Device::Cpu).unwrap();
        let (pixels, images) = images();
        let features = encoder.forward(&images).unwrap()[0].get(1).unwrap().to_vec3::<f32>().unwrap();
        let at = |colour: usize, y: isize, x: isize| match (0..SIDE as isize).contains(&y)
            && (0..SIDE as isize).contains(&x)
        {
            true => pixels[((3 + colour) * SIDE + y as usize) * SIDE + x as usize],
            false => 0.0,
        };
        for (y, x) in [(0, 0), (3, 4), (7, 2)] {
            for colour in 0..3 {
                let value = at(colour, y, x);
                let around: f32 =
                    [(-1, 0), (1, 0), (0, -1), (0, 1)].iter().map(|(dy, dx)| at(colour, y + dy, x + dx)).sum();
                let edge = 2.0 * value - around / 2.0;
                let expected =
                    [value + 1.0, 5.0 * (value - 0.8), 5.0 * (-0.8 - value), edge, -edge].map(|v| v.max(0.0));
                let found = [colour, 4 + colour, 7 + colour, 10 + colour, 13 + colour]
                    .map(|feature| features[feature][y as usize][x as usize]);
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-5, "{colour} at {y}, {x}: {found} {expected}");
                }
            }
            assert_eq!(features[CONSTANT][y as usize][x as usize], 1.0);
        }
    }

    #[test]
    fn pixels_come_once_and_before_an_encoder() {
        for spec in ["pixels", "pixels+", "pixels+pixels+random:1", "pixels+nothing"] {
            let error = Encoder::open(spec, &Device::Cpu).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("is unknown"), "{spec}: {error}");
        }
    }
}
