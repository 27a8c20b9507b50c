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

/// Runs `$body` with `$m` each row of a tile of `M`: constants, or the sums would not stay in registers.
macro_rules! each_row {
    ($m:ident => $body:block) => {
        each_row!(@ $m $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
    };
    (@ $m:ident $body:block $($row:literal)*) => {
        $({
            const $m: usize = $row;
            if $m < M $body
        })*
    };
}

/// # Safety
/// As for [`all_rows`], for `M` rows, at most 14, and `N` of 1 or 2.
#[inline(always)]
unsafe fn tile<S: Simd, E: Number, const M: usize, const N: usize>(
    depth: usize,
    (a, a_row): (*const E, usize),
    b: *const E,
    (c, c_row): (*mut E::Sum, usize),
) {
    let width = S::LANES * E::PACK;
    let mut start = 0;
    loop {
        let end = start + (depth - start).min(E::BLOCK);
        // SAFETY: the caller's promise; rows are below `M`, and the second column is used where `N` is 2.
        unsafe {
            let mut sums = [[E::nothing::<S>(); 2]; M];
            for k in start..end {
                let b = b.add(k * N * width);
                let (left, right) = (E::load::<S>(b), E::load::<S>(b.add((N - 1) * width)));
                each_row!(ROW => {
                    let x = E::repeat::<S>(a.add(k * E::PACK + ROW * a_row));
                    let row = sums.get_unchecked_mut(ROW);
                    row[0] = E::multiply_add::<S>(row[0], x, left);
                    if N == 2 {
                        row[1] = E::multiply_add::<S>(row[1], x, right);
                    }
                });
            }
            each_row!(ROW => {
                let (row, c) = (sums.get_unchecked(ROW), c.add(ROW * c_row));
                finish::<S, E>(c, row[0], start > 0);
                if N == 2 {
                    finish::<S, E>(c.add(S::LANES), row[1], start > 0);
                }
            });
        }
        start = end;
        if start == depth {
            break;
        }
    }
}

/// Writes a register of sums, on top of what is there where `add` says so.
///
/// # Safety
/// Below `Isa::run` of `S`; `c` must be readable and writable for a register.
#[inline(always)]
unsafe fn finish<S: Simd, E: Number>(c: *mut E::Sum, sum: E::Acc<S>, add: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        let sum = if add { E::add_sum::<S>(E::load_sum::<S>(c), sum) } else { sum };
        E::store_sum::<S>(c, sum);
    }
}
