//! Convolutions against candle's own, in value and gradient, on odd shapes; the same bits at any thread count.

use candle_core::{Device, Tensor, Var};
use prism_core::stream::{Purpose, StreamId};
use prism_nn::ops::{self, FrozenConv, composed};
use proptest::prelude::*;

fn random(shape: &[usize], index: u64) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    StreamId::new(1, Purpose::Test).index(index).open().fill_normal(&mut values);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, in units of the reference's largest value.
fn distance(found: &Tensor, reference: &Tensor) -> f32 {
    assert_eq!(found.dims(), reference.dims());
    let (found, reference) = (values(found), values(reference));
    let scale = reference.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
    found.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

/// Output, gradient of x and gradient of w of `sum(op(x, w) * probe)`.
fn run(x: &Var, w: &Var, op: impl Fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>) -> [Tensor; 3] {
    let y = op(x, w).unwrap();
    let probe = random(y.dims(), 9);
    let gradients = (&y * &probe).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |v: &Var| gradients.get(v).cloned().unwrap_or_else(|| v.zeros_like().unwrap());
    [y, of(x), of(w)]
}

fn vars(batch: usize, inputs: usize, outputs: usize, kernel: usize, size: (usize, usize)) -> (Var, Var) {
    let x = Var::from_tensor(&random(&[batch, inputs, size.0, size.1], 0)).unwrap();
    let w = Var::from_tensor(&random(&[outputs, inputs, kernel, kernel], 1)).unwrap();
    (x, w)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn conv2d_and_its_gradients_agree_with_candle(
        batch in 1usize..4, inputs in 1usize..40, outputs in 1usize..20,
        kernel in prop::sample::select(vec![1usize, 3, 5]), height in 1usize..20, width in 1usize..36,
    ) {
        let (x, w) = vars(batch, inputs, outputs, kernel, (height, width));
        let (found, reference) = (run(&x, &w, ops::conv2d), run(&x, &w, composed::conv2d));
        for (found, reference) in found.iter().zip(&reference) {
            prop_assert!(distance(found, reference) < 1e-5, "{}", distance(found, reference));
        }
    }

    #[test]
    fn frozen_conv_and_its_gradient_agree_with_candle(
        batch in 1usize..4, inputs in 1usize..20, outputs in 1usize..40, height in 1usize..20, width in 1usize..36,
    ) {
        let (x, w) = vars(batch, inputs, outputs, 3, (height, width));
        let bias = random(&[outputs], 2);
        let conv = FrozenConv::new(&w, &bias).unwrap();
        let found = run(&x, &w, |x, _| ops::conv2d_relu_frozen(x, &conv));
        let reference = run(&x, &w, |x, w| composed::conv2d_relu_frozen(x, &w.detach(), &bias));
        for (found, reference) in found.iter().zip(&reference) {
            prop_assert!(distance(found, reference) < 1e-5, "{}", distance(found, reference));
        }
    }
}

#[test]
fn more_channels_than_one_block_agree_with_candle() {
    for (inputs, outputs, size) in [(70, 33, 8), (40, 65, 4), (300, 9, 16)] {
        let (x, w) = vars(2, inputs, outputs, 3, (size, size));
        let (found, reference) = (run(&x, &w, ops::conv2d), run(&x, &w, composed::conv2d));
        for (found, reference) in found.iter().zip(&reference) {
            assert!(distance(found, reference) < 1e-5);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (x, w) = vars(19, 18, 20, 3, (8, 8));
    let at = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&x, &w, ops::conv2d).map(|t| values(&t)))
    };
    let one = at(1);
    assert_eq!(one, at(2));
    assert_eq!(one, at(3));
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let (x, _) = vars(1, 3, 1, 3, (4, 4));
    let (_, w) = vars(1, 4, 2, 3, (4, 4));
    assert!(ops::conv2d(&x, &w).is_err());
    assert!(FrozenConv::new(&w, &random(&[3], 0)).is_err());
}
