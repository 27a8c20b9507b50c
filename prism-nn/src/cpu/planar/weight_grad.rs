//! The gradient of a convolution with respect to its weights: `x [B, I, H, W]`, `g [B, O, H, W]` -> `[O, I, k, k]`,
//!
//! ```text
//! dw[o, i, dy, dx] = sum over b, p of g[b, o, p] * x[b, i, p + (dy, dx) - k/2]
//! ```
//!
//! Images are first laid out channels last, so that a vector holds one pixel of several inputs. The sum over images is cut
//! into `CHUNKS` pieces, whose number and order do not depend on threads, so the result does not either.

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use super::planes::{self, Planes};
use crate::cpu::scratch;
use crate::cpu::tile::{correlate, load, store};

/// Pieces of the sum over images.
const CHUNKS: usize = 8;

/// Writes the gradient of `[outputs, planes.channels, kernel, kernel]` weights to `out`.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes.
pub fn weight_gradient(
    isa: Isa,
    (input, planes): (&[f32], Planes),
    (gradient, outputs): (&[f32], usize),
    kernel: usize,
    out: &mut [f32],
) {
    let shape = Correlation::new(isa, planes, outputs, kernel);
    assert_eq!(out.len(), outputs * planes.channels * kernel * kernel, "a gradient for every weight");
    if input.is_empty() || out.is_empty() {
        return out.fill(0.0);
    }
    let batch = input.len() / planes.len();
    assert_eq!(gradient.len(), batch * shape.gradient_len(), "a gradient for every image");
    let per_chunk = batch.div_ceil(CHUNKS);
    let mut sums = vec![0.0; batch.div_ceil(per_chunk) * shape.sums_len()];
    sums.par_chunks_exact_mut(shape.sums_len())
        .zip(input.par_chunks(per_chunk * planes.len()))
        .zip(gradient.par_chunks(per_chunk * shape.gradient_len()))
        .for_each(|((sums, input), gradient)| chunk(isa, &shape, input, gradient, sums));
    out.par_chunks_exact_mut(planes.channels * kernel * kernel)
        .enumerate()
        .for_each(|(output, row)| shape.collect(output, &sums, row));
}

/// The shapes of one weight gradient.
#[derive(Clone, Copy)]
struct Correlation {
    planes: Planes,
    outputs: usize,
    kernel: usize,
    lanes: usize,
}

impl Correlation {
    fn new(isa: Isa, planes: Planes, outputs: usize, kernel: usize) -> Self {
        Correlation { planes, outputs, kernel, lanes: isa.lanes() }
    }

