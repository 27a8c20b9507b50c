//! Convolutions as few products: input and weight are transformed, multiplied elementwise, and transformed back.
//!
//! Per axis, with `d` the inputs of one tile, `w` the taps and `y` the outputs of the tile,
//!
//! ```text
//! y = output( weight(w) * input(d) )
//! ```
//!
//! for three linear maps; in two dimensions each map acts on columns and rows. The elementwise products, summed over input
//! channels, are one matrix product for every element of the transformed tile.
//!
//! | scheme | convolution | inputs | products | outputs | products per output (2-d) |
//! |---|---|---|---|---|---|
//! | [`Winograd`] | 3 taps | 6 | 6 | 4 | 36 / 16 (9 directly) |
//! | [`Doubled`] | 3 taps after nearest-neighbour doubling | 3 | 3 | 2 | 9 / 4 (9 directly) |
//! | [`Pointwise`] | 1 tap | 1 | 1 | 1 | 1 |
//!
//! Gradients run through the transposed maps, so each map comes with its transpose.
//!
//! Source of the first: Winograd 1980; Lavin and Gray 2016.

use super::simd::Simd;

/// The largest tile side.
pub const SIDE: usize = 6;

/// A linear map of up to [`SIDE`] numbers, lane by lane.
pub trait Linear {
    /// Numbers that go in.
    const FROM: usize;
    /// Numbers that come out.
    const TO: usize;

    /// Maps the first `FROM` elements to the first `TO`; the others mean nothing.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`.
    unsafe fn apply<S: Simd>(x: [S::V; SIDE]) -> [S::V; SIDE];
}

/// A way to convolve, per axis.
pub trait Scheme: Copy + Send + Sync + 'static {
    /// Inputs, and products, of a tile.
    const IN: usize;
    /// Outputs of a tile.
    const OUT: usize;
    /// Inputs from the first of a tile to the first of the next.
    const STEP: usize;
    /// Zeros before the first input.
    const PAD: usize;
    /// Taps of the kernel.
    const TAPS: usize;

    /// Inputs to factors.
    type Input: Linear;
    /// Its transpose.
    type InputT: Linear;
    /// Products to outputs.
    type Output: Linear;
    /// Its transpose.
    type OutputT: Linear;
    /// Taps to factors.
    type Weight: Linear;
    /// Its transpose.
    type WeightT: Linear;
}

/// Applies `L` to the columns and rows of a patch.
///
/// # Safety
/// Below `Isa::run` of `S`.
#[inline(always)]
pub unsafe fn both_axes<L: Linear, S: Simd>(mut patch: [[S::V; SIDE]; SIDE]) -> [[S::V; SIDE]; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        for row in patch.iter_mut().take(L::FROM) {
            *row = L::apply::<S>(*row);
        }
        for column in 0..L::TO {
            let mut line = [patch[0][column]; SIDE];
            for (x, row) in line.iter_mut().zip(&patch).take(L::FROM) {
                *x = row[column];
            }
            let line = L::apply::<S>(line);
            for (row, x) in patch.iter_mut().zip(line).take(L::TO) {
                row[column] = x;
            }
        }
        patch
    }
}

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

/// Declares a linear map.
macro_rules! linear {
    ($(#[$doc:meta])* $name:ident, $from:literal => $to:literal, |$s:ident, $x:ident| $body:block) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Linear for $name {
            const FROM: usize = $from;
            const TO: usize = $to;

            #[inline(always)]
            unsafe fn apply<$s: Simd>($x: [$s::V; SIDE]) -> [$s::V; SIDE] {
                // SAFETY: the caller's promise.
                unsafe { $body }
            }
        }
    };
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

/// Three taps after nearest-neighbour doubling, from the undoubled inputs.
///
/// With `x` the undoubled inputs and `s = w0 + w1 + w2`,
/// `y[2i] = w0 (x[i-1] - x[i]) + s x[i]` and `y[2i+1] = s x[i] + w2 (x[i+1] - x[i])`.
#[derive(Clone, Copy, Debug)]
pub struct Doubled;

impl Scheme for Doubled {
    const IN: usize = 3;
    const OUT: usize = 2;
    const STEP: usize = 1;
    const PAD: usize = 1;
    const TAPS: usize = 3;
    type Input = DoubledInput;
    type InputT = DoubledInputT;
    type Output = DoubledOutput;
    type OutputT = DoubledOutputT;
    type Weight = DoubledWeight;
    type WeightT = DoubledWeightT;
}

linear!(
    /// Differences to both neighbours, and the value itself.
    DoubledInput, 3 => 3, |S, d| { [S::sub(d[0], d[1]), d[1], S::sub(d[2], d[1]), d[0], d[0], d[0]] }
);

linear!(
    /// Transpose of [`DoubledInput`].
    DoubledInputT, 3 => 3, |S, v| { [v[0], S::sub(v[1], S::add(v[0], v[2])), v[2], v[0], v[0], v[0]] }
);

linear!(
    /// Sums of neighbouring products.
    DoubledOutput, 3 => 2, |S, m| { [S::add(m[0], m[1]), S::add(m[1], m[2]), m[0], m[0], m[0], m[0]] }
);

linear!(
    /// Transpose of [`DoubledOutput`].
    DoubledOutputT, 2 => 3, |S, y| { [y[0], S::add(y[0], y[1]), y[1], y[0], y[0], y[0]] }
);

linear!(
    /// The outer taps, and the sum of all.
    DoubledWeight, 3 => 3, |S, w| { [w[0], S::add(w[1], S::add(w[0], w[2])), w[2], w[0], w[0], w[0]] }
);

linear!(
    /// Transpose of [`DoubledWeight`].
    DoubledWeightT, 3 => 3, |S, u| { [S::add(u[0], u[1]), u[1], S::add(u[1], u[2]), u[0], u[0], u[0]] }
);

/// A single tap: an ordinary matrix product.
#[derive(Clone, Copy, Debug)]
pub struct Pointwise;

impl Scheme for Pointwise {
    const IN: usize = 1;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::Portable;

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
    }

    fn convolve<C: Scheme>(d: &[f32], w: &[f32]) -> Vec<f32> {
        let vector = |x: &[f32]| std::array::from_fn(|i| [x.get(i).copied().unwrap_or(0.0); 8]);
        // SAFETY: plain Rust.
        let y = unsafe {
            let (v, u) = (C::Input::apply::<Portable>(vector(d)), C::Weight::apply::<Portable>(vector(w)));
            C::Output::apply::<Portable>(std::array::from_fn(|i| Portable::mul(v[i], u[i])))
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
        let (d, w) = ([1., -2., 3.], [0.3, -0.7, 2.]);
        // The doubled inputs around outputs 2 and 3 of 1, 1, -2, -2, 3, 3.
        let expected = [0.3 + 0.7 * 2. - 2. * 2., -0.3 * 2. + 0.7 * 2. + 2. * 3.];
        for (y, e) in convolve::<Doubled>(&d, &w).into_iter().zip(expected) {
            assert!((y - e).abs() < 1e-5, "{y} {e}");
        }
    }
}
