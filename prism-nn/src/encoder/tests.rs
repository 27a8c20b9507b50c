use super::*;
use candle_core::Var;

fn images(channels: usize, size: usize) -> Tensor {
    let values = (0..2 * channels * size * size).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
    Tensor::from_vec(values, (2, channels, size, size), &Device::Cpu).unwrap()
}

#[test]
fn features_are_every_convolution_after_its_relu() {
    let encoder = Encoder::open("random:7", &Device::Cpu).unwrap();
    let features = encoder.forward(&images(3, 16)).unwrap();
    let shapes = encoder.feature_shapes(16).unwrap();
    assert_eq!(features.len(), 7);
    for (feature, [channels, height, width]) in features.iter().zip(shapes) {
        assert_eq!(feature.dims(), [2, channels, height, width]);
        assert!(feature.min_all().unwrap().to_scalar::<f32>().unwrap() >= 0.0);
    }
    assert_eq!(features[6].dims(), [2, 256, 2, 2]);
}

#[test]
fn an_image_is_encoded_alike_in_any_batch() {
    let encoder = Encoder::open("random:7", &Device::Cpu).unwrap();
    let both = images(3, 16);
    let whole = encoder.forward(&both).unwrap();
    let alone = encoder.forward(&both.narrow(0, 1, 1).unwrap()).unwrap();
    for (whole, alone) in whole.iter().zip(&alone) {
        let row = |t: &Tensor, i: usize| t.get(i).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(row(whole, 1), row(alone, 0));
    }
}

#[test]
fn grey_images_are_three_equal_colours() {
    let encoder = Encoder::open("random:7", &Device::Cpu).unwrap();
    let grey = images(1, 8);
    let colour = Tensor::cat(&[&grey, &grey, &grey], 1).unwrap();
    let (a, b) = (encoder.forward(&grey).unwrap(), encoder.forward(&colour).unwrap());
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(a.iter().zip(&b).all(|(a, b)| flat(a) == flat(b)));
}

#[test]
fn only_images_get_a_gradient() {
    let encoder = Encoder::open("random:7", &Device::Cpu).unwrap();
    let x = Var::from_tensor(&images(1, 8)).unwrap();
    let last = encoder.composed(&x).unwrap().pop().unwrap();
    let gradients = last.sum_all().unwrap().backward().unwrap();
    let gradient = gradients.get(&x).unwrap();
    assert_eq!(gradient.dims(), x.dims());
    assert!(gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0);
}

#[test]
fn images_too_small_for_the_pools_are_refused() {
    let encoder = Encoder::open("random:7", &Device::Cpu).unwrap();
    assert!(encoder.forward(&images(3, 8)).is_ok());
    let message = encoder.forward(&images(3, 4)).unwrap_err().to_string();
    assert!(message.contains("at least 8"), "{message}");
    assert!(encoder.feature_shapes(4).is_err());
}

#[test]
fn the_normalisation_is_that_of_pixels_from_0_to_1() {
    let layout: EncoderLayout = "3".parse().unwrap();
    let centre = |i: usize| if i.is_multiple_of(9) { 0.0 } else { f32::from(u8::from(i % 9 == 4)) };
    let weight = (0..81).map(|i| if i / 27 == i % 27 / 9 { centre(i) } else { 0.0 }).collect();
    let conv = ConvWeights { inputs: 3, outputs: 3, weight, bias: vec![0.0; 3] };
    let normalisation = Normalisation { mean: [0.25, 0.5, 0.75], deviation: [0.5, 0.25, 0.125] };
    let encoder = Encoder::from_weights("unit", layout, &[conv], Some(normalisation), &Device::Cpu).unwrap();
    let white = Tensor::ones((1, 3, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let features = encoder.forward(&white).unwrap();
    let values = features[0].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let expected = [1.5, 1.5, 1.5, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0];
    // The kernels' few products round otherwise than direct sums.
    let close = |(value, expected): (&f32, &f32)| (value - expected).abs() < 1e-6;
    assert!(values.len() == 12 && values.iter().zip(&expected).all(close), "{values:?}");
}

#[test]
fn unknown_names_are_refused_with_the_known_ones() {
    for spec in ["resnet", "random", "file", "", "vgg19x:a", "vgg11:a"] {
        let error = Encoder::open(spec, &Device::Cpu).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("random:SEED"), "{error}");
    }
}

/// The features of `pixels`, images of 3 channels and `side` pixels, by the kernels of `isa`: each output as [image, channel, y, x].
fn features_by(isa: Isa, encoder: &Encoder, pixels: &[f32], side: usize) -> Vec<Vec<f32>> {
    let packed = PackedEncoder::new(isa, encoder).unwrap();
    let images = pass::Images { pixels, batch: pixels.len() / (3 * side * side), channels: 3, side: (side, side) };
    let mut found = vec![Vec::new(); encoder.feature_shapes(side).unwrap().len()];
    let each = &mut |features: Features<'_>| {
        let mut out = vec![0.0; features.map.batch * features.map.channels * features.map.pixels()];
        features.map.to_planar(features.values, &mut out);
        found[features.output].extend(out);
        Ok::<_, Error>(())
    };
    pass::visit(&packed, &pass::Spare::default(), images, each).unwrap();
    found
}

