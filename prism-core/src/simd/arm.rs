//! NEON.

use core::arch::aarch64::*;

use super::{Shape, Simd};

#[derive(Clone, Copy)]
pub(super) struct Neon;

impl Shape for Neon {
    const ROWS: usize = 8;
    const BLOCK: (usize, usize) = (8, 2);
}

/// Methods by the trait's name; NEON is part of the aarch64 baseline.
macro_rules! methods {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $body:expr;)*) => {
        $(#[inline(always)]
        unsafe fn $name($($arg: $type),*) $(-> $result)? {
            // SAFETY: NEON is always there; pointers are valid by the trait's contract.
            unsafe { $body }
        })*
    };
}

/// `acc + a.0 * b.0 + a.1 * b.1` in every 32-bit lane.
///
/// # Safety
/// None beyond aarch64.
#[inline(always)]
unsafe fn dot(acc: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: NEON is always there.
    unsafe {
        let (a, b) = (vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
        let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
        vaddq_s32(acc, vpaddq_s32(low, vmull_high_s16(a, b)))
    }
}

impl Simd for Neon {
    type V = float32x4_t;
    type I = int32x4_t;
    const LANES: usize = 4;

    methods! {
        splat(x: f32) -> float32x4_t = vdupq_n_f32(x);
        load(p: *const f32) -> float32x4_t = vld1q_f32(p);
        store(p: *mut f32, v: float32x4_t) = vst1q_f32(p, v);
        mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t = vfmaq_f32(c, a, b);
        add(a: float32x4_t, b: float32x4_t) -> float32x4_t = vaddq_f32(a, b);
        sub(a: float32x4_t, b: float32x4_t) -> float32x4_t = vsubq_f32(a, b);
        mul(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmulq_f32(a, b);
        div(a: float32x4_t, b: float32x4_t) -> float32x4_t = vdivq_f32(a, b);
        max(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmaxq_f32(a, b);
        min(a: float32x4_t, b: float32x4_t) -> float32x4_t = vminq_f32(a, b);
        gate(a: float32x4_t, open: float32x4_t) -> float32x4_t =
            vbslq_f32(vcgtzq_f32(open), a, vdupq_n_f32(0.0));
        widen(p: *const i8) -> float32x4_t = {
            let bytes = vcreate_s8(u64::from(p.cast::<u32>().read_unaligned()));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
        };
        zero_int() -> int32x4_t = vdupq_n_s32(0);
        load_int(p: *const i32) -> int32x4_t = vld1q_s32(p);
        store_int(p: *mut i32, v: int32x4_t) = vst1q_s32(p, v);
        add_int(a: int32x4_t, b: int32x4_t) -> int32x4_t = vaddq_s32(a, b);
        sub_int(a: int32x4_t, b: int32x4_t) -> int32x4_t = vsubq_s32(a, b);
        to_float(v: int32x4_t) -> float32x4_t = vcvtq_f32_s32(v);
        load_short(p: *const i16) -> int32x4_t = vreinterpretq_s32_s16(vld1q_s16(p));
        store_short(p: *mut i16, v: int32x4_t) = vst1q_s16(p, vreinterpretq_s16_s32(v));
        add_short(a: int32x4_t, b: int32x4_t) -> int32x4_t =
            vreinterpretq_s32_s16(vaddq_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
        sub_short(a: int32x4_t, b: int32x4_t) -> int32x4_t =
            vreinterpretq_s32_s16(vsubq_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
        splat_pair(p: *const i16) -> int32x4_t = vdupq_n_s32(p.cast::<i32>().read_unaligned());
        widen_short(p: *const i8) -> int32x4_t = vreinterpretq_s32_s16(vmovl_s8(vld1_s8(p)));
        dot(acc: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t = dot(acc, a, b);
        store_rounded(p: *mut i16, v: float32x4_t) = vst1_s16(p, vqmovn_s32(vcvtnq_s32_f32(v)));
    }
}
