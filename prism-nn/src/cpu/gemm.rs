//! Small matrix products on slices of scratch memory, one thread each.
//!
//! Rows of the right-hand matrix are vectors; it is stored in panels of [`panel_width`] columns (two vectors, one in the last
//! panel where an odd vector is left), so that a tile streams through it in order. Of numbers that are multiplied in packs
//! ([`Factor::PACK`]), as many rows lie side by side.

use prism_core::simd::{Kernel, Shape, Simd};

use super::factor::Factor;
use super::tile::{load, store};

/// Packs of rows of a panel that are worked on at a time, so that it stays in the first-level cache while all rows of `a` pass.
const DEPTH: usize = 256;

/// Columns of the panel that begins at `column`, of `columns` in all (a multiple of `lanes`).
#[inline(always)]
pub fn panel_width(lanes: usize, column: usize, columns: usize) -> usize {
    if columns - column >= 2 * lanes { 2 * lanes } else { lanes }
}

/// `c[t][n] = sum over k of a[t][k] * b[k][n]`, with `b` in panels. Each element is summed in the order of k, whatever the shape.
///
/// # Safety
/// To run it, `a` must be readable for `rows` rows of `shared` numbers `a_row` apart, `b` for `shared * columns` numbers, `c`
/// writable for `rows` rows of `columns` floats `c_row` apart; `columns` must be a multiple of the instruction set's lanes,
/// `shared` of `T::PACK`.
#[derive(Clone, Copy, Debug)]
pub struct Product<T> {
    /// Rows of a and c.
    pub rows: usize,
    /// Columns of a, rows of b.
    pub shared: usize,
    /// Columns of b and c.
    pub columns: usize,
    /// The left-hand matrix.
    pub a: *const T,
    /// Numbers from a row of a to the next.
    pub a_row: usize,
    /// The right-hand matrix.
    pub b: *const T,
    /// The result.
    pub c: *mut f32,
    /// Floats from a row of c to the next.
    pub c_row: usize,
    /// Add to what c holds.
    pub accumulate: bool,
}

impl<T: Factor> Kernel for Product<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let mut column = 0;
        while column < self.columns {
            let width = panel_width(S::LANES, column, self.columns);
            for start in (0..self.shared).step_by(DEPTH * T::PACK) {
                let packs = DEPTH.min((self.shared - start) / T::PACK);
                let part = Part { packs, more: self.accumulate || start > 0 };
                // SAFETY: the panel lies inside `b`, its columns inside `c`, and the part inside the shared dimension.
                unsafe {
                    let (a, c) = (self.a.add(start), self.c.add(column));
                    let b = self.b.add(self.shared * column + start * width);
                    if width == S::LANES {
                        self.panel::<S, 1>(part, a, b, c);
                    } else {
                        self.panel::<S, 2>(part, a, b, c);
                    }
                }
            }
            column += width;
        }
    }
}

/// Some rows of a panel.
#[derive(Clone, Copy)]
struct Part {
    packs: usize,
    /// Whether `c` holds sums to add to.
    more: bool,
}

impl<T: Factor> Product<T> {
    /// All rows of one panel of `N` vectors.
    ///
    /// # Safety
    /// As for [`Product`], from the given places on.
    #[inline(always)]
    unsafe fn panel<S: Shape, const N: usize>(&self, part: Part, mut a: *const T, b: *const T, mut c: *mut f32) {
        let mut left = self.rows;
        while left > 0 {
            // Tiles of about the same height: a low one would wait for its own sums.
            let height = left.div_ceil(left.div_ceil(S::ROWS));
            macro_rules! tile {
                ($($m:literal)*) => {
                    match height.min(S::ROWS) {
                        $($m => product_tile::<S, T, $m, N>(part, (a, self.a_row), b, (c, self.c_row)),)*
                        _ => unreachable!("a tile has at most 14 rows"),
                    }
                };
            }
            // SAFETY: so many rows are left.
            unsafe {
                tile!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                a = a.add(height * self.a_row);
                c = c.add(height * self.c_row);
            }
            left -= height;
        }
    }
}

