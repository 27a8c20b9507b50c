//! WebAssembly's 128-bit vectors.

use core::arch::wasm32::*;

use super::{Shape, Simd};

#[derive(Clone, Copy)]
pub(super) struct Wasm;

impl Shape for Wasm {
    const ROWS: usize = 4;
    const BLOCK: (usize, usize) = (4, 2);
}

/// Methods by the trait's name; the program was compiled with the instructions, or this module would not be in it.
macro_rules! methods {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $body:expr;)*) => {
        $(#[inline(always)]
        unsafe fn $name($($arg: $type),*) $(-> $result)? {
            $body
        })*
    };
}

/// A vector at `p`.
///
/// # Safety
/// `p` must be valid for reading 16 bytes.
#[inline(always)]
unsafe fn read<T>(p: *const T) -> v128 {
    // SAFETY: the caller's promise.
    unsafe { v128_load(p.cast()) }
}

/// # Safety
/// `p` must be valid for writing 16 bytes.
#[inline(always)]
unsafe fn write<T>(p: *mut T, v: v128) {
    // SAFETY: the caller's promise.
    unsafe { v128_store(p.cast(), v) }
}

// SAFETY (all methods): pointers are valid by the trait's contract.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block is the same: a pointer that the trait's contract covers"
)]
impl Simd for Wasm {
    type V = v128;
    type I = v128;
    const LANES: usize = 4;

    methods! {
        splat(x: f32) -> v128 = f32x4_splat(x);
        load(p: *const f32) -> v128 = unsafe { read(p) };
        store(p: *mut f32, v: v128) = unsafe { write(p, v) };
        mul_add(a: v128, b: v128, c: v128) -> v128 = f32x4_add(f32x4_mul(a, b), c);
        add(a: v128, b: v128) -> v128 = f32x4_add(a, b);
        sub(a: v128, b: v128) -> v128 = f32x4_sub(a, b);
        mul(a: v128, b: v128) -> v128 = f32x4_mul(a, b);
        div(a: v128, b: v128) -> v128 = f32x4_div(a, b);
        max(a: v128, b: v128) -> v128 = f32x4_pmax(b, a);
        min(a: v128, b: v128) -> v128 = f32x4_pmin(b, a);
        gate(a: v128, open: v128) -> v128 = v128_and(f32x4_gt(open, f32x4_splat(0.0)), a);
        widen(p: *const i8) -> v128 =
            f32x4_convert_i32x4(i32x4_extend_low_i16x8(i16x8_extend_low_i8x16(unsafe { v128_load32_zero(p.cast()) })));
        zero_int() -> v128 = i32x4_splat(0);
        load_int(p: *const i32) -> v128 = unsafe { read(p) };
        store_int(p: *mut i32, v: v128) = unsafe { write(p, v) };
        add_int(a: v128, b: v128) -> v128 = i32x4_add(a, b);
        sub_int(a: v128, b: v128) -> v128 = i32x4_sub(a, b);
        to_float(v: v128) -> v128 = f32x4_convert_i32x4(v);
        load_short(p: *const i16) -> v128 = unsafe { read(p) };
        store_short(p: *mut i16, v: v128) = unsafe { write(p, v) };
        add_short(a: v128, b: v128) -> v128 = i16x8_add(a, b);
        sub_short(a: v128, b: v128) -> v128 = i16x8_sub(a, b);
        splat_pair(p: *const i16) -> v128 = unsafe { v128_load32_splat(p.cast()) };
        widen_short(p: *const i8) -> v128 = unsafe { i16x8_load_extend_i8x8(p) };
        dot(acc: v128, a: v128, b: v128) -> v128 = i32x4_add(acc, i32x4_dot_i16x8(a, b));
        store_rounded(p: *mut i16, v: v128) = {
            let v = i32x4_trunc_sat_f32x4(f32x4_nearest(v));
            unsafe { v128_store64_lane::<0>(i16x8_narrow_i32x4(v, v), p.cast()) }
        };
    }
}
