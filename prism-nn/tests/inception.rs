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
    assert!(message.contains("torch.save") && message.contains("save_file"), "{message}");
}

/// A zip archive with one stored file: what `torch.save` writes.
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    let crc = !content.iter().fold(!0u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit));
    let size = content.len() as u32;
    let [version, zero] = [20u16, 0].map(u16::to_le_bytes);
    let sizes = [crc.to_le_bytes(), size.to_le_bytes(), size.to_le_bytes()].concat();
    let names = [(name.len() as u16).to_le_bytes(), zero].concat();
    // Flags, method, time and date are all 0.
    let common = [&version[..], &[0; 8], &sizes, &names].concat();
    let local = [&b"PK\x03\x04"[..], &common, name.as_bytes(), content].concat();
    let central = [&b"PK\x01\x02"[..], &version, &common, &[0; 14], name.as_bytes()].concat();
    let numbers = [(central.len() as u32).to_le_bytes(), (local.len() as u32).to_le_bytes()].concat();
    let end = [&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &numbers, &zero].concat();
    [local, central, end].concat()
}

#[test]
fn hostile_files_of_pytorch_are_refused_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pth");
    // A dictionary whose only tensor is rebuilt from these arguments.
    let pickle =
        |arguments: &[u8]| [&b"}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n"[..], arguments, b"Rs."].concat();
    // A tensor of 2^31 - 1 rows and as many columns in storage "0".
    let huge = b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\0\
                 J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86J\xff\xff\xff\x7fK\x01\x86t";
    for (arguments, word) in [(&b")"[..], "its reader failed"), (huge, "more than a file can hold")] {
        std::fs::write(&path, archive("a/data.pkl", &pickle(arguments))).unwrap();
        let error = Inception::open(&path, &Device::Cpu).err().unwrap();
        assert!(error.exit_code() == 1 && error.to_string().contains(word), "{error}");
    }
}

#[test]
fn files_of_pytorch_are_read_and_missing_ones_named() {
    // Two tensors of the network by torch.save: the first is found, the rest is missing.
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/inception_two.pth");
    let message = Inception::open(golden.as_ref(), &Device::Cpu).err().unwrap().to_string();
    assert!(message.contains("no tensor 'Conv2d_1a_3x3.bn.running_var'"), "{message}");
    let error = Inception::open("/no/such/file.pth".as_ref(), &Device::Cpu).err().unwrap();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("pytorch-fid"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.pth");
    let bytes = std::fs::read(golden).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let error = Inception::open(&cut, &Device::Cpu).err().unwrap();
    assert!(error.exit_code() == 1 && error.to_string().contains("fetch it again"), "{error}");
}
