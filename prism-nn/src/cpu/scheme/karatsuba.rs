//! Three taps over a map of two pixels, whose neighbours are all padding.

use prism_core::simd::Simd;

use super::{Linear, SIDE, Scheme, linear};

/// Three taps over two inputs and the zeros around them: two outputs by three products.
///
/// ```text
/// y0 = w1 d0 + w2 d1 = w1 (d0 + d1) + (w2 - w1) d1
/// y1 = w0 d0 + w1 d1 = w1 (d0 + d1) + (w0 - w1) d0
/// ```
///
/// It suits maps of at most two pixels a side: a tile does not see its neighbours.
///
/// Source: Karatsuba and Ofman 1962.
#[derive(Clone, Copy, Debug)]
pub struct Karatsuba;

impl Scheme for Karatsuba {
    const IN: usize = 2;
    const PRODUCTS: usize = 3;
    const READS: &'static [usize] = &[0, 1, 2];
    const OUT: usize = 2;
    const STEP: usize = 2;
    const PAD: usize = 0;
    const TAPS: usize = 3;
    type Input = KaratsubaInput;
    type InputT = KaratsubaInputT;
    type Output = KaratsubaOutput;
    type OutputT = KaratsubaOutputT;
    type Weight = KaratsubaWeight;
    type WeightT = KaratsubaWeightT;
}

linear!(
    /// The sum, and each input by itself.
    KaratsubaInput, 2 => 3, |S, d| { [S::add(d[0], d[1]), d[1], d[0], d[0], d[0], d[0]] }
);

linear!(
    /// Transpose of [`KaratsubaInput`].
    KaratsubaInputT, 3 => 2, |S, v| { [S::add(v[0], v[2]), S::add(v[0], v[1]), v[0], v[0], v[0], v[0]] }
);

linear!(
    /// The product that both outputs share, and the one that is theirs.
    KaratsubaOutput, 3 => 2, |S, m| { [S::add(m[0], m[1]), S::add(m[0], m[2]), m[0], m[0], m[0], m[0]] }
);

linear!(
    /// Transpose of [`KaratsubaOutput`].
    KaratsubaOutputT, 2 => 3, |S, y| { [S::add(y[0], y[1]), y[0], y[1], y[0], y[0], y[0]] }
);

linear!(
    /// The middle tap, and what the others differ from it by.
    KaratsubaWeight, 3 => 3, |S, w| { [w[1], S::sub(w[2], w[1]), S::sub(w[0], w[1]), w[0], w[0], w[0]] }
);

linear!(
    /// Transpose of [`KaratsubaWeight`].
    KaratsubaWeightT, 3 => 3, |S, u| { [u[2], S::sub(u[0], S::add(u[1], u[2])), u[1], u[0], u[0], u[0]] }
);
