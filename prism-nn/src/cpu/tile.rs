//! The innermost loops: a tile of accumulators that stays in registers while the shared dimension runs past.
//!
//! No closure here or in any caller may touch a register: closures are functions of their own, without the target features
//! of the function they are in, and every operation inside would become a call. And tiles are passed by value: the compiler
//! keeps a tile in registers only where every index into it is a constant.

use prism_core::simd::Simd;

/// How a tile of outputs begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Add to what the output holds, instead of overwriting it.
    pub accumulate: bool,
    /// What each row starts from where it does not accumulate; 0 if absent.
    pub bias: Option<&'a [f32]>,
    /// Replace negative results by 0.
    pub relu: bool,
}

/// Returns `acc`, plus for each element `sum_k a[k * stride + m] * b[v][offsets[k]..][lanes]`.
///
/// # Safety
/// Below `Isa::run` of `S`. `a` must be readable for `offsets.len()` rows of `M` floats `stride` apart, and each `b[v]`
/// for a vector at every offset.
#[inline(always)]
pub unsafe fn multiply<S: Simd, const M: usize, const N: usize>(
    mut acc: [[S::V; N]; M],
    mut a: *const f32,
    stride: usize,
    b: [*const f32; N],
    offsets: &[usize],
) -> [[S::V; N]; M] {
    for &offset in offsets {
        // SAFETY: the caller promises readable rows of `a` and vectors of `b`.
        unsafe {
            let mut columns = [S::splat(0.0); N];
            for (column, start) in columns.iter_mut().zip(b) {
                *column = S::load(start.add(offset));
            }
            for (m, row) in acc.iter_mut().enumerate() {
                let x = S::splat(*a.add(m));
                for (sum, &column) in row.iter_mut().zip(&columns) {
                    *sum = S::mul_add(x, column, *sum);
                }
            }
            a = a.add(stride);
        }
    }
    acc
}

/// Returns `acc`, plus for each element the sum over pixels of `a[m * plane + pixel] * b[offsets[v] + the pixel's place][lanes]`.
///
/// The pixels are `height` rows of `width`; consecutive ones lie `1` apart in `a` and `LANES` apart in `b`,
/// consecutive rows `width` apart in `a` and `b_row` apart in `b`.
///
/// # Safety
/// Below `Isa::run` of `S`. `a` must be readable for `M` planes, `b` for a vector at every pixel and offset.
#[inline(always)]
pub unsafe fn correlate<S: Simd, const M: usize, const N: usize>(
    mut acc: [[S::V; N]; M],
    (a, plane): (*const f32, usize),
    b: *const f32,
    offsets: [usize; N],
    (height, width, b_row): (usize, usize, usize),
) -> [[S::V; N]; M] {
    for row in 0..height {
        for column in 0..width {
            // SAFETY: the caller promises readable planes of `a` and vectors of `b`.
            unsafe {
                let at = b.add(row * b_row + column * S::LANES);
                let mut columns = [S::splat(0.0); N];
                for (column, offset) in columns.iter_mut().zip(offsets) {
                    *column = S::load(at.add(offset));
                }
                for (m, sums) in acc.iter_mut().enumerate() {
                    let x = S::splat(*a.add(m * plane + row * width + column));
                    for (sum, &column) in sums.iter_mut().zip(&columns) {
                        *sum = S::mul_add(x, column, *sum);
                    }
                }
            }
        }
    }
    acc
}

/// A tile whose rows are filled with one value each.
///
/// # Safety
/// Below `Isa::run` of `S`.
#[inline(always)]
pub unsafe fn rows_of<S: Simd, const M: usize, const N: usize>(values: [f32; M]) -> [[S::V; N]; M] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[S::splat(0.0); N]; M];
        for (row, x) in acc.iter_mut().zip(values) {
            *row = [S::splat(x); N];
        }
        acc
    }
}

/// A tile with its negative elements replaced by 0.
///
/// # Safety
/// Below `Isa::run` of `S`.
#[inline(always)]
pub unsafe fn relu<S: Simd, const M: usize, const N: usize>(mut acc: [[S::V; N]; M]) -> [[S::V; N]; M] {
    for row in &mut acc {
        for x in row {
            // SAFETY: the caller's promise.
            *x = unsafe { S::max(*x, S::splat(0.0)) };
        }
    }
    acc
}

/// A tile of the rows at `c`, `pitch` apart.
///
/// # Safety
/// Below `Isa::run` of `S`; the rows must be readable for `N` vectors.
#[inline(always)]
pub unsafe fn load<S: Simd, const M: usize, const N: usize>(c: *const f32, pitch: usize) -> [[S::V; N]; M] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[S::splat(0.0); N]; M];
        for (m, row) in acc.iter_mut().enumerate() {
            for (v, x) in row.iter_mut().enumerate() {
                *x = S::load(c.add(m * pitch + v * S::LANES));
            }
        }
        acc
    }
}

/// Writes a tile to the rows at `c`, `pitch` apart.
///
/// # Safety
/// Below `Isa::run` of `S`; the rows must be writable for `N` vectors.
#[inline(always)]
pub unsafe fn store<S: Simd, const M: usize, const N: usize>(acc: &[[S::V; N]; M], c: *mut f32, pitch: usize) {
    for (m, row) in acc.iter().enumerate() {
        for (v, &x) in row.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { S::store(c.add(m * pitch + v * S::LANES), x) };
        }
    }
}
