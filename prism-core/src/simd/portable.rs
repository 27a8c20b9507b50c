//! Eight lanes in plain Rust. Multiplies and adds separately: a fused one would be a library call on old machines.

use core::array::from_fn;

use super::{Shape, Simd};

const N: usize = 8;

/// Plain Rust.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Shape for Portable {
    const ROWS: usize = 4;
    const BLOCK: (usize, usize) = (4, 1);
}

/// Both halves of each lane.
#[inline(always)]
fn shorts(v: [i32; N]) -> [[i16; 2]; N] {
    from_fn(|i| [v[i] as i16, (v[i] >> 16) as i16])
}

#[inline(always)]
fn lanes(pairs: [[i16; 2]; N]) -> [i32; N] {
    from_fn(|i| i32::from(pairs[i][0] as u16) | i32::from(pairs[i][1]) << 16)
}

/// Adding and taking away 1.5 * 2^23 leaves the nearest integer of a small number, ties to even.
const ROUNDER: f32 = 12_582_912.0;

// SAFETY (all methods): plain Rust; pointers are valid by the trait's contract.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block is the same: a pointer that the trait's contract covers"
)]
impl Simd for Portable {
    type V = [f32; N];
    type I = [i32; N];
    const LANES: usize = N;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        unsafe { p.cast::<[f32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        unsafe { p.cast::<[f32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn gate(a: Self::V, open: Self::V) -> Self::V {
        from_fn(|i| if open[i] > 0.0 { a[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn widen(p: *const i8) -> Self::V {
        unsafe { p.cast::<[i8; N]>().read_unaligned() }.map(f32::from)
    }

    #[inline(always)]
    unsafe fn zero_int() -> Self::I {
        [0; N]
    }
    #[inline(always)]
    unsafe fn load_int(p: *const i32) -> Self::I {
        unsafe { p.cast::<[i32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_int(p: *mut i32, v: Self::I) {
        unsafe { p.cast::<[i32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add_int(a: Self::I, b: Self::I) -> Self::I {
        from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    unsafe fn sub_int(a: Self::I, b: Self::I) -> Self::I {
        from_fn(|i| a[i].wrapping_sub(b[i]))
    }
    #[inline(always)]
    unsafe fn to_float(v: Self::I) -> Self::V {
        v.map(|x| x as f32)
    }

    #[inline(always)]
    unsafe fn load_short(p: *const i16) -> Self::I {
        lanes(unsafe { p.cast::<[[i16; 2]; N]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store_short(p: *mut i16, v: Self::I) {
        unsafe { p.cast::<[[i16; 2]; N]>().write_unaligned(shorts(v)) }
    }
    #[inline(always)]
    unsafe fn add_short(a: Self::I, b: Self::I) -> Self::I {
        let (a, b) = (shorts(a), shorts(b));
        lanes(from_fn(|i| [a[i][0].wrapping_add(b[i][0]), a[i][1].wrapping_add(b[i][1])]))
    }
    #[inline(always)]
    unsafe fn sub_short(a: Self::I, b: Self::I) -> Self::I {
        let (a, b) = (shorts(a), shorts(b));
        lanes(from_fn(|i| [a[i][0].wrapping_sub(b[i][0]), a[i][1].wrapping_sub(b[i][1])]))
    }
    #[inline(always)]
    unsafe fn splat_pair(p: *const i16) -> Self::I {
        lanes([unsafe { p.cast::<[i16; 2]>().read_unaligned() }; N])
    }
    #[inline(always)]
    unsafe fn widen_short(p: *const i8) -> Self::I {
        lanes(unsafe { p.cast::<[[i8; 2]; N]>().read_unaligned() }.map(|pair| pair.map(i16::from)))
    }
    #[inline(always)]
    unsafe fn dot(acc: Self::I, a: Self::I, b: Self::I) -> Self::I {
        let (a, b) = (shorts(a), shorts(b));
        let product = |i: usize, half: usize| i32::from(a[i][half]) * i32::from(b[i][half]);
        from_fn(|i| acc[i].wrapping_add(product(i, 0)).wrapping_add(product(i, 1)))
    }
    #[inline(always)]
    unsafe fn store_rounded(p: *mut i16, v: Self::V) {
        let rounded = v.map(|x| ((x + ROUNDER) - ROUNDER) as i16);
        unsafe { p.cast::<[i16; N]>().write_unaligned(rounded) }
    }
}
