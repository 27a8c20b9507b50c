use prism_core::simd::Portable;

use super::doubled::*;
use super::karatsuba::*;
use super::winograd::*;
use super::*;

/// The matrix of `L`, column by column.
fn matrix<L: Linear>() -> Vec<Vec<f32>> {
    let column = |j: usize| {
        let mut unit = [[0f32; 8]; SIDE];
        unit[j] = [1.0; 8];
        // SAFETY: plain Rust.
        let image = unsafe { L::apply::<Portable>(unit) };
        (0..L::TO).map(|i| image[i][0]).collect()
    };
    (0..L::FROM).map(column).collect()
}

fn assert_transposes<L: Linear, T: Linear>() {
    let (a, b) = (matrix::<L>(), matrix::<T>());
    for (j, column) in a.iter().enumerate() {
        for (i, x) in column.iter().enumerate() {
            assert!((x - b[i][j]).abs() < 1e-6, "element {i}, {j}");
        }
    }
}

#[test]
fn every_map_has_its_transpose() {
    assert_transposes::<WinogradInput, WinogradInputT>();
    assert_transposes::<WinogradOutput, WinogradOutputT>();
    assert_transposes::<WinogradWeight, WinogradWeightT>();
    assert_transposes::<DoubledInput, DoubledInputT>();
    assert_transposes::<DoubledOutput, DoubledOutputT>();
    assert_transposes::<DoubledWeight, DoubledWeightT>();
    assert_transposes::<KaratsubaInput, KaratsubaInputT>();
    assert_transposes::<KaratsubaOutput, KaratsubaOutputT>();
    assert_transposes::<KaratsubaWeight, KaratsubaWeightT>();
}

fn convolve<C: Scheme>(d: &[f32], w: &[f32]) -> Vec<f32> {
    let vector = |x: &[f32]| std::array::from_fn(|i| [x.get(i).copied().unwrap_or(0.0); 8]);
    // SAFETY: plain Rust.
    let y = unsafe {
        let (v, u) = (C::Input::apply::<Portable>(vector(d)), C::Weight::apply::<Portable>(vector(w)));
        let product = |i: usize| C::READS.get(i).map_or([0.0; 8], |&read| Portable::mul(v[read], u[i]));
        C::Output::apply::<Portable>(std::array::from_fn(product))
    };
    (0..C::OUT).map(|i| y[i][0]).collect()
}

#[test]
fn winograd_convolves() {
    let (d, w) = ([1., -2., 3., 0.5, -1., 4.], [0.3, -0.7, 2.]);
    for (k, y) in convolve::<Winograd>(&d, &w).into_iter().enumerate() {
        let direct: f32 = (0..3).map(|t| d[k + t] * w[t]).sum();
        assert!((y - direct).abs() < 1e-5, "{y} {direct}");
    }
}

#[test]
fn doubled_convolves_the_doubled_inputs() {
    let (d, w) = ([1f32, -2., 3., 0.5], [0.3, -0.7, 2.]);
    let doubled: Vec<f32> = d.iter().flat_map(|&x| [x, x]).collect();
    for (k, y) in convolve::<Doubled>(&d, &w).into_iter().enumerate() {
        let direct: f32 = (0..3).map(|t| doubled[1 + k + t] * w[t]).sum();
        assert!((y - direct).abs() < 1e-5, "output {k}: {y} {direct}");
    }
}

#[test]
fn karatsuba_convolves_two_inputs_and_their_padding() {
    let (d, w) = ([1f32, -2.], [0.3, -0.7, 2.]);
    let padded = [0.0, d[0], d[1], 0.0];
    for (k, y) in convolve::<Karatsuba>(&d, &w).into_iter().enumerate() {
        let direct: f32 = (0..3).map(|t| padded[k + t] * w[t]).sum();
        assert!((y - direct).abs() < 1e-5, "output {k}: {y} {direct}");
    }
}
