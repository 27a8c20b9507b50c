//! Convolutions by few products: input and weight are transformed, multiplied elementwise, and transformed back.
//!
//! Per axis, with `d` the inputs of one tile, `w` the taps and `y` the outputs of the tile,
//!
//! ```text
//! y = output( weight(w) * input(d) ) / divisor
//! ```
//!
//! for three linear maps; in two dimensions each acts on columns and rows. The elementwise products, summed over input
//! channels, are one matrix product for every element of the transformed tile. Transformed weights are integers: with
//! taps of -1, 0 and 1 they fit a byte, and the divisor goes into the scale of the outputs.
//!
//! | scheme | convolution | inputs | products | outputs | products per output (2-d) | transformed weights up to |
//! |---|---|---|---|---|---|---|
//! | [`Doubled`] | 3 taps after nearest-neighbour doubling | 3 | 3 | 2 | 9 / 4 (9 directly) | 9 |
//! | [`Doubled4`] | the same | 4 | 5 | 4 | 25 / 16 (9 directly) | 9 |
//! | [`Winograd2`] | 3 taps, F(2, 3) | 4 | 4 | 2 | 16 / 4 (9 directly) | 9 |
//! | [`Winograd4`] | 3 taps, F(4, 3) | 6 | 6 | 4 | 36 / 16 (9 directly) | 49 |
//! | [`Pointwise`] | 1 tap | 1 | 1 | 1 | 1 | 1 |
//!
//! [`Winograd4`] evaluates at 0, 1, -1, 1/2, -2 and infinity. With a point and its negative reciprocal the rounding
//! error of `f32` is a third of that of the usual 0, ±1, ±2, and about twice that of direct summation. For `i16` its
//! inputs would grow too much; those of [`Winograd2`] and [`Doubled4`] grow fourfold, of [`Doubled`] twofold.
//!
//! Sources: Winograd 1980; Lavin and Gray 2016; on points, Barabasz et al. 2018.

use super::element::Element;
use crate::simd::Simd;

/// The largest number of inputs, products or outputs of a tile.
pub(super) const SIDE: usize = 6;

/// A way to convolve elements of type `E`, per axis.
pub(super) trait Scheme<E: Element> {
    /// Inputs of a tile.
    const IN: usize;
    /// Products of a tile.
    const PRODUCTS: usize;
    /// Which of the transformed inputs each product reads, rising; several may read one.
    const READS: &'static [usize];
    /// How many transformed inputs are read.
    const READ: usize = Self::READS[Self::PRODUCTS - 1] + 1;
    /// Outputs of a tile.
    const OUT: usize;
    /// Inputs from the first of a tile to the first of the next.
    const STEP: usize;
    /// Zeros before the first input.
    const PAD: usize;
    /// Taps of the kernel.
    const TAPS: usize;
    /// The weights' map: `PRODUCTS` rows of `TAPS`.
    const WEIGHT: &'static [&'static [i8]];
    /// What outputs are too large by.
    const DIVISOR: f32;

    /// The inputs' map, `IN` to `READ`; other elements mean nothing.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`.
    unsafe fn input<S: Simd>(d: [E::Reg<S>; SIDE]) -> [E::Reg<S>; SIDE];
    /// The products' map, `PRODUCTS` to `OUT`; other elements mean nothing.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`.
    unsafe fn output<S: Simd>(m: [E::Acc<S>; SIDE]) -> [E::Acc<S>; SIDE];
}

/// Which schemes convolve elements of a type.
pub(super) trait Schemes: Element {
    /// For convolutions that keep the side.
    type Same: Scheme<Self>;
    /// For convolutions of doubled maps, but for the first block's, which takes [`Doubled`]: it has few tiles, and they
    /// would wait for each of its many weights.
    type Twice: Scheme<Self>;
}

impl Schemes for f32 {
    type Same = Winograd4;
    type Twice = Doubled4;
}

