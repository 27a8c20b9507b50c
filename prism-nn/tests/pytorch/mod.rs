//! Networks beside PyTorch's: weights that both sides compute by one formula, and summaries of what PyTorch made of them.

use std::collections::HashMap;

use candle_core::Tensor;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;

/// Shape and values of each tensor, by name.
pub type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// What a golden file keeps of a feature map.
#[derive(Deserialize)]
pub struct Summary {
    shape: Vec<usize>,
    mean: f64,
    rms: f64,
    values: Vec<f64>,
}

/// The formula of `noise` in the golden files' scripts.
pub fn noise(stream: u32, count: usize, low: f64, high: f64) -> Vec<f32> {
    let offset = stream.wrapping_mul(40503);
    let value = |i: u32| {
        let mut h = i.wrapping_mul(2_654_435_761).wrapping_add(offset);
        h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
        h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
        h ^= h >> 16;
        (low + (high - low) * (f64::from(h) / 4_294_967_296.0)) as f32
    };
    (0..count as u32).map(value).collect()
}

/// The tensors as a safetensors file.
pub fn file(tensors: &Tensors) -> Vec<u8> {
    let bytes: HashMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = tensors
        .iter()
        .map(|(name, (shape, _))| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// That the layer `name` came out as PyTorch's did, within 1e-4 of its own size.
pub fn assert_matches(name: &str, feature: &Tensor, expected: &Summary) {
    assert_eq!(feature.dims(), expected.shape, "{name}");
    let values: Vec<f64> =
        feature.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect();
    let tolerance = 1e-4 * expected.rms;
    let close = |what: &str, ours: f64, theirs: f64| {
        assert!((ours - theirs).abs() < tolerance, "{name}, {what}: {ours} instead of {theirs}");
    };
    let length = values.len() as f64;
    close("mean", values.iter().sum::<f64>() / length, expected.mean);
    close("rms", (values.iter().map(|v| v * v).sum::<f64>() / length).sqrt(), expected.rms);
    let kept = expected.values.len();
    for (i, &value) in expected.values.iter().enumerate() {
        close("a value", values[i * (values.len() / kept) + i], value);
    }
}
