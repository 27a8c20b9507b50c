//! VGG16 and VGG19 layer by layer against torchvision (golden file `tests/golden/vgg.json`, made by the script beside it), and
//! weight files that are not what they claim to be.

mod pytorch;

use candle_core::{Device, Tensor};
use prism_nn::encoder::vgg::Vgg;
use prism_nn::encoder::{Encoder, EncoderLayer};
use pytorch::{Summary, Tensors, assert_matches, file, noise};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    vgg16: Reference,
    vgg19: Reference,
    vgg19_bn: Reference,
}

#[derive(Deserialize)]
struct Reference {
    images: Vec<usize>,
    layers: Vec<Summary>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/vgg.json")).unwrap()
}

/// Weights in torchvision's naming, with the numbers of vgg.py.
fn weights(vgg: Vgg, normed: bool) -> Tensors {
    let layout = vgg.layout();
    let mut convs = layout.convs().into_iter();
    let mut tensors = Tensors::new();
    let mut index = 0;
    for step in layout.layers() {
        let EncoderLayer::Conv(outputs) = *step else {
            index += 1;
            continue;
        };
        let (inputs, _) = convs.next().unwrap();
        let mut add = |index: usize, name: &str, stream: usize, shape: &[usize], low: f64, high: f64| {
            let values = noise((10 * index + stream) as u32, shape.iter().product(), low, high);
            tensors.insert(format!("features.{index}.{name}"), (shape.to_vec(), values));
        };
        let bound = (6.0 / (inputs * 9) as f64).sqrt();
        add(index, "weight", 0, &[outputs, inputs, 3, 3], -bound, bound);
        add(index, "bias", 1, &[outputs], -0.1, 0.1);
        if normed {
            add(index + 1, "weight", 0, &[outputs], 0.5, 1.5);
            add(index + 1, "bias", 1, &[outputs], -0.1, 0.1);
            add(index + 1, "running_mean", 2, &[outputs], -0.1, 0.1);
            add(index + 1, "running_var", 3, &[outputs], 0.5, 1.5);
        }
        index += if normed { 3 } else { 2 };
    }
    // timm's classifier; no encoder reads it.
    tensors.insert("pre_logits.fc1.bias".into(), (vec![3], vec![0.0; 3]));
    tensors
}

/// That every layer of `encoder` came out as PyTorch's did.
fn assert_all_match(encoder: &Encoder, reference: &Reference) {
    let count = reference.images.iter().product();
    let images = Tensor::from_vec(noise(9999, count, -1.0, 1.0), reference.images.as_slice(), &Device::Cpu).unwrap();
    let features = encoder.forward(&images).unwrap();
    assert_eq!(features.len(), reference.layers.len());
    for (layer, (feature, expected)) in features.iter().zip(&reference.layers).enumerate() {
        assert_matches(&format!("layer {layer}"), feature, expected);
    }
}

#[test]
fn every_layer_matches_torchvision() {
    let folder = tempfile::tempdir().unwrap();
    for (vgg, reference) in [(Vgg::Vgg16, golden().vgg16), (Vgg::Vgg19, golden().vgg19)] {
        let path = folder.path().join(vgg.name());
        std::fs::write(&path, file(&weights(vgg, false))).unwrap();
        let encoder = Encoder::open(&format!("{}:{}", vgg.name(), path.display()), &Device::Cpu).unwrap();
        assert_eq!(encoder.name(), vgg.name());
        assert_all_match(&encoder, &reference);
    }
}

/// The same network in Keras' naming: kernels `[3, 3, in, out]`, and a first one that reads blue, green, red of 0 to 255 less
/// Keras' means, so that the features come out as torchvision's.
fn in_keras_naming(vgg: Vgg) -> Tensors {
    let torch = weights(vgg, false);
    let (mut index, mut block, mut conv) = (0, 1, 0);
    let mut tensors = Tensors::new();
    let mut sizes = vgg.layout().convs().into_iter();
    for step in vgg.layout().layers() {
        let EncoderLayer::Conv(_) = step else {
            (index, block, conv) = (index + 1, block + 1, 0);
            continue;
        };
        conv += 1;
        let (inputs, outputs) = sizes.next().unwrap();
        let (_, weight) = &torch[&format!("features.{index}.weight")];
        let mut kernel = vec![0.0; weight.len()];
        for (at, value) in weight.iter().enumerate() {
            let (output, input, tap) = (at / (inputs * 9), at / 9 % inputs, at % 9);
            let input = if index == 0 { 2 - input } else { input };
            kernel[(tap * inputs + input) * outputs + output] = *value;
        }
        let layer = format!("block{block}_conv{conv}");
        tensors.insert(format!("{layer}/{layer}/kernel:0"), (vec![3, 3, inputs, outputs], kernel));
        tensors.insert(format!("{layer}/{layer}/bias:0"), torch[&format!("features.{index}.bias")].clone());
        index += 2;
    }
    tensors
}

