//! Small matrix products on slices of scratch memory, one thread each.
//!
//! Rows of the right-hand matrix are vectors; it is stored in panels of [`panel_width`] columns (two vectors, one in the last
//! panel where an odd vector is left), so that a tile streams through it in order.

use prism_core::simd::{Shape, Simd};

use super::tile::{load, store};

/// Columns of the panel that begins at `column`, of `columns` in all (a multiple of `lanes`).
#[inline(always)]
pub fn panel_width(lanes: usize, column: usize, columns: usize) -> usize {
    if columns - column >= 2 * lanes { 2 * lanes } else { lanes }
}

/// `c[t][n] = sum over k of a[t][k] * b[k][n]`, with `b` in panels.
///
/// # Safety
/// Below `Isa::run` of `S`. `a` must be readable for `rows` rows of `shared` floats `a_row` apart, `b` for
/// `shared * columns` floats, `c` writable for `rows` rows of `columns` floats `c_row` apart; `columns` must be a multiple
/// of `S::LANES`.
#[inline(always)]
pub unsafe fn product<S: Shape>(
    (rows, shared, columns): (usize, usize, usize),
    (a, a_row): (*const f32, usize),
    b: *const f32,
    (c, c_row): (*mut f32, usize),
) {
    let mut column = 0;
    while column < columns {
        let width = panel_width(S::LANES, column, columns);
        // SAFETY: the panel lies inside `b`, and its columns inside `c`.
        unsafe {
            let (b, c) = (b.add(shared * column), c.add(column));
            if width == S::LANES {
                product_panel::<S, 1>((rows, shared), (a, a_row), b, (c, c_row));
            } else {
                product_panel::<S, 2>((rows, shared), (a, a_row), b, (c, c_row));
            }
        }
        column += width;
    }
}

/// # Safety
/// As for `product`, for one panel of `N` vectors.
#[inline(always)]
unsafe fn product_panel<S: Shape, const N: usize>(
    (rows, shared): (usize, usize),
    (a, a_row): (*const f32, usize),
    b: *const f32,
    (c, c_row): (*mut f32, usize),
) {
    let mut row = 0;
    while row < rows {
        // SAFETY: as many rows remain as the tile takes.
        unsafe {
            let (a, c) = ((a.add(row * a_row), a_row), (c.add(row * c_row), c_row));
            row += match (rows - row).min(S::BLOCK.0) {
                8.. => product_tile::<S, 8, N>(shared, a, b, c),
                4.. => product_tile::<S, 4, N>(shared, a, b, c),
                2.. => product_tile::<S, 2, N>(shared, a, b, c),
                _ => product_tile::<S, 1, N>(shared, a, b, c),
            }
        }
    }
}

/// # Safety
/// As for `product_panel`, for `M` rows; returns `M`.
#[inline(always)]
unsafe fn product_tile<S: Simd, const M: usize, const N: usize>(
    shared: usize,
    (a, a_row): (*const f32, usize),
    b: *const f32,
    (c, c_row): (*mut f32, usize),
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[S::splat(0.0); N]; M];
        for k in 0..shared {
            acc = step::<S, M, N>(acc, (a.add(k), a_row), b.add(k * N * S::LANES));
        }
        store::<S, M, N>(&acc, c, c_row);
    }
    M
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
            acc = step::<S, M, N>(acc, (a.add(t * a_row), 1), b.add(t * b_row));
        }
        store::<S, M, N>(&acc, c, c_row);
    }
    M
}

/// `acc[m][v] + a[m * stride] * b[v][lanes]`.
///
/// # Safety
/// Below `Isa::run` of `S`. `a` must be readable at the `M` places, `b` for `N` vectors.
#[inline(always)]
unsafe fn step<S: Simd, const M: usize, const N: usize>(
    mut acc: [[S::V; N]; M],
    (a, stride): (*const f32, usize),
    b: *const f32,
) -> [[S::V; N]; M] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns = [S::splat(0.0); N];
        for (v, column) in columns.iter_mut().enumerate() {
            *column = S::load(b.add(v * S::LANES));
        }
        for (m, row) in acc.iter_mut().enumerate() {
            let x = S::splat(*a.add(m * stride));
            for (sum, &column) in row.iter_mut().zip(&columns) {
                *sum = S::mul_add(x, column, *sum);
            }
        }
        acc
    }
}
