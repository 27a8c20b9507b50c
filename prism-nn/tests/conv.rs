//! Convolutions against candle's own, in value and gradient, on odd shapes; finite differences; the same bits at any
//! thread count.

mod support;

use candle_core::{Result, Tensor};
use prism_nn::ops::{self, FrozenConv, composed};
use proptest::prelude::*;
use support::{check_gradient, check_threads, clear_of_zero, disagreement, random, run, variable};

fn conv2d(t: &[Tensor]) -> Result<Tensor> {
    ops::conv2d(&t[0], &t[1])
}

fn composed_conv2d(t: &[Tensor]) -> Result<Tensor> {
    composed::conv2d(&t[0], &t[1])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn conv2d_and_its_gradients_agree_with_candle(
        batch in 1usize..4, inputs in 1usize..40, outputs in 1usize..20,
        kernel in prop::sample::select(vec![1usize, 3, 5]), height in 1usize..20, width in 1usize..36,
    ) {
        let (x, w) = (variable(&[batch, inputs, height, width], 0), variable(&[outputs, inputs, kernel, kernel], 1));
        let error = disagreement(conv2d, composed_conv2d, &[&x, &w]);
        prop_assert!(error < 1e-5, "{error}");
    }

    #[test]
    fn frozen_conv_and_its_gradient_agree_with_candle(
        batch in 1usize..4, inputs in 1usize..20, outputs in 1usize..40, height in 1usize..20, width in 1usize..36,
    ) {
        let x = variable(&[batch, inputs, height, width], 0);
        let (weight, bias) = (random(&[outputs, inputs, 3, 3], 1), random(&[outputs], 2));
        let before_relu = composed::conv2d(&x, &weight).unwrap().broadcast_add(&bias.reshape((1, (), 1, 1)).unwrap());
        prop_assume!(clear_of_zero(&before_relu.unwrap()));
        let conv = FrozenConv::new(&weight, &bias).unwrap();
        let fast = |t: &[Tensor]| ops::conv2d_relu_frozen(&t[0], &conv);
        let error = disagreement(fast, |t: &[Tensor]| composed::conv2d_relu_frozen(&t[0], &weight, &bias), &[&x]);
        prop_assert!(error < 1e-5, "{error}");
    }
}

#[test]
fn more_channels_than_one_block_agree_with_candle() {
    for (inputs, outputs, size) in [(70, 33, 8), (40, 65, 4), (300, 9, 16)] {
        let (x, w) = (variable(&[2, inputs, size, size], 0), variable(&[outputs, inputs, 3, 3], 1));
        assert!(disagreement(conv2d, composed_conv2d, &[&x, &w]) < 1e-5);
    }
}

#[test]
fn gradients_are_finite_differences() {
    for kernel in [1, 3] {
        let (x, w) = (variable(&[2, 3, 5, 4], 0), variable(&[4, 3, kernel, kernel], 1));
        check_gradient(conv2d, &[&x, &w], 1e-2, 1e-3);
    }
    let conv = FrozenConv::new(&random(&[4, 3, 3, 3], 1), &random(&[4], 2)).unwrap();
    check_gradient(|t: &[Tensor]| ops::conv2d_relu_frozen(&t[0], &conv), &[&variable(&[2, 3, 5, 4], 0)], 1e-3, 1e-2);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (x, w) = (variable(&[19, 18, 8, 8], 0), variable(&[20, 18, 3, 3], 1));
    check_threads(|| run(conv2d, &[&x, &w]));
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    assert!(ops::conv2d(&random(&[1, 3, 4, 4], 0), &random(&[2, 4, 3, 3], 1)).is_err());
    assert!(FrozenConv::new(&random(&[2, 4, 3, 3], 1), &random(&[3], 0)).is_err());
}
