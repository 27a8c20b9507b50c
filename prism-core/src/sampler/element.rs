//! What a sampler computes with: `f32`, or `i16` with exact sums in `i32`.
//!
//! All but the final scaling of a sum goes through [`Element`], so a convolution is written once for both. An `i16`
//! stands for itself times a scale that its layer knows; two of them share a 32-bit lane, because one instruction
//! multiplies two pairs and adds both products to the lane's sum.

use crate::simd::{Plain, Simd};

/// A map holds real values times `factor`, none beyond `limit` either way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) factor: f32,
    pub(super) limit: f32,
}

/// The range of values inside a convolution, in units of the elements that go in.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValueRange {
    /// The largest transformed input over the largest input.
    pub(super) inputs: u32,
    /// The largest transformed weight.
    pub(super) weights: u32,
    /// Products in a sum.
    pub(super) depth: usize,
}

impl ValueRange {
    /// The largest element whose transformed inputs fit an `i16` and whose sums fit an `i32`:
    ///
    /// ```text
    /// |v| <= inputs * limit <= 32767        |sum of v u| <= depth * weights * inputs * limit < 2^31
    /// ```
    ///
    /// The transformed outputs fit, too: they are the convolution itself times the scheme's divisor, at most 9 *
    /// divisor * limit for each input channel, which is no more than the bound of the sums; on the way there additions
    /// may wrap, and unwrap again.
    pub(super) fn limit(self) -> f32 {
        let sums = (i32::MAX as u64 / (u64::from(self.inputs * self.weights) * self.depth as u64)) as u32;
        let numbers = i16::MAX as u32 / self.inputs;
        numbers.min(sums) as f32
    }
}

/// The bits of an `f32` that hold its exponent.
const EXPONENT: u32 = 0x7f80_0000;
/// Inputs so small that they would need a larger factor count as 0.
const LARGEST_FACTOR: f32 = 1e30;

/// Elements of feature maps, and the sums of their products.
///
/// # Safety
/// Every method must be called below [`Isa::run`](crate::simd::Isa::run) of `S`; pointers must be valid for the
/// register that is read or written there.
pub(super) trait Element: Plain + Send + Sync + 'static {
    /// A sum of products.
    type Sum: Plain + Send + Sync + 'static;
    /// A register of `PACK * LANES` elements.
    type Reg<S: Simd>: Copy;
    /// A register of `LANES` sums.
    type Acc<S: Simd>: Copy;
    /// Consecutive input channels that one multiplication takes.
    const PACK: usize;
    /// Packs that are summed before they are added to the sums so far; shorter sums round less.
    const BLOCK: usize;

    /// The scale of a map whose values reach `range` either way, or are not negative, and which is then convolved.
    fn scale(range: f32, inside: ValueRange) -> Scale;
    /// The scale of one row of inputs of the first layer, whose depth is `depth`.
    fn scale_of_row(row: &[f32], depth: usize) -> Scale;
    /// The element of a real value.
    fn from_real(x: f32, scale: Scale) -> Self;

    unsafe fn load<S: Simd>(p: *const Self) -> Self::Reg<S>;
    unsafe fn store<S: Simd>(p: *mut Self, x: Self::Reg<S>);
    unsafe fn add<S: Simd>(a: Self::Reg<S>, b: Self::Reg<S>) -> Self::Reg<S>;
    unsafe fn sub<S: Simd>(a: Self::Reg<S>, b: Self::Reg<S>) -> Self::Reg<S>;
    /// `PACK` elements, repeated in every lane.
    unsafe fn repeat<S: Simd>(p: *const Self) -> Self::Reg<S>;
    /// `PACK * LANES` weights.
    unsafe fn widen<S: Simd>(p: *const i8) -> Self::Reg<S>;

    unsafe fn zero<S: Simd>() -> Self::Acc<S>;
    unsafe fn load_sum<S: Simd>(p: *const Self::Sum) -> Self::Acc<S>;
    unsafe fn store_sum<S: Simd>(p: *mut Self::Sum, x: Self::Acc<S>);
    unsafe fn add_sum<S: Simd>(a: Self::Acc<S>, b: Self::Acc<S>) -> Self::Acc<S>;
    unsafe fn sub_sum<S: Simd>(a: Self::Acc<S>, b: Self::Acc<S>) -> Self::Acc<S>;
    /// `sum + a * b`, summed over the `PACK` elements of each lane.
    unsafe fn multiply_add<S: Simd>(sum: Self::Acc<S>, a: Self::Reg<S>, b: Self::Reg<S>) -> Self::Acc<S>;
    /// Sums as the nearest floats.
    unsafe fn to_float<S: Simd>(sum: Self::Acc<S>) -> S::V;
    /// `x * a + b`; for `i16` rounded twice on every instruction set.
    unsafe fn affine<S: Simd>(x: S::V, a: S::V, b: S::V) -> S::V;
    /// Writes `LANES` floats as elements; an `i16` is rounded to the nearest within `-limit..=limit`.
    unsafe fn write<S: Simd>(p: *mut Self, x: S::V, limit: f32);
}

// SAFETY (all methods): each hands the caller's promise on to the one method of `Simd` that it names.
#[expect(clippy::undocumented_unsafe_blocks, reason = "every block is the same, see above")]
impl Element for f32 {
    type Sum = f32;
    type Reg<S: Simd> = S::V;
    type Acc<S: Simd> = S::V;
    const PACK: usize = 1;
    const BLOCK: usize = 64;