/// # Safety
/// As for [`Product`], for `M` rows of one panel.
#[inline(always)]
unsafe fn product_tile<S: Simd, T: Factor, const M: usize, const N: usize>(
    part: Part,
    (a, a_row): (*const T, usize),
    b: *const T,
    (c, c_row): (*mut f32, usize),
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = if part.more { load::<S, M, N>(c, c_row) } else { [[S::splat(0.0); N]; M] };
        for pack in 0..part.packs {
            let k = pack * T::PACK;
            acc = step::<S, T, M, N>(acc, (a.add(k), a_row), b.add(k * N * S::LANES));
        }
        store::<S, M, N>(&acc, c, c_row);
    }
}

/// `c[i][n] = sum over t of a[t][i] * b[t][n]`, added to what c holds if `accumulate`.
///
/// # Safety
/// Below `Isa::run` of `S`. `a` must be readable for `shared` rows of `rows` floats `a_row` apart, `b` for `shared` rows of
/// `columns` floats `b_row` apart, `c` writable for `rows * columns` floats; `columns` must be a multiple of `S::LANES`.
#[inline(always)]
pub unsafe fn transposed_product<S: Shape>(
    (rows, shared, columns): (usize, usize, usize),
    (a, a_row): (*const f32, usize),
    (b, b_row): (*const f32, usize),
    (c, accumulate): (*mut f32, bool),
) {
    let mut column = 0;
    while column < columns {
        let width = panel_width(S::LANES, column, columns);
        let mut row = 0;
        while row < rows {
            // SAFETY: the tile's rows and columns remain.
            unsafe {
                let (a, b) = ((a.add(row), a_row), (b.add(column), b_row));
                let c = (c.add(row * columns + column), columns, accumulate);
                row += match ((rows - row).min(S::BLOCK.0), width == S::LANES) {
                    (8.., false) => transposed_tile::<S, 8, 2>(shared, a, b, c),
                    (8.., true) => transposed_tile::<S, 8, 1>(shared, a, b, c),
                    (4.., false) => transposed_tile::<S, 4, 2>(shared, a, b, c),
                    (4.., true) => transposed_tile::<S, 4, 1>(shared, a, b, c),
                    (_, false) => transposed_tile::<S, 1, 2>(shared, a, b, c),
                    (_, true) => transposed_tile::<S, 1, 1>(shared, a, b, c),
                }
            }
        }
        column += width;
    }
}

/// # Safety
/// As for `transposed_product`, for `M` rows and `N` vectors of columns; returns `M`.
#[inline(always)]
unsafe fn transposed_tile<S: Simd, const M: usize, const N: usize>(
    shared: usize,
    (a, a_row): (*const f32, usize),
    (b, b_row): (*const f32, usize),
    (c, c_row, accumulate): (*mut f32, usize, bool),
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = if accumulate { load::<S, M, N>(c, c_row) } else { [[S::splat(0.0); N]; M] };
        for t in 0..shared {
            acc = step::<S, f32, M, N>(acc, (a.add(t * a_row), 1), b.add(t * b_row));
        }
        store::<S, M, N>(&acc, c, c_row);
    }
    M
}

/// `acc[m][v] + a[m * stride] * b[v][lanes]`.
///
/// # Safety
/// Below `Isa::run` of `S`. `a` must be readable for a pack at the `M` places, `b` for `N` registers.
#[inline(always)]
unsafe fn step<S: Simd, T: Factor, const M: usize, const N: usize>(
    mut acc: [[S::V; N]; M],
    (a, stride): (*const T, usize),
    b: *const T,
) -> [[S::V; N]; M] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns = [T::load::<S>(b); N];
        for (v, column) in columns.iter_mut().enumerate().skip(1) {
            *column = T::load::<S>(b.add(v * S::LANES * T::PACK));
        }
        for (m, row) in acc.iter_mut().enumerate() {
            let x = T::repeat::<S>(a.add(m * stride));
            for (sum, &column) in row.iter_mut().zip(&columns) {
                *sum = T::multiply_add::<S>(*sum, x, column);
            }
        }
        acc
    }
}