/// Never by others: what integers draw must stay the same to the bit.
impl Schemes for i16 {
    type Same = Winograd2;
    type Twice = Doubled;
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

/// Three taps after nearest-neighbour doubling, from the undoubled inputs.
///
/// With `x` the undoubled inputs and `s = w0 + w1 + w2`,
/// `y[2i] = w0 (x[i-1] - x[i]) + s x[i]` and `y[2i+1] = s x[i] + w2 (x[i+1] - x[i])`.
pub(super) struct Doubled;

impl<E: Element> Scheme<E> for Doubled {
    const IN: usize = 3;
    const PRODUCTS: usize = 3;
    const READS: &'static [usize] = &[0, 1, 2];
    const OUT: usize = 2;
    const STEP: usize = 1;
    const PAD: usize = 1;
    const TAPS: usize = 3;
    const WEIGHT: &'static [&'static [i8]] = &[&[1, 0, 0], &[1, 1, 1], &[0, 0, 1]];
    const DIVISOR: f32 = 1.0;

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [E::Reg<S>; SIDE]) -> [E::Reg<S>; SIDE] {
        // SAFETY: the caller's promise.
        unsafe { [E::sub::<S>(d[0], d[1]), d[1], E::sub::<S>(d[2], d[1]), d[0], d[0], d[0]] }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [E::Acc<S>; SIDE]) -> [E::Acc<S>; SIDE] {
        // SAFETY: the caller's promise.
        unsafe { [E::add_sum::<S>(m[0], m[1]), E::add_sum::<S>(m[1], m[2]), m[0], m[0], m[0], m[0]] }
    }
}

/// Three taps after nearest-neighbour doubling, from the undoubled inputs: four outputs by five products, with additions
/// only.
///
/// With `d0 d1 d2 d3` four neighbouring inputs, the outputs of the middle two are
///
/// ```text
/// y0 = w0 d0 + (w1 + w2) d1      y2 = w0 d1 + (w1 + w2) d2
/// y1 = (w0 + w1) d1 + w2 d2      y3 = (w0 + w1) d2 + w2 d3
/// ```
///
/// They share `s`, and what is left of them are three multiples of `d2 - d1`, which are ±a and ±b, and two products:
///
/// ```text
/// p = 2 w0 (d0 - d2)      s = (w0 + w1 + w2) (d1 + d2)      q = 2 w2 (d3 - d1)
/// a = (w1 + w2 - w0) (d2 - d1)      b = (w2 - w0 - w1) (d2 - d1)
///
/// 2 y0 = s + p - a      2 y1 = s + b      2 y2 = s + a      2 y3 = s + q - b
/// ```
pub(super) struct Doubled4;

impl<E: Element> Scheme<E> for Doubled4 {
    const IN: usize = 4;
    const PRODUCTS: usize = 5;
    const READS: &'static [usize] = &[0, 1, 2, 2, 3];
    const OUT: usize = 4;
    const STEP: usize = 2;
    const PAD: usize = 1;
    const TAPS: usize = 3;
    const WEIGHT: &'static [&'static [i8]] = &[&[2, 0, 0], &[1, 1, 1], &[-1, 1, 1], &[-1, -1, 1], &[0, 0, 2]];
    const DIVISOR: f32 = 4.0;

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [E::Reg<S>; SIDE]) -> [E::Reg<S>; SIDE] {
        // SAFETY: the caller's promise.
        unsafe {
            let step = E::sub::<S>(d[2], d[1]);
            [E::sub::<S>(d[0], d[2]), E::add::<S>(d[1], d[2]), step, E::sub::<S>(d[3], d[1]), d[0], d[0]]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [E::Acc<S>; SIDE]) -> [E::Acc<S>; SIDE] {
        // SAFETY: the caller's promise.
        unsafe {
            [
                E::add_sum::<S>(m[1], E::sub_sum::<S>(m[0], m[2])),
                E::add_sum::<S>(m[1], m[3]),
                E::add_sum::<S>(m[1], m[2]),
                E::add_sum::<S>(m[1], E::sub_sum::<S>(m[4], m[3])),
                m[0],
                m[0],
            ]
        }
    }
}

/// F(2, 3): two outputs of three taps by four products, with additions only.
pub(super) struct Winograd2;

