//! An encoder's forward pass against its composition of candle's operations; the same bits in any company and at any number of
//! threads; sums of features.

mod support;

use candle_core::{Device, Tensor};
use prism_nn::encoder::{ConvWeights, Encoder, EncoderLayout, FeatureSums, Normalisation, random};
use proptest::prelude::*;
use support::{check_threads, distance, random as numbers, values};

/// Random weights and biases, a normalisation, and sketches over `grids`.
fn encoder(layout: &str, grids: &str) -> Encoder {
    let layout: EncoderLayout = layout.parse().unwrap();
    let mut weights: Vec<ConvWeights> = random::kaiming(&layout, 3);
    for (number, conv) in weights.iter_mut().enumerate() {
        conv.bias = values(&numbers(&[conv.outputs], number as u64)).iter().map(|b| 0.1 * b).collect();
    }
    let normalisation = Normalisation { mean: [0.4, 0.5, 0.6], deviation: [0.2, 0.3, 0.4] };
    let encoder = Encoder::from_weights("test", layout, &weights, Some(normalisation), &Device::Cpu).unwrap();
    encoder.with_sketches(&grids.parse().unwrap(), &Device::Cpu).unwrap()
}

fn images(batch: usize, channels: usize, height: usize, width: usize) -> Tensor {
    numbers(&[batch, channels, height, width], 8).tanh().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn features_are_those_of_the_composition(
        layout in prop::sample::select(vec!["5", "M,19,3", "3,M,40,17,M,8", "16,M,M,33,M", "8,8,8"]),
        grids in prop::sample::select(vec!["none", "1", "1,2"]),
        batch in 1usize..4, grey: bool, half in 4usize..9, more in 0usize..3,
    ) {
        let encoder = encoder(layout, grids);
        // Sketches divide maps into cells of one size.
        let (height, width) = if grids == "none" { (2 * half + more, 16) } else { (16, 16) };
        let images = images(batch, if grey { 1 } else { 3 }, height, width);
        let (found, expected) = (encoder.forward(&images).unwrap(), encoder.composed(&images).unwrap());
        prop_assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let error = distance(found, expected);
            prop_assert!(error < 1e-4, "{layout}: {error}");
        }
        let last = encoder.last(&images).unwrap();
        prop_assert_eq!(values(&last), values(&found[encoder.layout().convs().len() - 1]));
    }
}

/// More images than pass at once through the first blocks, and not a multiple of them.
#[test]
fn an_image_is_encoded_alike_in_any_company() {
    let (encoder, count) = (encoder("32,32,M,40,M,64,M,64,M,16", "1,2"), 131);
    let all = images(count, 3, 32, 32);
    let together = encoder.forward(&all).unwrap();
    for image in [0, 63, 64, 65, 130] {
        let alone = encoder.forward(&all.narrow(0, image, 1).unwrap()).unwrap();
        for (together, alone) in together.iter().zip(&alone) {
            assert_eq!(values(&together.narrow(0, image, 1).unwrap()), values(alone), "image {image}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (encoder, images) = (encoder("19,M,33,M,8", "1,4"), images(9, 1, 16, 16));
    check_threads(|| encoder.forward(&images).unwrap());
}

#[test]
fn sums_are_those_of_the_images_asked_for_in_their_order() {
    let (encoder, images) = (encoder("19,M,33", "2"), images(7, 3, 8, 8));
    let features = encoder.forward(&images).unwrap();
    let mut sums = vec![[FeatureSums::default(), FeatureSums::default()]; features.len()];
    let parts = [0..3, 2..7];
    encoder
        .visit(&images, |features| {
            let sums = sums[features.output].iter_mut();
            sums.zip(&parts).for_each(|(sums, part)| sums.add(&features, part.clone()));
            Ok(())
        })
        .unwrap();
    for (features, sums) in features.iter().zip(&sums) {
        let rows = features.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
        for (sums, part) in sums.iter().zip(&parts) {
            assert_eq!(sums.images(), part.len() as u64);
            let pairs = sums.pairs();
            assert_eq!(pairs.len(), rows[0].len());
            for (feature, pair) in pairs.iter().enumerate() {
                let expected = rows[part.clone()].iter().fold((0.0, 0.0), |(sum, square), row| {
                    let x = f64::from(row[feature]);
                    (sum + x, square + x * x)
                });
                assert_eq!(*pair, expected);
            }
        }
    }
}

#[test]
fn images_of_two_channels_are_refused() {
    let message = encoder("4", "none").forward(&images(1, 2, 8, 8)).unwrap_err().to_string();
    assert!(message.contains("2 channels"), "{message}");
}
