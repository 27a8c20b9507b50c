//! The encoder that learned nothing: Kaiming normal weights of a seed, the honest lower bound.

use candle_core::Device;
use prism_core::stream::{Purpose, StreamId};

use super::weights::KERNEL;
use super::{ConvWeights, Encoder, EncoderLayout};
use crate::error::{Error, Result};

/// The layout of the random encoder and of the public one.
pub const LAYOUT: &str = "32,32,M,64,64,M,128,128,M,256";

/// Opens `random:SEED`.
///
/// # Errors
/// [`prism_core::Error::Usage`] if `seed` is no number.
pub fn open(seed: &str, device: &Device) -> Result<Encoder> {
    let number: u64 = seed.parse().map_err(|_| {
        Error::usage(format!("encoder 'random:{seed}' has no seed; write random:SEED with a number, such as random:7"))
    })?;
    let layout: EncoderLayout = LAYOUT.parse()?;
    Encoder::from_weights(format!("random:{number}"), layout.clone(), &kaiming(&layout, number), None, device)
}

/// Weights drawn from `N(0, 2 / fan_in)` out of the stream `encoder-weight` of each layer, and zero biases (He et al. 2015).
pub fn kaiming(layout: &EncoderLayout, seed: u64) -> Vec<ConvWeights> {
    let convs = layout.convs().into_iter().enumerate();
    let draw = |(index, (inputs, outputs)): (usize, (usize, usize))| {
        let deviation = libm::sqrt(2.0 / (inputs * KERNEL * KERNEL) as f64);
        let mut stream = StreamId::new(seed, Purpose::EncoderWeight).layer(index as u64).open();
        let weights = outputs * inputs * KERNEL * KERNEL;
        let weight = (0..weights).map(|_| (stream.normal() * deviation) as f32).collect();
        ConvWeights { inputs, outputs, weight, bias: vec![0.0; outputs] }
    };
    convs.map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_one_encoder() {
        let open = |seed: &str| open(seed, &Device::Cpu).unwrap();
        assert_eq!(open("7").digest(), open("7").digest());
        assert_ne!(open("7").digest(), open("8").digest());
        assert_eq!(open("7").to_string(), "random:7");
    }

    #[test]
    fn weights_keep_the_scale_of_their_inputs() {
        let weights = kaiming(&LAYOUT.parse().unwrap(), 1);
        let last = &weights[6];
        let variance = last.weight.iter().map(|w| f64::from(w * w)).sum::<f64>() / last.weight.len() as f64;
        assert!((variance * 128.0 * 9.0 / 2.0 - 1.0).abs() < 0.02, "{variance}");
    }

    #[test]
    fn a_seed_must_be_a_number() {
        assert!(open("x", &Device::Cpu).unwrap_err().to_string().contains("random:7"));
    }
}
