//! The innermost loops: a tile of accumulators that stays in registers while the shared dimension runs past.

use super::simd::Simd;

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

/// `acc[m][v] += sum_k a[k * stride + m] * b[v][offsets[k]..][lanes]`.
///
/// # Safety
/// Below `Isa::run` of `S`. `a` must be readable for `offsets.len()` rows of `M` floats `stride` apart, and each `b[v]`
/// for a vector at every offset.
#[inline(always)]
pub unsafe fn multiply<S: Simd, const M: usize, const N: usize>(
    acc: &mut [[S::V; N]; M],
    mut a: *const f32,
    stride: usize,
    b: [*const f32; N],
    offsets: &[usize],
) {
    for &offset in offsets {
        // SAFETY: the caller promises readable rows of `a` and vectors of `b`.
        unsafe {
            let b: [S::V; N] = std::array::from_fn(|v| S::load(b[v].add(offset)));
            for (m, row) in acc.iter_mut().enumerate() {
                let x = S::splat(*a.add(m));
                for (sum, &b) in row.iter_mut().zip(&b) {
                    *sum = S::mul_add(x, b, *sum);
                }
            }
            a = a.add(stride);
        }
    }
}

/// `acc[m][v] += sum over pixels of a[m * plane + pixel] * b[offsets[v] + pixel's place][lanes]`.
///
/// The pixels are `height` rows of `width`; consecutive ones lie `1` apart in `a` and `LANES` apart in `b`,
/// consecutive rows `width` apart in `a` and `b_row` apart in `b`.
///
/// # Safety
/// Below `Isa::run` of `S`. `a` must be readable for `M` planes, `b` for a vector at every pixel and offset.
#[inline(always)]
pub unsafe fn correlate<S: Simd, const M: usize, const N: usize>(
    acc: &mut [[S::V; N]; M],
    a: *const f32,
    plane: usize,
    b: *const f32,
    offsets: [usize; N],
    (height, width, b_row): (usize, usize, usize),
) {
    for row in 0..height {
        for column in 0..width {
            // SAFETY: the caller promises readable planes of `a` and vectors of `b`.
            unsafe {
                let at = b.add(row * b_row + column * S::LANES);
                let b: [S::V; N] = std::array::from_fn(|v| S::load(at.add(offsets[v])));
                for (m, sums) in acc.iter_mut().enumerate() {
                    let x = S::splat(*a.add(m * plane + row * width + column));
                    for (sum, &b) in sums.iter_mut().zip(&b) {
                        *sum = S::mul_add(x, b, *sum);
                    }
                }
            }
        }
    }
}
