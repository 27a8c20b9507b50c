//! The estimators against pytorch-fid and prdc (golden file `tests/golden/metrics.json`, made by the script beside it).

use prism_train::metrics::features::Features;
use prism_train::metrics::frechet::Gaussian;
use prism_train::metrics::neighbours::{Neighbourhood, compare};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    real: usize,
    generated: usize,
    width: usize,
    neighbours: usize,
    frechet_distance: f64,
    #[serde(flatten)]
    near: Neighbourhood,
}

/// The formula of `noise` in metrics.py.
fn noise(stream: u32, count: usize, low: f64, high: f64) -> Vec<f64> {
    let offset = stream.wrapping_mul(40503);
    let value = |i: u32| {
        let mut h = i.wrapping_mul(2_654_435_761).wrapping_add(offset);
        h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
        h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
        h ^= h >> 16;
        low + (high - low) * (f64::from(h) / 4_294_967_296.0)
    };
    (0..count as u32).map(value).collect()
}

#[test]
fn figures_are_those_of_pytorch_fid_and_prdc() {
    let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/metrics.json")).unwrap();
    assert_eq!(golden.cases.len(), 4);
    for case in golden.cases {
        let mut stretched = noise(2, case.generated * case.width, -1.0, 1.1);
        for (row, values) in stretched.chunks_exact_mut(case.width).enumerate() {
            let factor = 0.8 + 0.1 * (row % 5) as f64;
            values.iter_mut().for_each(|x| *x *= factor);
        }
        let rows = |values| Features::new("noise", case.width, values).unwrap();
        let (real, generated) = (rows(noise(1, case.real * case.width, -1.0, 1.0)), rows(stretched));
        let fit = |features| Gaussian::fit("noise", features).unwrap();
        let distance = fit(&real).frechet_distance(&fit(&generated)).unwrap();
        let close = (distance - case.frechet_distance).abs() < 1e-9 * case.frechet_distance.max(1.0);
        assert!(close, "{distance} instead of {}", case.frechet_distance);
        let near = compare(&real, &generated, case.neighbours).unwrap();
        for (ours, theirs) in [
            (near.precision, case.near.precision),
            (near.recall, case.near.recall),
            (near.density, case.near.density),
            (near.coverage, case.near.coverage),
        ] {
            // Shares of whole images: the same images, or none.
            assert!((ours - theirs).abs() < 1e-12, "{near:?} instead of {:?}", case.near);
        }
    }
}
