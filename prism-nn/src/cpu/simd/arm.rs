//! NEON.

use super::{Shape, Simd};
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub struct Neon;

impl Shape for Neon {
    const ROWS: usize = 8;
    const VECTORS: usize = 2;
}

// SAFETY (all methods): NEON is part of the aarch64 baseline; pointers are valid by the trait's contract.
impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        // SAFETY: NEON is always there.
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller promises readable floats.
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller promises writable floats.
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: NEON is always there.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: NEON is always there.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: NEON is always there.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: NEON is always there.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn gate(a: Self::V, open: Self::V) -> Self::V {
        // SAFETY: NEON is always there.
        unsafe { vbslq_f32(vcgtzq_f32(open), a, vdupq_n_f32(0.0)) }
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: NEON is always there.
        unsafe { vmaxq_f32(a, b) }
    }
}
