//! The encoder that this program carries: trained on CIFAR-10, a public set, never on a client's images.
//!
//! `prism-nn/weights/README.md` is its card, with the command that made it.

use candle_core::Device;

use super::Encoder;
use super::file::{self, Card};
use crate::error::Result;

/// The weights file, as the encoder training command wrote it.
pub const BYTES: &[u8] = include_bytes!("../../weights/public-encoder.safetensors");

/// Opens `public`.
///
/// # Errors
/// If the device has no room.
pub fn open(device: &Device) -> Result<Encoder> {
    Ok(read(device)?.0)
}

/// The embedded encoder and where its weights come from.
///
/// # Errors
/// If the device has no room.
pub fn read(device: &Device) -> Result<(Encoder, Card)> {
    file::from_bytes("public", "the embedded encoder", BYTES, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::random;
    use candle_core::Tensor;

    #[test]
    fn the_embedded_file_is_small_and_says_where_it_comes_from() {
        assert!(BYTES.len() <= 2 << 20, "{} bytes", BYTES.len());
        let (encoder, card) = read(&Device::Cpu).unwrap();
        assert_eq!(encoder.to_string(), "public");
        assert_eq!(card.layout, random::LAYOUT);
        assert_eq!((card.dataset.as_str(), card.images), ("cifar10", 50_000));
        assert!(card.test_accuracy.unwrap() > 0.8, "{card:?}");
    }

    #[test]
    fn the_card_in_the_folder_is_that_of_the_file() {
        let text = include_str!("../../weights/README.md");
        let (encoder, card) = read(&Device::Cpu).unwrap();
        assert!(text.contains(encoder.digest()), "the card lacks the digest {}", encoder.digest());
        let accuracy = format!("{:.2}%", 100.0 * card.test_accuracy.unwrap());
        assert!(text.contains(&accuracy), "the card lacks the accuracy {accuracy}");
        assert!(text.contains(&format!("--epochs {} --seed {}", card.epochs, card.seed)));
    }

    #[test]
    fn features_neither_vanish_nor_explode() {
        let encoder = open(&Device::Cpu).unwrap();
        let pixels = (0..2 * 3 * 32 * 32).map(|i| ((i * 7919 % 1009) as f32 / 504.5) - 1.0).collect();
        let images = Tensor::from_vec(pixels, (2, 3, 32, 32), &Device::Cpu).unwrap();
        for feature in encoder.forward(&images).unwrap() {
            let mean = feature.mean_all().unwrap().to_scalar::<f32>().unwrap();
            assert!((1e-3..10.0).contains(&mean), "{mean}");
        }
    }
}
