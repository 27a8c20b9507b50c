//! What convolutions multiply: `f32`, or `bf16` in pairs. Sums are `f32`.

use prism_core::simd::Simd;

/// A number that is multiplied.
///
/// # Safety
/// Every method must be called below [`Isa::run`](prism_core::simd::Isa::run) of `S`; pointers must be valid for the numbers
/// that are read or written there.
#[expect(clippy::missing_safety_doc, reason = "one contract for all methods, above")]
pub trait Factor: Copy + Default + Send + Sync + 'static {
    /// Terms of a sum that one multiplication takes.
    const PACK: usize;
    /// A register of `PACK * LANES` numbers.
    type Reg<S: Simd>: Copy;

    /// Reads a register.
    unsafe fn load<S: Simd>(p: *const Self) -> Self::Reg<S>;
    /// Reads `PACK` numbers and repeats them in every lane.
    unsafe fn repeat<S: Simd>(p: *const Self) -> Self::Reg<S>;
    /// Writes `LANES` numbers, rounded.
    unsafe fn store<S: Simd>(p: *mut Self, v: S::V);
    /// `sum + a * b`, summed over the `PACK` numbers of each lane.
    unsafe fn multiply_add<S: Simd>(sum: S::V, a: Self::Reg<S>, b: Self::Reg<S>) -> S::V;
}

impl Factor for f32 {
    const PACK: usize = 1;
    type Reg<S: Simd> = S::V;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const f32) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::load(p) }
    }

    #[inline(always)]
    unsafe fn repeat<S: Simd>(p: *const f32) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::splat(*p) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut f32, v: S::V) {
        // SAFETY: the caller's promise.
        unsafe { S::store(p, v) }
    }

    #[inline(always)]
    unsafe fn multiply_add<S: Simd>(sum: S::V, a: S::V, b: S::V) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::mul_add(a, b, sum) }
    }
}

/// The upper half of an `f32` ([`prism_core::simd::bf16`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Factor for Bf16 {
    const PACK: usize = 2;
    type Reg<S: Simd> = S::I;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Bf16) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { S::load_short(p.cast()) }
    }

    #[inline(always)]
    unsafe fn repeat<S: Simd>(p: *const Bf16) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { S::splat_pair(p.cast()) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut Bf16, v: S::V) {
        // SAFETY: the caller's promise.
        unsafe { S::store_bf16(p.cast(), v) }
    }

    #[inline(always)]
    unsafe fn multiply_add<S: Simd>(sum: S::V, a: S::I, b: S::I) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::dot_bf16(sum, a, b) }
    }
}