    fn scale(_range: f32, _inside: ValueRange) -> Scale {
        Scale { factor: 1.0, limit: f32::INFINITY }
    }
    fn scale_of_row(_row: &[f32], _depth: usize) -> Scale {
        Scale { factor: 1.0, limit: f32::INFINITY }
    }
    fn from_real(x: f32, _scale: Scale) -> f32 {
        x
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const f32) -> S::V {
        unsafe { S::load(p) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut f32, x: S::V) {
        unsafe { S::store(p, x) }
    }
    #[inline(always)]
    unsafe fn add<S: Simd>(a: S::V, b: S::V) -> S::V {
        unsafe { S::add(a, b) }
    }
    #[inline(always)]
    unsafe fn sub<S: Simd>(a: S::V, b: S::V) -> S::V {
        unsafe { S::sub(a, b) }
    }
    #[inline(always)]
    unsafe fn repeat<S: Simd>(p: *const f32) -> S::V {
        unsafe { S::splat(*p) }
    }
    #[inline(always)]
    unsafe fn widen<S: Simd>(p: *const i8) -> S::V {
        unsafe { S::widen(p) }
    }
    #[inline(always)]
    unsafe fn zero<S: Simd>() -> S::V {
        unsafe { S::splat(0.0) }
    }
    #[inline(always)]
    unsafe fn load_sum<S: Simd>(p: *const f32) -> S::V {
        unsafe { S::load(p) }
    }
    #[inline(always)]
    unsafe fn store_sum<S: Simd>(p: *mut f32, x: S::V) {
        unsafe { S::store(p, x) }
    }
    #[inline(always)]
    unsafe fn add_sum<S: Simd>(a: S::V, b: S::V) -> S::V {
        unsafe { S::add(a, b) }
    }
    #[inline(always)]
    unsafe fn sub_sum<S: Simd>(a: S::V, b: S::V) -> S::V {
        unsafe { S::sub(a, b) }
    }
    #[inline(always)]
    unsafe fn multiply_add<S: Simd>(sum: S::V, a: S::V, b: S::V) -> S::V {
        unsafe { S::mul_add(a, b, sum) }
    }
    #[inline(always)]
    unsafe fn to_float<S: Simd>(sum: S::V) -> S::V {
        sum
    }
    #[inline(always)]
    unsafe fn affine<S: Simd>(x: S::V, a: S::V, b: S::V) -> S::V {
        unsafe { S::mul_add(x, a, b) }
    }
    #[inline(always)]
    unsafe fn write<S: Simd>(p: *mut f32, x: S::V, _limit: f32) {
        unsafe { S::store(p, x) }
    }
}

// SAFETY (all methods): each hands the caller's promise on to the method of `Simd` that it names.
#[expect(clippy::undocumented_unsafe_blocks, reason = "every block is the same, see above")]
impl Element for i16 {
    type Sum = i32;
    type Reg<S: Simd> = S::I;
    type Acc<S: Simd> = S::I;
    const PACK: usize = 2;
    const BLOCK: usize = usize::MAX;

    fn scale(range: f32, inside: ValueRange) -> Scale {
        let limit = inside.limit();
        Scale { factor: limit / range, limit }
    }
    /// A power of two, so that scaling is exact.
    fn scale_of_row(row: &[f32], depth: usize) -> Scale {
        let limit = ValueRange { inputs: 1, weights: 1, depth }.limit();
        let largest = row.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let ratio = (limit / largest).clamp(f32::MIN_POSITIVE, LARGEST_FACTOR);
        Scale { factor: f32::from_bits(ratio.to_bits() & EXPONENT), limit }
    }
    fn from_real(x: f32, scale: Scale) -> i16 {
        libm::rintf(x * scale.factor) as i16
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const i16) -> S::I {
        unsafe { S::load_short(p) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut i16, x: S::I) {
        unsafe { S::store_short(p, x) }
    }
    #[inline(always)]
    unsafe fn add<S: Simd>(a: S::I, b: S::I) -> S::I {
        unsafe { S::add_short(a, b) }
    }
    #[inline(always)]
    unsafe fn sub<S: Simd>(a: S::I, b: S::I) -> S::I {
        unsafe { S::sub_short(a, b) }
    }
    #[inline(always)]
    unsafe fn repeat<S: Simd>(p: *const i16) -> S::I {
        unsafe { S::splat_pair(p) }
    }
    #[inline(always)]
    unsafe fn widen<S: Simd>(p: *const i8) -> S::I {
        unsafe { S::widen_short(p) }
    }
    #[inline(always)]
    unsafe fn zero<S: Simd>() -> S::I {
        unsafe { S::zero_int() }
    }
    #[inline(always)]
    unsafe fn load_sum<S: Simd>(p: *const i32) -> S::I {
        unsafe { S::load_int(p) }
    }
    #[inline(always)]
    unsafe fn store_sum<S: Simd>(p: *mut i32, x: S::I) {
        unsafe { S::store_int(p, x) }
    }
    #[inline(always)]
    unsafe fn add_sum<S: Simd>(a: S::I, b: S::I) -> S::I {
        unsafe { S::add_int(a, b) }
    }
    #[inline(always)]
    unsafe fn sub_sum<S: Simd>(a: S::I, b: S::I) -> S::I {
        unsafe { S::sub_int(a, b) }
    }
    #[inline(always)]
    unsafe fn multiply_add<S: Simd>(sum: S::I, a: S::I, b: S::I) -> S::I {
        unsafe { S::dot(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn to_float<S: Simd>(sum: S::I) -> S::V {
        unsafe { S::to_float(sum) }
    }
    #[inline(always)]
    unsafe fn affine<S: Simd>(x: S::V, a: S::V, b: S::V) -> S::V {
        unsafe { S::add(S::mul(x, a), b) }
    }
    #[inline(always)]
    unsafe fn write<S: Simd>(p: *mut i16, x: S::V, limit: f32) {
        unsafe { S::store_rounded(p, S::min(S::max(x, S::splat(-limit)), S::splat(limit))) }
    }
}
