//! Three taps by Winograd's minimal filtering.

use prism_core::simd::Simd;

use super::{Linear, SIDE, Scheme, linear};

/// F(4, 3): four outputs of three taps by six products.
///
/// The products are values of polynomials at 0, ±3/4, ±3/2 and infinity; at these points the rounding error is about twice
/// that of direct summation, and a fifth of that at the textbook's 0, ±1, ±2.
#[derive(Clone, Copy, Debug)]
pub struct Winograd;

/// The points of [`Winograd`], and what its maps are made of.
const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
const A3: f32 = A2 * A;
const B3: f32 = B2 * B;
/// The weights' denominators at 0, ±A and ±B.
const AT_0: f32 = 1.0 / (A2 * B2);
const AT_A: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
const AT_B: f32 = 1.0 / (2.0 * B2 * (B2 - A2));

impl Scheme for Winograd {
    const IN: usize = 6;
    const PRODUCTS: usize = 6;
    const READS: &'static [usize] = &[0, 1, 2, 3, 4, 5];
    const OUT: usize = 4;
    const STEP: usize = 4;
    const PAD: usize = 1;
    const TAPS: usize = 3;
    type Input = WinogradInput;
    type InputT = WinogradInputT;
    type Output = WinogradOutput;
    type OutputT = WinogradOutputT;
    type Weight = WinogradWeight;
    type WeightT = WinogradWeightT;
}

/// `x + k * y` for a constant k.
///
/// # Safety
/// Below `Isa::run` of `S`.
#[inline(always)]
unsafe fn plus<S: Simd>(x: S::V, k: f32, y: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { S::mul_add(S::splat(k), y, x) }
}

/// `k * x` for a constant k.
///
/// # Safety
/// Below `Isa::run` of `S`.
#[inline(always)]
unsafe fn times<S: Simd>(k: f32, x: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { S::mul(S::splat(k), x) }
}

linear!(
    /// Lagrange numerators: row i holds the coefficients of the product of `x - p_j` over all points but the i-th.
    WinogradInput, 6 => 6, |S, d| {
        let (even_a, odd_a) = (plus::<S>(d[4], -B2, d[2]), plus::<S>(d[3], -B2, d[1]));
        let (even_b, odd_b) = (plus::<S>(d[4], -A2, d[2]), plus::<S>(d[3], -A2, d[1]));
        [
            plus::<S>(plus::<S>(d[4], -(A2 + B2), d[2]), A2 * B2, d[0]),
            plus::<S>(even_a, A, odd_a),
            plus::<S>(even_a, -A, odd_a),
            plus::<S>(even_b, B, odd_b),
            plus::<S>(even_b, -B, odd_b),
            plus::<S>(plus::<S>(d[5], -(A2 + B2), d[3]), A2 * B2, d[1]),
        ]
    }
);

linear!(
    /// Transpose of [`WinogradInput`].
    WinogradInputT, 6 => 6, |S, v| {
        let (even_a, odd_a) = (S::add(v[1], v[2]), times::<S>(A, S::sub(v[1], v[2])));
        let (even_b, odd_b) = (S::add(v[3], v[4]), times::<S>(B, S::sub(v[3], v[4])));
        [
            times::<S>(A2 * B2, v[0]),
            plus::<S>(plus::<S>(times::<S>(A2 * B2, v[5]), -B2, odd_a), -A2, odd_b),
            plus::<S>(plus::<S>(times::<S>(-(A2 + B2), v[0]), -B2, even_a), -A2, even_b),
            plus::<S>(S::add(odd_a, odd_b), -(A2 + B2), v[5]),
            S::add(v[0], S::add(even_a, even_b)),
            v[5],
        ]
    }
);

linear!(
    /// Values of the product polynomial to its four coefficients: row k holds `p_i^k`.
    WinogradOutput, 6 => 4, |S, m| {
        let (even_a, odd_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (even_b, odd_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(even_a, even_b)),
            plus::<S>(times::<S>(A, odd_a), B, odd_b),
            plus::<S>(times::<S>(A2, even_a), B2, even_b),
            plus::<S>(plus::<S>(m[5], A3, odd_a), B3, odd_b),
            m[4],
            m[5],
        ]
    }
);

linear!(
    /// Transpose of [`WinogradOutput`].
    WinogradOutputT, 4 => 6, |S, y| {
        let (even_a, odd_a) = (plus::<S>(y[0], A2, y[2]), plus::<S>(times::<S>(A, y[1]), A3, y[3]));
        let (even_b, odd_b) = (plus::<S>(y[0], B2, y[2]), plus::<S>(times::<S>(B, y[1]), B3, y[3]));
        [
            y[0],
            S::add(even_a, odd_a),
            S::sub(even_a, odd_a),
            S::add(even_b, odd_b),
            S::sub(even_b, odd_b),
            y[3],
        ]
    }
);

linear!(
    /// The taps' polynomial at each point, over that point's denominator.
    WinogradWeight, 3 => 6, |S, w| {
        let (even_a, odd_a) = (times::<S>(AT_A, plus::<S>(w[0], A2, w[2])), times::<S>(AT_A * A, w[1]));
        let (even_b, odd_b) = (times::<S>(AT_B, plus::<S>(w[0], B2, w[2])), times::<S>(AT_B * B, w[1]));
        [
            times::<S>(AT_0, w[0]),
            S::add(even_a, odd_a),
            S::sub(even_a, odd_a),
            S::add(even_b, odd_b),
            S::sub(even_b, odd_b),
            w[2],
        ]
    }
);

linear!(
    /// Transpose of [`WinogradWeight`].
    WinogradWeightT, 6 => 3, |S, u| {
        let (even_a, odd_a) = (times::<S>(AT_A, S::add(u[1], u[2])), times::<S>(AT_A, S::sub(u[1], u[2])));
        let (even_b, odd_b) = (times::<S>(AT_B, S::add(u[3], u[4])), times::<S>(AT_B, S::sub(u[3], u[4])));
        [
            plus::<S>(S::add(even_a, even_b), AT_0, u[0]),
            plus::<S>(times::<S>(A, odd_a), B, odd_b),
            plus::<S>(plus::<S>(u[5], A2, even_a), B2, even_b),
            u[3],
            u[4],
            u[5],
        ]
    }
);
