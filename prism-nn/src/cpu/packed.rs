//! Transformed weights, and their gradients on the way back.
//!
//! `weight [O, I, taps]` becomes one `[I, O]` matrix for each product of the scheme, in panels of columns
//! ([`super::gemm`]), and the transposes `[O, I]` for the gradient with respect to the input.

#![expect(clippy::needless_range_loop, reason = "rows and columns of a patch are numbers first, indices second")]

use prism_core::simd::{Isa, Kernel, Shape, Simd};
use rayon::prelude::*;

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

    fn exchanged(&self) -> Factor {
        Factor { shared: self.outputs, shared_step: self.output_step(), columns: self.inputs, column_step: self.taps }
    }

    fn plain(&self) -> Factor {
        Factor { shared: self.inputs, shared_step: self.taps, columns: self.outputs, column_step: self.output_step() }
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
struct Factor {
    /// Rows of the matrix.
    shared: usize,
    shared_step: usize,
    columns: usize,
    column_step: usize,
}

/// A convolution's weights, ready for both directions.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// `[products][panels][I][panel]`.
    pub forward: Vec<f32>,
    /// `[products][panels][O][panel]`.
    pub backward: Vec<f32>,
}

impl Packed {
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
        pack_factor::<C>(isa, weight, shape.plain(), &mut self.forward);
    }

    /// Packs `weight` for gradients of inputs alone.
    ///
    /// # Panics
    /// As for [`Packed::pack`].
    pub fn pack_backward<C: Scheme>(&mut self, isa: Isa, weight: &[f32], shape: WeightShape) {
        shape.check::<C>(weight);
        pack_factor::<C>(isa, weight, shape.exchanged(), &mut self.backward);
    }
}

fn pack_factor<C: Scheme>(isa: Isa, weight: &[f32], factor: Factor, out: &mut Vec<f32>) {
    let padded = factor.columns.next_multiple_of(isa.lanes());
    let plane = factor.shared * padded;
    out.resize(C::IN * C::IN * plane, 0.0);
    let shared = Disjoint::new(out);
    (0..padded / isa.lanes()).into_par_iter().for_each(|vector| {
        let work = PackColumns::<C> {
            weight,
            factor,
            column: vector * isa.lanes(),
            padded,
            plane,
            out: shared,
            scheme: std::marker::PhantomData,
        };
        // SAFETY: `isa` is one of this machine's; every task writes its own columns only.
        unsafe { isa.run(work) };
    });
}

/// One vector of columns of every product's matrix.
struct PackColumns<'a, C> {
    weight: &'a [f32],
    factor: Factor,
    column: usize,
    padded: usize,
    plane: usize,
    out: Disjoint<'a, f32>,
    scheme: std::marker::PhantomData<C>,
}

impl<C: Scheme> Kernel for PackColumns<'_, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let Factor { shared, shared_step, columns, column_step } = self.factor;
        let panel_start = self.column / (2 * S::LANES) * (2 * S::LANES);
        let width = panel_width(S::LANES, panel_start, self.padded);
        let start = shared * panel_start + self.column - panel_start;
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
                for row in 0..C::IN {
                    for column in 0..C::IN {
                        let product = row * C::IN + column;
                        S::store(self.out.at(product * self.plane + start + k * width), patch[row][column]);
                    }
                }
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
    let piece = C::IN * C::IN * shape.inputs * padded;
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
            for row in 0..C::IN {
                for column in 0..C::IN {
                    let product = row * C::IN + column;
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
