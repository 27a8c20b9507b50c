//! Transformed weights, and their gradients on the way back.
//!
//! `weight [O, I, taps]` becomes one `[I, O]` matrix for each product of the scheme, in panels of columns
//! ([`super::gemm`]), and the transposes `[O, I]` for the gradient with respect to the input. Rows are filled up to whole packs
//! ([`Factor::PACK`]).

#![expect(clippy::needless_range_loop, reason = "rows and columns of a patch are numbers first, indices second")]

use prism_core::simd::{Isa, Kernel, Shape, Simd};
use rayon::prelude::*;

use super::factor::Factor;
use super::gemm::panel_width;
use super::scheme::{SIDE, Scheme, both_axes};
use super::share::Disjoint;

/// Where weight `(o, i)` lies in the unpacked tensor: its taps begin at `o * output + i * input`, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightShape {
    /// O.
    pub outputs: usize,
    /// I.
    pub inputs: usize,
    /// Taps of one weight.
    pub taps: usize,
}

impl WeightShape {
    fn output_step(&self) -> usize {
        self.inputs * self.taps
    }

    fn exchanged(&self) -> Matrix {
        Matrix { shared: self.outputs, shared_step: self.output_step(), columns: self.inputs, column_step: self.taps }
    }

    fn plain(&self) -> Matrix {
        Matrix { shared: self.inputs, shared_step: self.taps, columns: self.outputs, column_step: self.output_step() }
    }

    fn check<C: Scheme>(&self, weight: &[f32]) {
        assert_eq!(weight.len(), self.len(), "a weight for every tap");
        assert_eq!(self.taps, C::TAPS * C::TAPS, "the scheme's own kernel");
    }

    /// Floats of the unpacked tensor.
    pub fn len(&self) -> usize {
        self.outputs * self.inputs * self.taps
    }

    /// Whether there is no weight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One order of the two channel axes.
#[derive(Clone, Copy)]
struct Matrix {
    /// Rows.
    shared: usize,
    shared_step: usize,
    columns: usize,
    column_step: usize,
}

/// A convolution's weights, ready for both directions.
#[derive(Clone, Debug, Default)]
pub struct Packed<T = f32> {
    /// `[products][panels][I / pack][panel][pack]`.
    pub forward: Vec<T>,
    /// `[products][panels][O / pack][panel][pack]`.
    pub backward: Vec<T>,
}

impl<T: Factor> Packed<T> {
    /// Packs `weight` by scheme `C` for both directions, reusing this value's memory.
    ///
    /// # Panics
    /// If the weight's length is not that of `shape`.
    pub fn pack<C: Scheme>(&mut self, isa: Isa, weight: &[f32], shape: WeightShape) {
        self.pack_forward::<C>(isa, weight, shape);
        self.pack_backward::<C>(isa, weight, shape);
    }

    /// Packs `weight` for outputs alone.
    ///
    /// # Panics
    /// As for [`Packed::pack`].
    pub fn pack_forward<C: Scheme>(&mut self, isa: Isa, weight: &[f32], shape: WeightShape) {
        shape.check::<C>(weight);
        pack_matrices::<C, T>(isa, weight, shape.plain(), &mut self.forward);
    }

    /// Packs `weight` for gradients of inputs alone.
    ///
    /// # Panics
    /// As for [`Packed::pack`].
    pub fn pack_backward<C: Scheme>(&mut self, isa: Isa, weight: &[f32], shape: WeightShape) {
        shape.check::<C>(weight);
        pack_matrices::<C, T>(isa, weight, shape.exchanged(), &mut self.backward);
    }
}

fn pack_matrices<C: Scheme, T: Factor>(isa: Isa, weight: &[f32], matrix: Matrix, out: &mut Vec<T>) {
    let padded = matrix.columns.next_multiple_of(isa.lanes());
    let rows = matrix.shared.next_multiple_of(T::PACK);
    out.resize(C::PRODUCTS * C::PRODUCTS * rows * padded, T::default());
    let shared = Disjoint::new(out);
    (0..padded / isa.lanes()).into_par_iter().for_each(|vector| {
        let work = PackColumns::<C, T> {
            weight,
            matrix,
            column: vector * isa.lanes(),
            padded,
            rows,
            out: shared,
            scheme: std::marker::PhantomData,
        };
        // SAFETY: `isa` is one of this machine's; every task writes its own columns only.
        unsafe { isa.run(work) };
    });
}

/// One vector of columns of every product's matrix.
struct PackColumns<'a, C, T> {
    weight: &'a [f32],
    matrix: Matrix,
    column: usize,
    padded: usize,
    /// Rows of a matrix, whole packs of them.
    rows: usize,
    out: Disjoint<'a, T>,
    scheme: std::marker::PhantomData<C>,
}

