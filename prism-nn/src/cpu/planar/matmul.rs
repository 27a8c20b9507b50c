//! Matrix product `c [M, N] = a [M, K] b [K, N]`, for the generator's first layer.
//!
//! Tasks are panels of columns; each sums over K by itself, in order.

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use crate::cpu::scratch;
use crate::cpu::share::Disjoint;
use crate::cpu::tile::multiply;

/// Columns of one task, a multiple of every tile's width.
const COLUMNS: usize = 256;

/// A matrix that is read in either order.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The elements.
    pub values: &'a [f32],
    /// Distance from a row to the next.
    pub row: usize,
    /// Distance from a column to the next.
    pub column: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix of `columns` columns.
    pub fn row_major(values: &'a [f32], columns: usize) -> Self {
        Matrix { values, row: columns, column: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Matrix { values: self.values, row: self.column, column: self.row }
    }

    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.row + column * self.column]
    }
}

/// Writes `a b` to the row-major `c`, whose shape is `(rows, columns)`; `shared` is K.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes.
pub fn product(isa: Isa, (rows, shared, columns): (usize, usize, usize), a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32]) {
    assert_eq!(c.len(), rows * columns, "an element for every row and column");
    let panels = rows.div_ceil(isa.block().0);
    let mut packed = vec![0.0; panels * shared * isa.block().0];
    for (panel, block) in packed.chunks_exact_mut((shared * isa.block().0).max(1)).enumerate() {
        for (k, line) in block.chunks_exact_mut(isa.block().0).enumerate() {
            let first = panel * isa.block().0;
            for (m, x) in line.iter_mut().enumerate().take(rows - first) {
                *x = a.at(first + m, k);
            }
        }
    }
    let out = Disjoint::new(c);
    (0..columns.div_ceil(COLUMNS)).into_par_iter().for_each(|task| {
        let first = task * COLUMNS;
        let width = COLUMNS.min(columns - first);
        scratch::with(shared * COLUMNS, |panel| {
            for (k, line) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                match b.column {
                    1 => line[..width].copy_from_slice(&b.values[k * b.row + first..][..width]),
                    _ => line.iter_mut().take(width).enumerate().for_each(|(n, x)| *x = b.at(k, first + n)),
                }
                line[width..].fill(0.0);
            }
            let work = Panel { a: &packed, b: panel, shape: (rows, shared, columns), first, width, out };
            // SAFETY: `isa` is one of this machine's; every task writes its own columns only.
            unsafe { isa.run(work) };
        });
    });
}

struct Panel<'a> {
    a: &'a [f32],
    b: &'a [f32],
    shape: (usize, usize, usize),
    first: usize,
    width: usize,
    out: Disjoint<'a, f32>,
}

impl Kernel for Panel<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        // SAFETY: we are below `Isa::run` of `S`.
        unsafe {
            match S::BLOCK.0 {
                8 => self.tiles::<S, 8>(),
                _ => self.tiles::<S, 4>(),
            }
        }
    }
}

impl Panel<'_> {
    /// # Safety
    /// Below `Isa::run` of `S`, whose tiles have `M` rows.
    #[inline(always)]
    unsafe fn tiles<S: Shape, const M: usize>(&self) {
        let (rows, shared, columns) = self.shape;
        let offsets: Vec<usize> = (0..shared).map(|k| k * COLUMNS).collect();
        for column in (0..self.width).step_by(2 * S::LANES) {
            for row in (0..rows).step_by(M) {
                let mut tile = [[0f32; 32]; M];
                // SAFETY: `a` holds whole panels of M rows, `b` whole rows of COLUMNS, a multiple of the tile's width, which
                // is at most the 32 columns of `tile`.
                unsafe {
                    let b = self.b.as_ptr().add(column);
                    let a = self.a[row * shared..].as_ptr();
                    let acc = multiply::<S, M, 2>([[S::splat(0.0); 2]; M], a, M, [b, b.add(S::LANES)], &offsets);
                    for (line, sums) in tile.iter_mut().zip(&acc) {
                        S::store(line.as_mut_ptr(), sums[0]);
                        S::store(line.as_mut_ptr().add(S::LANES), sums[1]);
                    }
                }
                let width = (2 * S::LANES).min(self.width - column);
                for (m, line) in tile.iter().enumerate().take(rows - row) {
                    // SAFETY: these columns are this task's own.
                    let out = unsafe { self.out.part((row + m) * columns + self.first + column, width) };
                    out.copy_from_slice(&line[..width]);
                }
            }
        }
    }
}
