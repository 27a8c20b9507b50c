//! Private moments from features to messages, sums and estimates, number by number as `tests/golden/private_moments.py` has them:
//! plain Python after FORMAT.md, section 5.9.

use candle_core::{Device, Tensor};
use prism_nn::SecondMoment;
use serde_json::Value;

use super::accounting::Budget;
use super::estimate::Noisy;
use super::features::{LayerPart, VectorMap};
use super::message::{MessageSum, encode_noisy, encode_ring};
use super::release::{NoisePlan, Shares, Sums};
use crate::moments::envelope::{self, Kind};
use crate::settings::privacy::{Adjacency, FeatureSet};

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../tests/golden/private_moments.json")).unwrap()
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn map(golden: &Value, grid: Option<usize>, clip_units: i64) -> VectorMap {
    let set = grid.map_or(FeatureSet::All, FeatureSet::Grid);
    let mut offset = 1;
    let part = |layer: &Value| {
        let number = |key: &str| layer[key].as_u64().unwrap() as usize;
        let shape = [number("channels"), number("side"), number("side")];
        let mut part = LayerPart::new(offset, shape, set);
        (part.first_scale, part.second_scale) = (list(&layer["first_scale"]), list(&layer["second_scale"]));
        offset += 2 * part.features;
        part
    };
    let layers: Vec<LayerPart> = golden["layers"].as_array().unwrap().iter().map(part).collect();
    VectorMap { set, length: (1.0 + 2.0 * layers.len() as f64).sqrt(), layers, clip_units }
}

#[test]
fn noise_and_modulus_follow_from_the_promise() {
    for plan in golden()["plans"].as_array().unwrap() {
        let adjacency = match plan["adjacency"].as_str().unwrap() {
            "replace-one" => Adjacency::REPLACE_ONE,
            _ => Adjacency::ADD_REMOVE,
        };
        let budget = Budget::new(list(&plan["epsilon"]), list(&plan["delta"])).unwrap();
        let found =
            NoisePlan::within(budget, list(&plan["part"]), adjacency, Shares::whole(list(&plan["shares"]))).unwrap();
        assert_eq!(found.clip_units, list::<i64>(&plan["clip_units"]), "{plan}");
        assert_eq!(found.share_sigma, list::<u64>(&plan["sigma"]), "{plan}");
        assert_eq!(found.ring_bits(list(&plan["images"])), list::<u32>(&plan["ring_bits"]), "{plan}");
        assert!((found.rho / list::<f64>(&plan["rho"]) - 1.0).abs() < 1e-12, "{plan}");
    }
}

#[test]
fn features_become_the_integers_messages_and_sums_of_another_implementation() {
    let golden = golden();
    for case in golden["cases"].as_array().unwrap() {
        let map = map(&golden, list(&case["grid"]), list(&case["clip_units"]));
        let sigma = list(&case["sigma"]);
        let shape = (2, map.dimensions());
        let mut sum = MessageSum::of_ring(shape, 27);
        for client in case["clients"].as_array().unwrap() {
            assert_eq!(sums_of_images(&map, client), list::<Sums>(&client["sums"]));
            let release: Sums = list(&client["release"]);
            let noisy = encode_noisy(&release, sigma);
            assert_eq!(hex(envelope::open(Kind::Noisy, &noisy).unwrap()), list::<String>(&client["noisy"]));
            let mut one = MessageSum::of_noisy(shape);
            one.add(&noisy).unwrap();
            assert_eq!(one.finish().concat(), list::<Vec<i64>>(&client["noisy_read"]));
            let ring = encode_ring(&release, 27);
            assert_eq!(hex(envelope::open(Kind::Ring, &ring).unwrap()), list::<String>(&client["ring"]));
            sum.add(&ring).unwrap();
        }
        assert_eq!(sum.finish(), list::<Sums>(&case["ring_sum"]));
    }
}

/// The sums of a client's images, of which each one's vector is checked.
fn sums_of_images(map: &VectorMap, client: &Value) -> Sums {
    let mut sums = vec![vec![0; map.dimensions()]; 2];
    for image in client["images"].as_array().unwrap() {
        let features: Vec<Vec<f32>> = list(&image["features"]);
        let tensors: Vec<Tensor> = features
            .into_iter()
            .map(|values| Tensor::from_vec(values.clone(), (1, values.len()), &Device::Cpu).unwrap())
            .collect();
        let mut vectors = Vec::new();
        assert_eq!(map.vectors(&tensors, &mut vectors).unwrap(), 0, "all are finite");
        assert_eq!(vectors[0], list::<Vec<i64>>(&image["integers"]));
        let group = &mut sums[image["group"].as_u64().unwrap() as usize];
        group.iter_mut().zip(&vectors[0]).for_each(|(sum, x)| *sum += x);
    }
    sums
}

#[test]
fn an_image_without_finite_features_counts_as_one_without_any() {
    let golden = golden();
    let map = map(&golden, Some(2), 1 << 20);
    let mut raw = vec![1.0; map.dimensions()];
    raw[0] = f64::INFINITY;
    let mut grid = Vec::new();
    assert!(!map.to_grid(&raw, &mut grid));
    assert_eq!(grid, list::<Vec<i64>>(&golden["not_finite"]));
}

#[test]
fn moments_and_their_weights_are_those_of_another_implementation() {
    let golden = golden();
    for case in golden["cases"].as_array().unwrap() {
        let map = map(&golden, list(&case["grid"]), list(&case["clip_units"]));
        let variance = 2.0 * list::<f64>(&case["sigma"]).powi(2);
        for (name, kind) in [("variance", SecondMoment::Variance), ("square", SecondMoment::Square)] {
            let noisy = Noisy { sums: list(&case["ring_sum"]), variance: vec![variance; 2] };
            let found = noisy.estimate(&map, kind, &Device::Cpu).unwrap().unwrap();
            for (group, expected) in case["estimates"][name].as_array().unwrap().iter().enumerate() {
                for (layer, expected) in found.layers().iter().zip(expected.as_array().unwrap()) {
                    let row = |tensor: &Tensor| tensor.get(group).unwrap().to_vec1::<f32>().unwrap();
                    let close = |found: &[f32], expected: &[f64]| {
                        let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() <= 1e-6 * b.abs().max(1e-3);
                        assert!(
                            found.len() == expected.len() && found.iter().zip(expected).all(near),
                            "{name} {group}"
                        );
                    };
                    close(&row(&layer.mean), &list::<Vec<f64>>(&expected["mean"]));
                    close(&row(&layer.second), &list::<Vec<f64>>(&expected["second"]));
                    close(&row(&layer.scale), &[list(&expected["unit"])]);
                    let [of_mean, of_second] = layer.weights.as_ref().unwrap();
                    close(&row(of_mean)[..1], &[list(&expected["weight_of_means"])]);
                    close(&row(of_second)[..1], &[list(&expected["weight_of_seconds"])]);
                }
            }
        }
    }
}
