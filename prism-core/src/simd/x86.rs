//! AVX-512 and AVX2.

use core::arch::x86_64::*;

use super::{Kernel, Shape, Simd};

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function's own features are those of `Avx512`.
    unsafe { kernel.run::<Avx512>() }
}

#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function's own features are those of `Avx2`.
    unsafe { kernel.run::<Avx2>() }
}

#[derive(Clone, Copy)]
pub(super) struct Avx512;

impl Shape for Avx512 {
    const ROWS: usize = 14;
    const BLOCK: (usize, usize) = (8, 2);
}

#[derive(Clone, Copy)]
pub(super) struct Avx2;

impl Shape for Avx2 {
    const ROWS: usize = 6;
    const BLOCK: (usize, usize) = (4, 2);
}

/// Methods that are one intrinsic each, by the trait's name.
macro_rules! methods {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $body:expr;)*) => {
        $(#[inline(always)]
        unsafe fn $name($($arg: $type),*) $(-> $result)? {
            // SAFETY: the caller runs below `Isa::run`, on a machine that has the instruction; pointers are valid by
            // the trait's contract.
            unsafe { $body }
        })*
    };
}

/// `acc + a.0 * b.0 + a.1 * b.1` in every 32-bit lane.
///
/// In assembly, because LLVM takes the intrinsic apart again, into a multiplication and an addition, which is half as
/// fast.
///
/// # Safety
/// The machine must have AVX-512 VNNI.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn dot_512(mut acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: one instruction, on registers alone, which the machine has by the caller's promise.
    unsafe {
        core::arch::asm!(
            "vpdpwssd {acc}, {a}, {b}",
            acc = inout(zmm_reg) acc, a = in(zmm_reg) a, b = in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// `acc + a.0 * b.0 + a.1 * b.1` of `bf16` in every 32-bit lane. In assembly, so that kernels need not be compiled once more
/// for machines that have it.
///
/// # Safety
/// The machine must have AVX-512 BF16.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn dot_bf16_512(mut acc: __m512, a: __m512i, b: __m512i) -> __m512 {
    // SAFETY: one instruction, on registers alone, which the machine has by the caller's promise.
    unsafe {
        core::arch::asm!(
            "vdpbf16ps {acc}, {a}, {b}",
            acc = inout(zmm_reg) acc, a = in(zmm_reg) a, b = in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// Floats as `bf16`.
///
/// # Safety
/// As for [`dot_bf16_512`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bf16_512(v: __m512) -> __m256i {
    let rounded: __m256i;
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "vcvtneps2bf16 {rounded}, {v}",
            rounded = out(ymm_reg) rounded, v = in(zmm_reg) v,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    rounded
}

impl Simd for Avx512 {
    type V = __m512;
    type I = __m512i;
    const LANES: usize = 16;

    methods! {
        splat(x: f32) -> __m512 = _mm512_set1_ps(x);
        load(p: *const f32) -> __m512 = _mm512_loadu_ps(p);
        store(p: *mut f32, v: __m512) = _mm512_storeu_ps(p, v);
        mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        gate(a: __m512, open: __m512) -> __m512 =
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(open, _mm512_setzero_ps()), a);
        widen(p: *const i8) -> __m512 = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())));
        prefetch(p: *const i8) = _mm_prefetch::<_MM_HINT_T1>(p);
        zero_int() -> __m512i = _mm512_setzero_si512();
        load_int(p: *const i32) -> __m512i = _mm512_loadu_si512(p.cast());
        store_int(p: *mut i32, v: __m512i) = _mm512_storeu_si512(p.cast(), v);
        add_int(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        sub_int(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        to_float(v: __m512i) -> __m512 = _mm512_cvtepi32_ps(v);
        load_short(p: *const i16) -> __m512i = _mm512_loadu_si512(p.cast());
        store_short(p: *mut i16, v: __m512i) = _mm512_storeu_si512(p.cast(), v);
        add_short(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi16(a, b);
        sub_short(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi16(a, b);
        splat_pair(p: *const i16) -> __m512i = _mm512_set1_epi32(p.cast::<i32>().read_unaligned());
        widen_short(p: *const i8) -> __m512i = _mm512_cvtepi8_epi16(_mm256_loadu_si256(p.cast()));
        dot(acc: __m512i, a: __m512i, b: __m512i) -> __m512i = dot_512(acc, a, b);
        store_rounded(p: *mut i16, v: __m512) =
            _mm256_storeu_si256(p.cast(), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v)));
        store_bf16(p: *mut u16, v: __m512) = _mm256_storeu_si256(p.cast(), bf16_512(v));
        dot_bf16(acc: __m512, a: __m512i, b: __m512i) -> __m512 = dot_bf16_512(acc, a, b);
    }
}

/// The low and high four lanes of rounded floats as eight `i16`, in order.
///
/// # Safety
/// The machine must have AVX2.
#[inline(always)]
unsafe fn rounded_256(v: __m256) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let v = _mm256_cvtps_epi32(v);
        _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v))
    }
}

impl Simd for Avx2 {
    type V = __m256;
    type I = __m256i;
    const LANES: usize = 8;

    methods! {
        splat(x: f32) -> __m256 = _mm256_set1_ps(x);
        load(p: *const f32) -> __m256 = _mm256_loadu_ps(p);
        store(p: *mut f32, v: __m256) = _mm256_storeu_ps(p, v);
        mul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        gate(a: __m256, open: __m256) -> __m256 =
            _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(open, _mm256_setzero_ps()), a);
        widen(p: *const i8) -> __m256 = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())));
        prefetch(p: *const i8) = _mm_prefetch::<_MM_HINT_T1>(p);
        zero_int() -> __m256i = _mm256_setzero_si256();
        load_int(p: *const i32) -> __m256i = _mm256_loadu_si256(p.cast());
        store_int(p: *mut i32, v: __m256i) = _mm256_storeu_si256(p.cast(), v);
        add_int(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        sub_int(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi32(a, b);
        to_float(v: __m256i) -> __m256 = _mm256_cvtepi32_ps(v);
        load_short(p: *const i16) -> __m256i = _mm256_loadu_si256(p.cast());
        store_short(p: *mut i16, v: __m256i) = _mm256_storeu_si256(p.cast(), v);
        add_short(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi16(a, b);
        sub_short(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi16(a, b);
        splat_pair(p: *const i16) -> __m256i = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
        widen_short(p: *const i8) -> __m256i = _mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast()));
        dot(acc: __m256i, a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
        store_rounded(p: *mut i16, v: __m256) = _mm_storeu_si128(p.cast(), rounded_256(v));
    }
}