impl<C: Scheme, T: Factor> Kernel for PackColumns<'_, C, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let Matrix { shared, shared_step, columns, column_step } = self.matrix;
        let panel_start = self.column / (2 * S::LANES) * (2 * S::LANES);
        let width = panel_width(S::LANES, panel_start, self.padded);
        let start = self.rows * panel_start + (self.column - panel_start) * T::PACK;
        let lanes = S::LANES.min(columns - self.column);
        let mut gathered = [[0f32; 16]; 9];
        for k in 0..shared {
            for lane in 0..lanes {
                let at = (self.column + lane) * column_step + k * shared_step;
                let taps = &self.weight[at..at + C::TAPS * C::TAPS];
                for (line, &w) in gathered.iter_mut().zip(taps) {
                    line[lane] = w;
                }
            }
            // SAFETY: below `Isa::run` of `S`; lines hold the 16 lanes of the widest register; the columns are this task's.
            unsafe {
                let mut patch = [[S::splat(0.0); SIDE]; SIDE];
                for row in 0..C::TAPS {
                    for column in 0..C::TAPS {
                        patch[row][column] = S::load(gathered[row * C::TAPS + column].as_ptr());
                    }
                }
                let patch = both_axes::<C::Weight, S>(patch);
                for row in 0..C::PRODUCTS {
                    for column in 0..C::PRODUCTS {
                        let product = row * C::PRODUCTS + column;
                        let at = product * self.rows * self.padded + start + k / T::PACK * width * T::PACK;
                        self.put::<S>(at + k % T::PACK, patch[row][column]);
                    }
                }
            }
        }
    }
}

impl<C: Scheme, T: Factor> PackColumns<'_, C, T> {
    /// Writes a register's numbers from `at` on, a pack apart.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`; the places must be this task's.
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, at: usize, v: S::V) {
        // SAFETY: the caller's promise; the line holds the 16 lanes of the widest register.
        unsafe {
            if T::PACK == 1 {
                return T::store::<S>(self.out.at(at), v);
            }
            let mut line = [T::default(); 16];
            T::store::<S>(line.as_mut_ptr(), v);
            for (lane, x) in line.iter().take(S::LANES).enumerate() {
                *self.out.at(at + lane * T::PACK) = *x;
            }
        }
    }
}

/// Sums the pieces of a transformed gradient, transforms it back and writes it to `out`, a tensor of `shape`.
///
/// `pieces` holds whole gradients `[products, I, O padded to lanes]` one after another; they are added in order.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes.
pub fn unpack_gradient<C: Scheme>(isa: Isa, pieces: &[f32], shape: WeightShape, out: &mut [f32]) {
    assert_eq!(out.len(), shape.len(), "a gradient for every weight");
    let padded = shape.outputs.next_multiple_of(isa.lanes());
    let piece = C::PRODUCTS * C::PRODUCTS * shape.inputs * padded;
    assert!(piece > 0 && pieces.len().is_multiple_of(piece), "whole pieces");
    let out = Disjoint::new(out);
    (0..padded / isa.lanes()).into_par_iter().for_each(|vector| {
        let output = vector * isa.lanes();
        let work = UnpackOutputs::<C> { pieces, piece, shape, output, padded, out, scheme: std::marker::PhantomData };
        // SAFETY: `isa` is one of this machine's; every task writes its own outputs only.
        unsafe { isa.run(work) };
    });
}

struct UnpackOutputs<'a, C> {
    pieces: &'a [f32],
    piece: usize,
    shape: WeightShape,
    output: usize,
    padded: usize,
    out: Disjoint<'a, f32>,
    scheme: std::marker::PhantomData<C>,
}

impl<C: Scheme> Kernel for UnpackOutputs<'_, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let lanes = S::LANES.min(self.shape.outputs - self.output);
        let mut scattered = [[0f32; 16]; 9];
        for input in 0..self.shape.inputs {
            // SAFETY: below `Isa::run` of `S`; the vectors lie in `pieces`, whose length was checked; lines hold the 16 lanes
            // of the widest register.
            unsafe {
                let patch = both_axes::<C::WeightT, S>(self.sum::<S>(input));
                for row in 0..C::TAPS {
                    for column in 0..C::TAPS {
                        S::store(scattered[row * C::TAPS + column].as_mut_ptr(), patch[row][column]);
                    }
                }
            }
            for lane in 0..lanes {
                let at = (self.output + lane) * self.shape.output_step() + input * self.shape.taps;
                // SAFETY: these outputs are this task's own.
                let taps = unsafe { self.out.part(at, self.shape.taps) };
                for (w, line) in taps.iter_mut().zip(&scattered) {
                    *w = line[lane];
                }
            }
        }
    }
}

impl<C: Scheme> UnpackOutputs<'_, C> {
    /// # Safety
    /// Below `Isa::run` of `S`; `pieces` must hold whole pieces.
    #[inline(always)]
    unsafe fn sum<S: Simd>(&self, input: usize) -> [[S::V; SIDE]; SIDE] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut patch = [[S::splat(0.0); SIDE]; SIDE];
            for row in 0..C::PRODUCTS {
                for column in 0..C::PRODUCTS {
                    let product = row * C::PRODUCTS + column;
                    let at = (product * self.shape.inputs + input) * self.padded + self.output;
                    let mut sum = S::splat(0.0);
                    for first in (0..self.pieces.len()).step_by(self.piece) {
                        sum = S::add(sum, S::load(self.pieces.as_ptr().add(first + at)));
                    }
                    patch[row][column] = sum;
                }
            }
            patch
        }
    }
}
