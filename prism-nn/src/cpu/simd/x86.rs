//! AVX-512, and AVX2 with fused multiply-add.

use super::{Kernel, Shape, Simd};
use std::arch::x86_64::*;

#[target_feature(enable = "avx512f")]
pub unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function's own features are those of `Avx512`.
    unsafe { kernel.run::<Avx512>() }
}

#[target_feature(enable = "avx2,fma")]
pub unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function's own features are those of `Avx2`.
    unsafe { kernel.run::<Avx2>() }
}

#[derive(Clone, Copy)]
pub struct Avx512;

impl Shape for Avx512 {
    const ROWS: usize = 8;
    const VECTORS: usize = 2;
}

#[derive(Clone, Copy)]
pub struct Avx2;

impl Shape for Avx2 {
    const ROWS: usize = 4;
    const VECTORS: usize = 2;
}

/// Where `open` is positive.
///
/// # Safety
/// The machine must have AVX-512F.
#[inline(always)]
unsafe fn gate_512(a: __m512, open: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(open, _mm512_setzero_ps()), a) }
}

/// Where `open` is positive.
///
/// # Safety
/// The machine must have AVX2.
#[inline(always)]
unsafe fn gate_256(a: __m256, open: __m256) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(open, _mm256_setzero_ps()), a) }
}

/// Implements `Simd` by functions of one vector type.
macro_rules! simd {
    ($set:ty, $v:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident,
        [$($op:ident: $intrinsic:ident),*]) => {
        impl Simd for $set {
            type V = $v;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(x: f32) -> Self::V {
                // SAFETY: the caller runs below `Isa::run`, on a machine that has the instruction.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const f32) -> Self::V {
                // SAFETY: as in `splat`; the caller promises readable floats.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn store(p: *mut f32, v: Self::V) {
                // SAFETY: as in `splat`; the caller promises writable floats.
                unsafe { $store(p, v) }
            }
            #[inline(always)]
            unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                // SAFETY: as in `splat`.
                unsafe { $fma(a, b, c) }
            }
            $(#[inline(always)]
            unsafe fn $op(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: as in `splat`.
                unsafe { $intrinsic(a, b) }
            })*
        }
    };
}

simd!(
    Avx512, __m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps,
    [add: _mm512_add_ps, sub: _mm512_sub_ps, mul: _mm512_mul_ps, max: _mm512_max_ps, gate: gate_512]
);
simd!(
    Avx2, __m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps,
    [add: _mm256_add_ps, sub: _mm256_sub_ps, mul: _mm256_mul_ps, max: _mm256_max_ps, gate: gate_256]
);