    fn pad(&self) -> usize {
        self.kernel / 2
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    fn groups(&self) -> usize {
        self.planes.channels.div_ceil(self.lanes)
    }

    /// Floats of one group of an image laid out channels last.
    fn group_len(&self) -> usize {
        self.planes.padded(self.pad()).pixels() * self.lanes
    }

    fn gradient_len(&self) -> usize {
        self.outputs * self.planes.pixels()
    }

    /// Floats of one piece of the sum: `[outputs, groups, taps, lanes]`.
    fn sums_len(&self) -> usize {
        self.outputs * self.groups() * self.taps() * self.lanes
    }

    /// Adds up all pieces' row `output`, in order, as `[inputs, taps]`.
    fn collect(&self, output: usize, sums: &[f32], row: &mut [f32]) {
        let row_len = self.groups() * self.taps() * self.lanes;
        row.fill(0.0);
        for piece in sums.chunks_exact(self.sums_len()) {
            let piece = &piece[output * row_len..][..row_len];
            for (input, weights) in row.chunks_exact_mut(self.taps()).enumerate() {
                let at = input / self.lanes * self.taps() * self.lanes + input % self.lanes;
                for (tap, w) in weights.iter_mut().enumerate() {
                    *w += piece[at + tap * self.lanes];
                }
            }
        }
    }
}

fn chunk(isa: Isa, shape: &Correlation, input: &[f32], gradient: &[f32], sums: &mut [f32]) {
    scratch::with(shape.groups() * shape.group_len(), |last| {
        let images = input.chunks_exact(shape.planes.len()).zip(gradient.chunks_exact(shape.gradient_len()));
        for (input, gradient) in images {
            planes::channels_last(input, shape.planes, shape.pad(), shape.lanes, last);
            // SAFETY: `isa` is one of this machine's; the slices have the lengths of `shape`.
            unsafe { isa.run(OneImage { shape, last, gradient, sums: &mut *sums }) };
        }
    });
}

/// Adds one image's share to the sums.
struct OneImage<'a> {
    shape: &'a Correlation,
    last: &'a [f32],
    gradient: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for OneImage<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(mut self) {
        let (groups, kernel) = (self.shape.groups(), self.shape.kernel);
        for group in 0..groups {
            for dy in 0..kernel {
                let mut dx = 0;
                while dx < kernel {
                    // SAFETY: we are below `Isa::run` of `S`, and the taps lie in the kernel.
                    unsafe {
                        if kernel - dx >= 3 {
                            self.all_outputs::<S, 3>(group, (dy, dx));
                            dx += 3;
                        } else {
                            self.all_outputs::<S, 1>(group, (dy, dx));
                            dx += 1;
                        }
                    }
                }
            }
        }
    }
}

impl OneImage<'_> {
    /// # Safety
    /// Below `Isa::run` of `S`; row `dy` of the kernel must have `N` taps from `dx` on.
    #[inline(always)]
    unsafe fn all_outputs<S: Shape, const N: usize>(&mut self, group: usize, tap: (usize, usize)) {
        let mut first = 0;
        while first < self.shape.outputs {
            let rows = S::BLOCK.0.min(self.shape.outputs - first);
            // SAFETY: the caller's promise; `M` rows remain.
            unsafe {
                first += match rows {
                    8.. => self.one_tile::<S, 8, N>(group, tap, first),
                    4.. => self.one_tile::<S, 4, N>(group, tap, first),
                    2.. => self.one_tile::<S, 2, N>(group, tap, first),
                    _ => self.one_tile::<S, 1, N>(group, tap, first),
                }
            }
        }
    }

    /// # Safety
    /// As for `all_outputs`; `M` outputs must remain from `first` on.
    #[inline(always)]
    unsafe fn one_tile<S: Shape, const M: usize, const N: usize>(
        &mut self,
        group: usize,
        (dy, dx): (usize, usize),
        first: usize,
    ) -> usize {
        let shape = self.shape;
        let wide = shape.planes.padded(shape.pad());
        let row_len = shape.groups() * shape.taps() * S::LANES;
        let at = first * row_len + (group * shape.taps() + dy * shape.kernel + dx) * S::LANES;
        let sums = &mut self.sums[at..][..(M - 1) * row_len + N * S::LANES];
        let gradient = &self.gradient[first * shape.planes.pixels()..][..M * shape.planes.pixels()];
        let last = &self.last[group * shape.group_len()..][..shape.group_len()];
        // SAFETY: sums and gradients were just sliced to what the tile touches; a padded plane reaches `kernel - 1` rows and
        // columns beyond the output's pixels.
        unsafe {
            let c = sums.as_mut_ptr();
            let acc = load::<S, M, N>(c, row_len);
            let mut offsets = [0; N];
            for (v, offset) in offsets.iter_mut().enumerate() {
                *offset = (dx + v) * S::LANES;
            }
            let acc = correlate::<S, M, N>(
                acc,
                (gradient.as_ptr(), shape.planes.pixels()),
                last.as_ptr().add(dy * wide.width * S::LANES),
                offsets,
                (shape.planes.height, shape.planes.width, wide.width * S::LANES),
            );
            store::<S, M, N>(&acc, c, row_len);
        }
        M
    }
}
