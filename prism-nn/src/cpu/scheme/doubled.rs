//! Three taps of a map doubled by its nearest neighbours, without doubling it.

use prism_core::simd::Simd;

use super::{Linear, SIDE, Scheme, linear};

/// Three taps after nearest-neighbour doubling, from the undoubled inputs: four outputs by five products.
///
/// With `d0 d1 d2 d3` four neighbouring inputs, the outputs of the middle two are
///
/// ```text
/// y0 = w0 d0 + (w1 + w2) d1      y2 = w0 d1 + (w1 + w2) d2
/// y1 = (w0 + w1) d1 + w2 d2      y3 = (w0 + w1) d2 + w2 d3
/// ```
///
/// Up to a multiple of `e = d2 - d1`, the four are `w0 (d0 - d2)`, 0, 0 and `w2 (d3 - d1)` beside one term that all have,
/// `(w0 + w1 + w2)/2 (d1 + d2)`. The multiples are `±a` and `±b`, which makes five products:
///
/// ```text
/// p = w0 (d0 - d2)      s = (w0 + w1 + w2)/2 (d1 + d2)      q = w2 (d3 - d1)
/// a = (w1 + w2 - w0)/2 e                                    b = (w2 - w0 - w1)/2 e
///
/// y0 = s + p - a      y1 = s + b      y2 = s + a      y3 = s + q - b
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Doubled;

impl Scheme for Doubled {
    const IN: usize = 4;
    const PRODUCTS: usize = 5;
    const READS: &'static [usize] = &[0, 1, 2, 2, 3];
    const OUT: usize = 4;
    const STEP: usize = 2;
    const PAD: usize = 1;
    const TAPS: usize = 3;
    type Input = DoubledInput;
    type InputT = DoubledInputT;
    type Output = DoubledOutput;
    type OutputT = DoubledOutputT;
    type Weight = DoubledWeight;
    type WeightT = DoubledWeightT;
}

/// Half of a register.
///
/// # Safety
/// Below `Isa::run` of `S`.
#[inline(always)]
unsafe fn half<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { S::mul(S::splat(0.5), x) }
}

linear!(
    /// The inputs' factors of p, of s, of both a and b, and of q.
    DoubledInput, 4 => 4, |S, d| {
        [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[3], d[1]), d[0], d[0]]
    }
);

linear!(
    /// Transpose of [`DoubledInput`].
    DoubledInputT, 4 => 4, |S, v| {
        [v[0], S::sub(S::sub(v[1], v[2]), v[3]), S::sub(S::add(v[1], v[2]), v[0]), v[3], v[0], v[0]]
    }
);

linear!(
    /// Sums of p, s, a, b and q.
    DoubledOutput, 5 => 4, |S, m| {
        [
            S::add(m[1], S::sub(m[0], m[2])),
            S::add(m[1], m[3]),
            S::add(m[1], m[2]),
            S::add(m[1], S::sub(m[4], m[3])),
            m[0],
            m[0],
        ]
    }
);

linear!(
    /// Transpose of [`DoubledOutput`].
    DoubledOutputT, 4 => 5, |S, y| {
        [
            y[0],
            S::add(S::add(y[0], y[1]), S::add(y[2], y[3])),
            S::sub(y[2], y[0]),
            S::sub(y[1], y[3]),
            y[3],
            y[0],
        ]
    }
);

linear!(
    /// The weights' factors of p, s, a, b and q.
    DoubledWeight, 3 => 5, |S, w| {
        let difference = S::sub(w[2], w[0]);
        [
            w[0],
            half::<S>(S::add(w[1], S::add(w[0], w[2]))),
            half::<S>(S::add(difference, w[1])),
            half::<S>(S::sub(difference, w[1])),
            w[2],
            w[0],
        ]
    }
);

linear!(
    /// Transpose of [`DoubledWeight`].
    DoubledWeightT, 5 => 3, |S, u| {
        let (sum, difference) = (half::<S>(S::add(u[2], u[3])), half::<S>(S::sub(u[2], u[3])));
        let all = half::<S>(u[1]);
        [
            S::add(u[0], S::sub(all, sum)),
            S::add(all, difference),
            S::add(u[4], S::add(all, sum)),
            u[0],
            u[0],
            u[0],
        ]
    }
);
