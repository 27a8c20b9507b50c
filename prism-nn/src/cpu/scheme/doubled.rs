//! Three taps of a map doubled by its nearest neighbours, without doubling it.

use prism_core::simd::Simd;

use super::{Linear, SIDE, Scheme, linear};

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
