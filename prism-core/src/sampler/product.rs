//! The matrix product at the bottom of every layer: rows of numbers by a panel of weights.
//!
//! ```text
//! c[row][column] = sum over k of a[row][k] * b[k][column]
//! ```
//!
//! The panel is widened to numbers once, then tiles of rows run over it, each tile's sums in registers. Every sum is taken in
//! the order of k whatever tile its row lies in, so a row's result does not depend on the rows around it.

use super::number::Number;
use crate::simd::{Kernel, Shape, Simd};

/// Bytes that memory sends at once.
const CACHE_LINE: usize = 64;

/// `rows` rows by one panel.
pub(super) struct Product<'a, E: Number> {
    /// First number of the first row, and numbers from a row to the next.
    pub(super) a: (*const E, usize),
    pub(super) rows: usize,
    /// `[depth][columns][pack]`.
    pub(super) weights: &'a [i8],
    /// The weights of the product that comes next, to be fetched meanwhile.
    pub(super) next: &'a [i8],
    /// Packs of numbers in a row.
    pub(super) depth: usize,
    /// Memory for the widened panel.
    pub(super) widened: &'a mut [E],
    /// First sum of the first row, and sums from a row to the next.
    pub(super) c: (*mut E::Sum, usize),
}

impl<E: Number> Kernel for Product<'_, E> {
    type Output = ();

    /// # Safety
    /// `a` must be readable for `depth` packs of numbers in every row, and `c` writable for the panel's columns in every row.
    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        assert!(self.widened.len() >= self.weights.len(), "memory for the panel");
        let register = S::LANES * E::PACK;
        for (from, to) in self.weights.chunks_exact(register).zip(self.widened.chunks_exact_mut(register)) {
            // SAFETY: both chunks are as long as a register.
            unsafe { E::store::<S>(to.as_mut_ptr(), E::widen::<S>(from.as_ptr())) };
        }
        for line in self.next.chunks(CACHE_LINE) {
            // SAFETY: any address may be fetched.
            unsafe { S::prefetch(line.as_ptr()) };
        }
        let columns = self.weights.len() / (self.depth * E::PACK).max(1);
        // SAFETY: the caller's promise, and the panel is as long as it takes.
        unsafe {
            if columns == 2 * S::LANES {
                all_rows::<S, E, 2>(self.rows, self.depth, self.a, self.widened.as_ptr(), self.c);
            } else {
                all_rows::<S, E, 1>(self.rows, self.depth, self.a, self.widened.as_ptr(), self.c);
            }
        }
    }
}

/// # Safety
/// As for [`Product`], with a panel of `N` registers at `b`.
#[inline(always)]
unsafe fn all_rows<S: Shape, E: Number, const N: usize>(
    rows: usize,
    depth: usize,
    (mut a, a_row): (*const E, usize),
    b: *const E,
    (mut c, c_row): (*mut E::Sum, usize),
) {
    let mut left = rows;
    while left > 0 {
        // Tiles of about the same height: a low one would wait for its own sums.
        let height = left.div_ceil(left.div_ceil(S::ROWS));
        // SAFETY: so many rows are left.
        unsafe {
            macro_rules! tile {
                ($($m:literal)*) => {
                    match height.min(S::ROWS) {
                        $($m => tile::<S, E, $m, N>(depth, (a, a_row), b, (c, c_row)),)*
                        _ => unreachable!("a tile has at most 14 rows"),
                    }
                };
            }
            tile!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            a = a.add(height * a_row);
            c = c.add(height * c_row);
        }
        left -= height;
    }
}

/// # Safety
/// As for [`all_rows`], for `M` rows.
#[inline(always)]
unsafe fn tile<S: Simd, E: Number, const M: usize, const N: usize>(
    depth: usize,
    (a, a_row): (*const E, usize),
    b: *const E,
    (c, c_row): (*mut E::Sum, usize),
) {
    let mut start = 0;
    loop {
        let block = (depth - start).min(E::BLOCK);
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[E::nothing::<S>(); N]; M];
            for k in start..start + block {
                sums = step::<S, E, M, N>(sums, (a.add(k * E::PACK), a_row), b.add(k * N * S::LANES * E::PACK));
            }
            for (m, row) in sums.iter().enumerate() {
                for (n, &sum) in row.iter().enumerate() {
                    let p = c.add(m * c_row + n * S::LANES);
                    let sum = if start == 0 { sum } else { E::add_sum::<S>(E::load_sum::<S>(p), sum) };
                    E::store_sum::<S>(p, sum);
                }
            }
        }
        start += block;
        if start == depth {
            break;
        }
    }
}

/// `sums[m][n] + a[m] * b[n]`.
///
/// # Safety
/// Below `Isa::run` of `S`. `a` must be readable for a pack in each of `M` rows, `b` for `N` registers.
#[inline(always)]
unsafe fn step<S: Simd, E: Number, const M: usize, const N: usize>(
    mut sums: [[E::Acc<S>; N]; M],
    (a, a_row): (*const E, usize),
    b: *const E,
) -> [[E::Acc<S>; N]; M] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns = [E::load::<S>(b); N];
        for (n, column) in columns.iter_mut().enumerate() {
            *column = E::load::<S>(b.add(n * S::LANES * E::PACK));
        }
        for (m, row) in sums.iter_mut().enumerate() {
            let x = E::repeat::<S>(a.add(m * a_row));
            for (sum, &column) in row.iter_mut().zip(&columns) {
                *sum = E::multiply_add::<S>(*sum, x, column);
            }
        }
        sums
    }
}
