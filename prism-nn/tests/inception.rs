//! Inception-v3 layer by layer against pytorch-fid (golden file `tests/golden/inception.json`, made by the script beside
//! it), and weight files that are not what they claim to be.

mod pytorch;

use candle_core::{Device, Tensor};
use prism_nn::inception::{Inception, WIDTH};
use pytorch::{Summary, Tensors, assert_matches, file, noise};
use serde::Deserialize;

/// A layer's name, and what was found there.
#[derive(Deserialize)]
struct Layer {
    name: String,
    #[serde(flatten)]
    summary: Summary,
}

#[derive(Deserialize)]
struct Golden {
    layers: Vec<Layer>,
    features: Summary,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/inception.json")).unwrap()
}

/// FNV-1a over a tensor's name.
fn stream_of(name: &str) -> u32 {
    name.bytes().fold(0x811C_9DC5, |h: u32, byte| (h ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The numbers of inception.py for a convolution and its batch norm.
fn add(tensors: &mut Tensors, name: &str, shape: [usize; 4]) {
    let fan_in: usize = shape[1..].iter().product();
    let bound = (6.0 / fan_in as f64).sqrt();
    let mut put = |end: &str, shape: &[usize], low: f64, high: f64| {
        let name = format!("{name}.{end}");
        let values = noise(stream_of(&name), shape.iter().product(), low, high);
        tensors.insert(name, (shape.to_vec(), values));
    };
    put("conv.weight", &shape, -bound, bound);
    put("bn.weight", &shape[..1], 0.5, 1.5);
    put("bn.bias", &shape[..1], -0.1, 0.1);
    put("bn.running_mean", &shape[..1], -0.1, 0.1);
    put("bn.running_var", &shape[..1], 0.5, 1.5);
}

/// Every convolution of pytorch-fid's network: name and shape, as its `state_dict` lists them.
fn convolutions() -> Vec<(String, [usize; 4])> {
    let text = include_str!("../../tests/golden/inception_shapes.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_string();
        let shape: Vec<usize> = words.map(|word| word.parse().unwrap()).collect();
        (name, shape.try_into().unwrap())
    };
    lines.map(parse).collect()
}

fn weights() -> Tensors {
    let mut tensors = Tensors::new();
    convolutions().iter().for_each(|(name, shape)| add(&mut tensors, name, *shape));
    tensors
}

#[test]
fn every_layer_matches_pytorch_fid() {
    let network = Inception::from_bytes("weights", &file(&weights()), &Device::Cpu).unwrap();
    let golden = golden();
    let large = Tensor::from_vec(noise(9999, 2 * 3 * 75 * 75, -1.0, 1.0), (2, 3, 75, 75), &Device::Cpu).unwrap();
    let mut found = Vec::new();
    network.visit(&large, &mut |name, layer| found.push((name.to_string(), layer.clone()))).unwrap();
    assert_eq!(found.len(), golden.layers.len());
    for ((name, layer), expected) in found.iter().zip(&golden.layers) {
        assert_eq!(*name, expected.name);
        assert_matches(name, layer, &expected.summary);
    }
    // A small grey image is resized and shown as three equal colours.
    let small = Tensor::from_vec(noise(9998, 32 * 32, -1.0, 1.0), (1, 1, 32, 32), &Device::Cpu).unwrap();
    let features = network.features(&small).unwrap();
    assert_eq!(features.dims(), [1, WIDTH]);
    assert_matches("features", &features, &golden.features);
    let tiny = small.repeat((1, 3, 1, 1)).unwrap();
    let message = network.visit(&tiny, &mut |_, _| ()).unwrap_err().to_string();
    assert!(message.contains("at least 75"), "{message}");
}

#[test]
fn files_that_are_not_the_network_are_refused_in_one_sentence() {
    let refusal = |tensors: &Tensors| {
        let error = Inception::from_bytes("weights w", &file(tensors), &Device::Cpu).err().unwrap();
        assert_eq!(error.exit_code(), 1);
        let message = error.to_string();
        assert!(message.starts_with("weights w cannot be used: ") && !message.contains('\n'), "{message}");
        message
    };
    let mut tensors = Tensors::new();
    assert!(refusal(&tensors).contains("no tensor 'Conv2d_1a_3x3.conv.weight'"));
    add(&mut tensors, "Conv2d_1a_3x3", [32, 3, 3, 3]);
    assert!(refusal(&tensors).contains("no tensor 'Conv2d_2a_3x3.conv.weight'"));
    add(&mut tensors, "Conv2d_1a_3x3", [32, 3, 5, 5]);
    assert!(refusal(&tensors).contains("[32, 3, 5, 5] instead of [32, 3, 3, 3]"));
    add(&mut tensors, "Conv2d_1a_3x3", [32, 3, 3, 3]);
    tensors.get_mut("Conv2d_1a_3x3.bn.running_var").unwrap().1[3] = -1.0;
    assert!(refusal(&tensors).contains("negative variance -1"));
    tensors.get_mut("Conv2d_1a_3x3.bn.running_var").unwrap().1[3] = f32::NAN;
    assert!(refusal(&tensors).contains("holds NaN"));
    let message = Inception::from_bytes("w", b"no such thing", &Device::Cpu).err().unwrap().to_string();
    assert!(message.contains("save_file"), "{message}");
}

#[test]
fn what_torch_saves_is_not_read_and_missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("inception.pth");
    std::fs::write(&saved, b"PK\x03\x04 and so on").unwrap();
    for (path, word) in [(saved.as_path(), "torch.save"), ("/no/such/file".as_ref(), "pytorch-fid")] {
        let error = Inception::open(path, &Device::Cpu).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.contains(word) && message.contains("safetensors.torch.save_file"), "{message}");
    }
}