#[test]
fn kerass_naming_is_the_same_network_but_for_its_own_normalisation() {
    let torch = Vgg::Vgg16.from_bytes("w", &file(&weights(Vgg::Vgg16, false)), &Device::Cpu).unwrap();
    let keras = Vgg::Vgg16.from_bytes("w", &file(&in_keras_naming(Vgg::Vgg16)), &Device::Cpu).unwrap();
    // Pixels p with (p - mean) / deviation as torchvision normalises are, for Keras, 255 q = that + Keras' means.
    let pixels = noise(7, 3 * 16 * 16, -1.0, 1.0);
    let (means, deviations) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let of_keras = |(at, &x): (usize, &f32)| {
        let colour = at / 256;
        let normalised = ((f64::from(x) + 1.0) / 2.0 - means[colour]) / deviations[colour];
        (2.0 * (normalised + [123.68, 116.779, 103.939][colour]) / 255.0 - 1.0) as f32
    };
    let for_keras: Vec<f32> = pixels.iter().enumerate().map(of_keras).collect();
    let image = |pixels| Tensor::from_vec(pixels, (1, 3, 16, 16), &Device::Cpu).unwrap();
    let (a, b) = (torch.forward(&image(pixels)).unwrap(), keras.forward(&image(for_keras)).unwrap());
    for (layer, (a, b)) in a.iter().zip(&b).enumerate() {
        let largest = a.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
        let apart = (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
        assert!(largest > 0.1 && apart < 1e-3 * largest, "layer {layer}: {apart} of {largest}");
    }
}

#[test]
fn images_that_are_too_small_are_refused() {
    let encoder = Vgg::Vgg19.from_bytes("w", &file(&weights(Vgg::Vgg19, false)), &Device::Cpu).unwrap();
    let message = encoder.feature_shapes(8).unwrap_err().to_string();
    assert!(message.contains("at least 16"), "{message}");
}

#[test]
fn every_layer_of_the_normed_variant_matches_torchvision() {
    let encoder = Vgg::Vgg19.from_bytes("weights", &file(&weights(Vgg::Vgg19, true)), &Device::Cpu).unwrap();
    assert_eq!(encoder.name(), "vgg19_bn");
    assert_all_match(&encoder, &golden().vgg19_bn);
}

/// Why a file with these few tensors is refused.
fn refusal(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> String {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    let error = Vgg::Vgg19.from_bytes("weights w", &bytes, &Device::Cpu).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let message = error.to_string();
    assert!(message.starts_with("weights w cannot be used: ") && !message.contains('\n'), "{message}");
    message
}

#[test]
fn files_that_are_not_vgg19_are_refused_in_one_sentence() {
    let shape: &[usize] = &[64, 3, 3, 3];
    let weight = |dtype, bytes: usize| ("features.0.weight", dtype, shape, vec![0u8; 1728 * bytes]);
    assert!(refusal(&[]).contains("no tensor 'features.0.weight'"));
    assert!(refusal(&[weight(Dtype::I64, 8)]).contains("has type I64; it must be F32, F16 or BF16"));
    let resnet: &[usize] = &[64, 3, 7, 7];
    let message = refusal(&[("features.0.weight", Dtype::F16, resnet, vec![0; 64 * 147 * 2])]);
    assert!(message.contains("shape [64, 3, 7, 7] instead of [64, 3, 3, 3]"), "{message}");
    for (dtype, bytes) in [(Dtype::F32, 4), (Dtype::F16, 2), (Dtype::BF16, 2)] {
        assert!(refusal(&[weight(dtype, bytes)]).contains("no tensor 'features.0.bias'"));
    }
}

#[test]
fn negative_variances_and_numbers_that_are_none_are_refused() {
    let mut normed = weights(Vgg::Vgg19, true);
    normed.get_mut("features.1.running_var").unwrap().1[5] = -0.5;
    let refused = |tensors: &Tensors| Vgg::Vgg19.from_bytes("w", &file(tensors), &Device::Cpu).unwrap_err().to_string();
    assert!(refused(&normed).contains("negative variance -0.5"));
    let mut plain = weights(Vgg::Vgg19, false);
    plain.get_mut("features.34.weight").unwrap().1[7] = f32::NAN;
    let message = refused(&plain);
    assert!(message.contains("convolution 15") && message.contains("not a number"), "{message}");
}

#[test]
fn truncated_and_hostile_headers_are_refused() {
    let shape = vec![64, 3, 3, 3];
    let data = vec![0; 1728 * 4];
    let view = TensorView::new(Dtype::F32, shape, &data).unwrap();
    let whole = safetensors::serialize([("features.0.weight", view)], None).unwrap();
    let mut hostile: Vec<Vec<u8>> = [0, 4, 8, 20, whole.len() - 1].iter().map(|&n| whole[..n].to_vec()).collect();
    hostile.push([u64::MAX.to_le_bytes().as_slice(), b"{}"].concat());
    hostile.push([&whole, [0; 5].as_slice()].concat());
    for bytes in hostile {
        let message = Vgg::Vgg19.from_bytes("w", &bytes, &Device::Cpu).unwrap_err().to_string();
        assert!(message.contains("no complete safetensors file"), "{message}");
    }
}