impl<E: Element> Scheme<E> for Winograd2 {
    const IN: usize = 4;
    const PRODUCTS: usize = 4;
    const READS: &'static [usize] = &[0, 1, 2, 3];
    const OUT: usize = 2;
    const STEP: usize = 2;
    const PAD: usize = 1;
    const TAPS: usize = 3;
    const WEIGHT: &'static [&'static [i8]] = &[&[2, 0, 0], &[1, 1, 1], &[1, -1, 1], &[0, 0, 2]];
    const DIVISOR: f32 = 4.0;

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [E::Reg<S>; SIDE]) -> [E::Reg<S>; SIDE] {
        // SAFETY: the caller's promise.
        unsafe {
            let ends = (E::sub::<S>(d[0], d[2]), E::sub::<S>(d[3], d[1]));
            [ends.0, E::add::<S>(d[1], d[2]), E::sub::<S>(d[2], d[1]), ends.1, d[0], d[0]]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [E::Acc<S>; SIDE]) -> [E::Acc<S>; SIDE] {
        // SAFETY: the caller's promise.
        unsafe {
            let (sum, difference) = (E::add_sum::<S>(m[1], m[2]), E::sub_sum::<S>(m[1], m[2]));
            [E::add_sum::<S>(m[0], sum), E::add_sum::<S>(difference, m[3]), m[0], m[0], m[0], m[0]]
        }
    }
}

/// F(4, 3): four outputs of three taps by six products.
pub(super) struct Winograd4;

impl Scheme<f32> for Winograd4 {
    const IN: usize = 6;
    const PRODUCTS: usize = 6;
    const READS: &'static [usize] = &[0, 1, 2, 3, 4, 5];
    const OUT: usize = 4;
    const STEP: usize = 4;
    const PAD: usize = 1;
    const TAPS: usize = 3;
    const WEIGHT: &'static [&'static [i8]] =
        &[&[1, 0, 0], &[1, 1, 1], &[1, -1, 1], &[4, 2, 1], &[1, -2, 4], &[0, 0, 1]];
    const DIVISOR: f32 = 225.0;

    /// Row i holds the coefficients of the product of `x - p_j` over all points but the i-th.
    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S::V; SIDE]) -> [S::V; SIDE] {
        // SAFETY: the caller's promise.
        unsafe {
            let (odd, even) = (S::sub(d[3], d[1]), S::sub(d[4], d[2]));
            [
                plus::<S>(plus::<S>(S::add(d[0], d[4]), -2.0, d[2]), 1.5, odd),
                plus::<S>(plus::<S>(S::sub(d[4], d[1]), 0.5, d[2]), 2.5, d[3]),
                plus::<S>(plus::<S>(S::add(d[4], d[1]), -2.5, d[2]), 0.5, d[3]),
                plus::<S>(even, 2.0, odd),
                plus::<S>(even, -0.5, odd),
                plus::<S>(plus::<S>(S::add(d[1], d[5]), -2.0, d[3]), 1.5, even),
            ]
        }
    }

    /// Row k holds the k-th powers of the points, times 15 over the weights' denominators 1, 3, -3, -15/4, 15, 1.
    #[inline(always)]
    unsafe fn output<S: Simd>(m: [S::V; SIDE]) -> [S::V; SIDE] {
        // SAFETY: the caller's promise.
        unsafe {
            let five = S::splat(5.0);
            let (even, odd) = (S::mul(five, S::sub(m[1], m[2])), S::mul(five, S::add(m[1], m[2])));
            [
                plus::<S>(S::add(plus::<S>(even, -4.0, m[3]), m[4]), 15.0, m[0]),
                plus::<S>(odd, -2.0, S::add(m[3], m[4])),
                plus::<S>(S::sub(even, m[3]), 4.0, m[4]),
                plus::<S>(plus::<S>(plus::<S>(odd, -0.5, m[3]), -8.0, m[4]), 15.0, m[5]),
                m[0],
                m[0],
            ]
        }
    }
}

/// A single tap: an ordinary matrix product.
pub(super) struct Pointwise;

impl<E: Element> Scheme<E> for Pointwise {
    const IN: usize = 1;
    const PRODUCTS: usize = 1;
    const READS: &'static [usize] = &[0];
    const OUT: usize = 1;
    const STEP: usize = 1;
    const PAD: usize = 0;
    const TAPS: usize = 1;
    const WEIGHT: &'static [&'static [i8]] = &[&[1]];
    const DIVISOR: f32 = 1.0;

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [E::Reg<S>; SIDE]) -> [E::Reg<S>; SIDE] {
        d
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [E::Acc<S>; SIDE]) -> [E::Acc<S>; SIDE] {
        m
    }
}