/// What a bound per image rests on, for every encoder's shape, side and instruction set: an image has the same bits alone, among
/// others, and at any place among them.
#[test]
fn no_kernel_lets_an_images_features_depend_on_the_others() {
    const IMAGES: usize = 5;
    let vgg = vgg::Vgg::Vgg16.layout();
    let narrow: EncoderLayout = "5,M,19,33,M,8".parse().unwrap();
    let public: EncoderLayout = random::LAYOUT.parse().unwrap();
    for (layout, sides) in [(narrow, &[4, 8, 16, 32][..]), (public, &[8, 16, 64]), (vgg, &[16, 32])] {
        let encoder = Encoder::from_weights("test", layout.clone(), &random::kaiming(&layout, 2), None, &Device::Cpu);
        let encoder = encoder.unwrap().with_sketches(&"1,2".parse().unwrap(), &Device::Cpu).unwrap();
        for (&side, isa) in sides.iter().flat_map(|side| Isa::available().into_iter().map(move |isa| (side, isa))) {
            let size = 3 * side * side;
            let pixels: Vec<f32> = (0..IMAGES * size).map(|i| ((i * 37 % 1013) as f32 / 506.5) - 1.0).collect();
            let together = features_by(isa, &encoder, &pixels, side);
            let reversed: Vec<f32> = pixels.chunks_exact(size).rev().flatten().copied().collect();
            let backwards = features_by(isa, &encoder, &reversed, side);
            let alone = features_by(isa, &encoder, &pixels[2 * size..3 * size], side);
            for (output, all) in together.iter().enumerate() {
                let width = all.len() / IMAGES;
                let image = |features: &[f32], n: usize| features[n * width..(n + 1) * width].to_vec();
                assert_eq!(image(all, 2), alone[output], "{layout}, {side} pixels, {isa:?}, output {output}: alone");
                for n in 0..IMAGES {
                    let other = image(&backwards[output], IMAGES - 1 - n);
                    assert_eq!(image(all, n), other, "{layout}, {side} pixels, {isa:?}, output {output}: image {n}");
                }
            }
        }
    }
}

#[test]
fn every_instruction_set_computes_the_portable_features() {
    let layout: EncoderLayout = "5,M,19,33,M,8".parse().unwrap();
    let encoder = Encoder::from_weights("test", layout.clone(), &random::kaiming(&layout, 2), None, &Device::Cpu);
    let encoder = encoder.unwrap().with_sketches(&"1".parse().unwrap(), &Device::Cpu).unwrap();
    let pixels = images(3, 20).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let portable = features_by(Isa::Portable, &encoder, &pixels, 20);
    for isa in Isa::available() {
        for (found, expected) in features_by(isa, &encoder, &pixels, 20).iter().zip(&portable) {
            let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
            let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(found.len() == expected.len() && apart < 1e-4 * largest, "{isa:?}: {apart} of {largest}");
        }
    }
}

#[test]
fn an_encoder_by_bf16_sees_nearly_the_same_and_is_another() {
    let plain = Encoder::open("pixels+random:7", &Device::Cpu).unwrap();
    if !Isa::detect().multiplies_bf16() {
        let error = Encoder::open("bf16+pixels+random:7", &Device::Cpu).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("leave out bf16+"), "{error}");
        return;
    }
    let encoder = Encoder::open("bf16+pixels+random:7", &Device::Cpu).unwrap();
    assert_eq!(encoder.name(), "bf16+pixels+random:7");
    assert_ne!(encoder.digest(), plain.digest());
    let (found, expected) = (encoder.forward(&images(3, 16)).unwrap(), plain.forward(&images(3, 16)).unwrap());
    for (found, expected) in found.iter().zip(&expected) {
        let size = |t: &Tensor| t.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let error = size(&(found - expected).unwrap()) / size(expected);
        assert!(error > 0.0 && error < 0.03, "{error}");
    }
}
