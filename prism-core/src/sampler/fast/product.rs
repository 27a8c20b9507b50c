//! The matrix product at the bottom of every layer: rows of elements by a panel of weights.
//!
//! ```text
//! c[row][column] = sum over k of a[row][k] * b[k][column]
//! ```
//!
//! Weights are bytes. The first tile of rows widens them on their way into registers and leaves them widened for the
//! tiles after it, a block of `k` at a time, so that what it leaves stays in the first-level cache. Every sum is taken
//! in the same order of k whatever tile its row lies in, so a row's result does not depend on the rows around it.

use crate::sampler::element::Element;
use crate::simd::{Kernel, Shape, Simd};

/// `rows` rows by one panel.
pub(super) struct Product<'a, E: Element> {
    /// First element of the first row, and elements from a row to the next.
    pub(super) a: (*const E, usize),
    pub(super) rows: usize,
    /// `[depth][columns][pack]`. As many bytes after them are fetched meanwhile: they are needed next.
    pub(super) weights: &'a [i8],
    /// Packs of elements in a row.
    pub(super) depth: usize,
    /// Memory for a widened block of the panel.
    pub(super) widened: &'a mut [E],
    /// First sum of the first row, and sums from a row to the next.
    pub(super) c: (*mut E::Sum, usize),
}

impl<E: Element> Kernel for Product<'_, E> {
    type Output = ();

    /// # Safety
    /// `a` must be readable for `depth` packs of elements in every row, and `c` writable for the panel's columns in
    /// every row.
    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let columns = self.weights.len() / (self.depth * E::PACK).max(1);
        assert!(self.widened.len() >= columns * E::PACK * self.depth.min(E::BLOCK), "memory for a block");
        // SAFETY: the caller's promise, and the memory is as long as it takes.
        unsafe { if columns == 2 * S::LANES { self.blocks::<S, 2>() } else { self.blocks::<S, 1>() } }
    }
}

/// Some packs of a panel's depth.
#[derive(Clone, Copy)]
struct DepthBlock<E> {
    packs: usize,
    bytes: *const i8,
    /// From these bytes to those that are fetched.
    ahead: usize,
    widened: *mut E,
    /// Whether there are sums of earlier blocks.
    more: bool,
}

impl<E: Element> Product<'_, E> {
    /// # Safety
    /// As for `run`, with a panel of `N` registers.
    #[inline(always)]
    unsafe fn blocks<S: Shape, const N: usize>(self) {
        let mut start = 0;
        loop {
            let packs = (self.depth - start).min(E::BLOCK);
            // SAFETY: the caller's promise; the block lies inside the depth.
            unsafe {
                let block = DepthBlock {
                    packs,
                    bytes: self.weights.as_ptr().add(start * N * S::LANES * E::PACK),
                    ahead: self.weights.len(),
                    widened: self.widened.as_mut_ptr(),
                    more: start > 0,
                };
                all_rows::<S, E, N>(self.rows, block, (self.a.0.add(start * E::PACK), self.a.1), self.c);
            }
            start += packs;
            if start == self.depth {
                break;
            }
        }
    }
}

/// # Safety
/// As for [`Product`], with a panel of `N` registers.
#[inline(always)]
unsafe fn all_rows<S: Shape, E: Element, const N: usize>(
    rows: usize,
    block: DepthBlock<E>,
    (mut a, a_row): (*const E, usize),
    (mut c, c_row): (*mut E::Sum, usize),
) {
    let mut left = rows;
    while left > 0 {
        // Tiles of about the same height: a low one would wait for its own sums.
        let height = left.div_ceil(left.div_ceil(S::ROWS));
        // SAFETY: so many rows are left.
        unsafe {
            macro_rules! tile {
                ($first:literal: $($m:literal)*) => {
                    match height.min(S::ROWS) {
                        $($m => tile::<S, E, $m, N, $first>(block, (a, a_row), (c, c_row)),)*
                        _ => unreachable!("a tile has at most 14 rows"),
                    }
                };
            }
            if left == rows {
                tile!(true: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            } else {
                tile!(false: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            }
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

/// One tile of `M` rows, at most 14; the `FIRST` one widens the block.
///
/// # Safety
/// As for [`all_rows`], with `N` of 1 or 2; tiles but the first need a widened block.
#[inline(always)]
unsafe fn tile<S: Simd, E: Element, const M: usize, const N: usize, const FIRST: bool>(
    block: DepthBlock<E>,
    (a, a_row): (*const E, usize),
    (c, c_row): (*mut E::Sum, usize),
) {
    let width = S::LANES * E::PACK;
    // SAFETY: the caller's promise; rows are below `M`, and the second column is used where `N` is 2.
    unsafe {
        let mut sums = [[E::zero::<S>(); 2]; M];
        for k in 0..block.packs {
            let widened = block.widened.add(k * N * width);
            let (left, right);
            if FIRST {
                let bytes = block.bytes.add(k * N * width);
                S::prefetch(bytes.wrapping_add(block.ahead));
                left = E::widen::<S>(bytes);
                right = E::widen::<S>(bytes.add((N - 1) * width));
                E::store::<S>(widened, left);
                E::store::<S>(widened.add((N - 1) * width), right);
            } else {
                left = E::load::<S>(widened);
                right = E::load::<S>(widened.add((N - 1) * width));
            }
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
            finish::<S, E>(c, row[0], block.more);
            if N == 2 {
                finish::<S, E>(c.add(S::LANES), row[1], block.more);
            }
        });
    }
}

/// Writes a register of sums, on top of what is there where `add` says so.
///
/// # Safety
/// Below `Isa::run` of `S`; `c` must be readable and writable for a register.
#[inline(always)]
unsafe fn finish<S: Simd, E: Element>(c: *mut E::Sum, sum: E::Acc<S>, add: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        let sum = if add { E::add_sum::<S>(E::load_sum::<S>(c), sum) } else { sum };
        E::store_sum::<S>(c, sum);
    }
}
