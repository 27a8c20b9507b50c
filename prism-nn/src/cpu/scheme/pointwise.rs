//! One tap.

use prism_core::simd::Simd;

use super::{Linear, SIDE, Scheme};

/// A single tap: an ordinary matrix product.
#[derive(Clone, Copy, Debug)]
pub struct Pointwise;

impl Scheme for Pointwise {
    const IN: usize = 1;
    const PRODUCTS: usize = 1;
    const READS: &'static [usize] = &[0];
    const OUT: usize = 1;
    const STEP: usize = 1;
    const PAD: usize = 0;
    const TAPS: usize = 1;
    type Input = Same;
    type InputT = Same;
    type Output = Same;
    type OutputT = Same;
    type Weight = Same;
    type WeightT = Same;
}

/// One number to itself.
#[derive(Clone, Copy, Debug)]
pub struct Same;

impl Linear for Same {
    const FROM: usize = 1;
    const TO: usize = 1;

    #[inline(always)]
    unsafe fn apply<S: Simd>(x: [S::V; SIDE]) -> [S::V; SIDE] {
        x
    }
}
