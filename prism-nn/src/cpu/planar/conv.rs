//! Convolution, stride 1, `k / 2` zeros around (k odd): `x [B, I, H, W]`, `w [O, I, k, k]` -> `y [B, O, H, W]`,
//!
//! ```text
//! y[b, o, p] = sum over i, dy, dx of w[o, i, dy, dx] * x[b, i, p + (dy, dx) - k/2]
//! ```
//!
//! For one image this is the product of `[O, I k k]` weights and a `[I k k, H W]` column matrix, which is never formed:
//! a vector of pixels of its row `(i, dy, dx)` is just the padded plane `i` read `(dy, dx)` further on. That works where a
//! vector lies inside one image row; narrower images pack one panel of pixels at a time.
//!
//! The gradient with respect to x is the same convolution of the output's gradient, by weights with inputs and outputs
//! exchanged and both kernel axes reversed ([`Weights::transposed`]).

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use super::planes::{self, Planes};
use crate::cpu::scratch;
use crate::cpu::tile::{Epilogue, load, multiply, relu, rows_of, store};

/// Rows of the column matrix worked on at a time: a panel of them fits the first cache.
const SHARED_BLOCK: usize = 288;

/// Convolution weights in the order in which tiles read them: `[O / rows, I, k, k, rows]`, missing rows zero.
#[derive(Clone, Debug)]
pub struct Weights {
    packed: Vec<f32>,
    isa: Isa,
    outputs: usize,
    inputs: usize,
    kernel: usize,
}

impl Weights {
    /// Packs `weight [outputs, inputs, kernel, kernel]`.
    pub fn forward(isa: Isa, weight: &[f32], (outputs, inputs, kernel): (usize, usize, usize)) -> Self {
        let taps = kernel * kernel;
        Self::pack(isa, (outputs, inputs, kernel), |o, i, tap| weight[(o * inputs + i) * taps + tap])
    }

    /// Packs the weights of the gradient with respect to the input of a convolution by the same `weight`.
    pub fn transposed(isa: Isa, weight: &[f32], (outputs, inputs, kernel): (usize, usize, usize)) -> Self {
        let taps = kernel * kernel;
        Self::pack(isa, (inputs, outputs, kernel), |i, o, tap| weight[(o * inputs + i) * taps + taps - 1 - tap])
    }

    fn pack(
        isa: Isa,
        (outputs, inputs, kernel): (usize, usize, usize),
        at: impl Fn(usize, usize, usize) -> f32 + Sync,
    ) -> Self {
        let (rows, taps) = (isa.block().0, kernel * kernel);
        let mut packed = vec![0.0; outputs.div_ceil(rows) * inputs * taps * rows];
        packed.par_chunks_mut(inputs * taps * rows).enumerate().for_each(|(panel, block)| {
            let first = panel * rows;
            for (k, line) in block.chunks_exact_mut(rows).enumerate() {
                for (row, w) in line.iter_mut().enumerate().take(outputs - first) {
                    *w = at(first + row, k / taps, k % taps);
                }
            }
        });
        Weights { packed, isa, outputs, inputs, kernel }
    }
}

/// What happens to the images besides the convolution.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fused<'a> {
    /// Input pixels at which this is not positive count as 0; same shape as the input.
    pub gate: Option<&'a [f32]>,
    /// Added to every pixel of an output channel.
    pub bias: Option<&'a [f32]>,
    /// Replace negative outputs by 0.
    pub relu: bool,
}

/// Convolves images of shape `planes` and writes them to `out`.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes.
pub fn convolve(input: &[f32], planes: Planes, weights: &Weights, fused: Fused<'_>, out: &mut [f32]) {
    let outputs = weights.outputs * planes.pixels();
    if outputs == 0 {
        return;
    }
    assert_eq!(planes.channels, weights.inputs, "the weights are for another number of channels");
    assert_eq!(input.len() / planes.len(), out.len() / outputs, "as many images come out as went in");
    assert!(fused.gate.is_none_or(|gate| gate.len() == input.len()), "a gate for every input");
    assert!(fused.bias.is_none_or(|bias| bias.len() == weights.outputs), "a bias for every output");
    let tiling = Tiling::new(planes, weights);
    out.par_chunks_exact_mut(outputs).zip(input.par_chunks_exact(planes.len())).enumerate().for_each(
        |(image, (out, input))| {
            let gate = fused.gate.map(|gate| &gate[image * planes.len()..][..planes.len()]);
            one_image(&tiling, input, gate, fused, out);
        },
    );
}

/// What is the same for all images.
struct Tiling<'a> {
    weights: &'a Weights,
    planes: Planes,
    pad: usize,
    /// Input channels worked on at a time.
    block: usize,
    /// Where row k of a block's column matrix begins, relative to a pixel of the first padded plane.
    taps: Vec<usize>,
    /// Where row k of a panel begins, if images are too narrow to be read in place.
    panel_taps: Option<Vec<usize>>,
    /// Pixels of a panel.
    panel_width: usize,
}

impl<'a> Tiling<'a> {
    fn new(planes: Planes, weights: &'a Weights) -> Self {
        let (kernel, pad) = (weights.kernel, weights.kernel / 2);
        let wide = planes.padded(pad);
        let block = (SHARED_BLOCK / (kernel * kernel)).clamp(1, planes.channels);
        let taps = (0..block * kernel * kernel).map(|k| {
            let (channel, dy, dx) = (k / (kernel * kernel), k / kernel % kernel, k % kernel);
            channel * wide.pixels() + dy * wide.width + dx
        });
        let panel_width = weights.isa.lanes() * weights.isa.block().1;
        let narrow = !planes.width.is_multiple_of(weights.isa.lanes());
        let panel_taps = narrow.then(|| (0..block * kernel * kernel).map(|k| k * panel_width).collect());
        Tiling { weights, planes, pad, block, taps: taps.collect(), panel_taps, panel_width }
    }

    /// Floats of a padded block of channels, and of a panel.
    fn scratch(&self) -> (usize, usize) {
        let padded = Planes { channels: self.block, ..self.planes }.padded(self.pad).len();
        (padded, self.panel_taps.as_ref().map_or(0, |taps| taps.len() * self.panel_width))
    }
}

fn one_image(tiling: &Tiling<'_>, input: &[f32], gate: Option<&[f32]>, fused: Fused<'_>, out: &mut [f32]) {
    let (weights, planes, pixels) = (tiling.weights, tiling.planes, tiling.planes.pixels());
    let taps = weights.kernel * weights.kernel;
    let (padded_len, panel_len) = tiling.scratch();
    scratch::with(padded_len + panel_len, |memory| {
        let (panel, padded) = memory.split_at_mut(panel_len);
        for first in (0..planes.channels).step_by(tiling.block) {
            let channels = tiling.block.min(planes.channels - first);
            let range = first * pixels..(first + channels) * pixels;
            let part = Planes { channels, ..planes };
            planes::pad(&input[range.clone()], gate.map(|gate| &gate[range]), part, tiling.pad, padded);
            let last = first + channels == planes.channels;
            let block = ChannelBlock {
                padded,
                panel,
                tiling,
                taps: channels * taps,
                weights: &weights.packed[first * taps * weights.isa.block().0..],
                panel_weights: weights.inputs * taps * weights.isa.block().0,
                outputs: weights.outputs,
                epilogue: Epilogue { accumulate: first > 0, bias: fused.bias, relu: fused.relu && last },
                out,
            };
            // SAFETY: packed weights carry an instruction set of this machine; `ChannelBlock` is consistent by construction.
            unsafe { weights.isa.run(block) };
        }
    });
}

/// One block of input channels of one image, times all outputs.
struct ChannelBlock<'a> {
    padded: &'a [f32],
    panel: &'a mut [f32],
    tiling: &'a Tiling<'a>,
    /// Rows of the block's column matrix.
    taps: usize,
    /// The block's weights of the first tile's outputs; the next tile's lie `panel_weights` floats on.
    weights: &'a [f32],
    panel_weights: usize,
    outputs: usize,
    epilogue: Epilogue<'a>,
    out: &'a mut [f32],
}

impl Kernel for ChannelBlock<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        // SAFETY: we are below `Isa::run` of `S`.
        unsafe {
            match S::BLOCK {
                (8, 2) => self.all_pixels::<S, 8, 2>(),
                (4, 2) => self.all_pixels::<S, 4, 2>(),
                (4, 1) => self.all_pixels::<S, 4, 1>(),
                _ => self.all_pixels::<S, 1, 1>(),
            }
        }
    }
}

impl ChannelBlock<'_> {
    #[inline(always)]
    unsafe fn all_pixels<S: Shape, const M: usize, const N: usize>(mut self) {
        let (tiling, pixels) = (self.tiling, self.tiling.planes.pixels());
        if let Some(offsets) = &tiling.panel_taps {
            for pixel in (0..pixels).step_by(tiling.panel_width) {
                let count = tiling.panel_width.min(pixels - pixel);
                self.gather(pixel, count);
                let mut starts = [self.panel.as_ptr(); N];
                // SAFETY: we are below `Isa::run` of `S`; every row of the panel holds N vectors.
                unsafe {
                    for (v, start) in starts.iter_mut().enumerate() {
                        *start = start.add(v * S::LANES);
                    }
                    self.all_outputs::<S, M, N>((pixel, count), starts, &offsets[..self.taps]);
                }
            }
            return;
        }
        let mut pixel = 0;
        while pixel + N * S::LANES <= pixels {
            // SAFETY: we are below `Isa::run` of `S`, and `N` vectors of pixels remain.
            unsafe { self.in_rows::<S, M, N>(pixel) };
            pixel += N * S::LANES;
        }
        while pixel < pixels {
            // SAFETY: as above; widths are multiples of a vector, so a whole one remains.
            unsafe { self.in_rows::<S, M, 1>(pixel) };
            pixel += S::LANES;
        }
    }

    /// The outputs of `N` vectors of pixels, each inside one image row.
    #[inline(always)]
    unsafe fn in_rows<S: Shape, const M: usize, const N: usize>(&mut self, pixel: usize) {
        let width = self.tiling.planes.width;
        let wide = self.tiling.planes.padded(self.tiling.pad).width;
        // SAFETY: pixel (row, column) of the output reads from (row, column) of the padded plane on, and a padded plane
        // has `kernel - 1` rows and columns more than the output.
        unsafe {
            let mut starts = [self.padded.as_ptr(); N];
            for (v, start) in starts.iter_mut().enumerate() {
                let at = pixel + v * S::LANES;
                *start = start.add(at / width * wide + at % width);
            }
            self.all_outputs::<S, M, N>((pixel, N * S::LANES), starts, &self.tiling.taps[..self.taps]);
        }
    }

    /// Copies `count` columns from `pixel` on of the column matrix to the panel, zeros after them.
    fn gather(&mut self, pixel: usize, count: usize) {
        let width = self.tiling.planes.width;
        let padded_width = self.tiling.planes.padded(self.tiling.pad).width;
        let lines = self.panel.chunks_exact_mut(self.tiling.panel_width);
        for (line, &tap) in lines.zip(&self.tiling.taps[..self.taps]) {
            let (mut done, mut at) = (0, pixel);
            while done < count {
                let run = (width - at % width).min(count - done);
                let from = tap + at / width * padded_width + at % width;
                line[done..done + run].copy_from_slice(&self.padded[from..from + run]);
                done += run;
                at += run;
            }
            line[count..].fill(0.0);
        }
    }

    /// # Safety
    /// Below `Isa::run` of `S`; each start must be readable for a vector at every offset.
    #[inline(always)]
    unsafe fn all_outputs<S: Shape, const M: usize, const N: usize>(
        &mut self,
        place: (usize, usize),
        starts: [*const f32; N],
        offsets: &[usize],
    ) {
        for first in (0..self.outputs).step_by(M) {
            let a = self.weights[first / M * self.panel_weights..].as_ptr();
            let rows = M.min(self.outputs - first);
            // SAFETY: a panel holds M weights for every row of the block; the rest is the caller's promise.
            unsafe {
                match (M, rows) {
                    (8, 1..=4) => self.one_tile::<S, 4, N>((first, rows), place, (a, M), starts, offsets),
                    _ => self.one_tile::<S, M, N>((first, rows), place, (a, M), starts, offsets),
                }
            }
        }
    }

    /// # Safety
    /// As for `all_outputs`; `a` must hold rows of at least `M` weights, `stride` apart.
    #[inline(always)]
    unsafe fn one_tile<S: Shape, const M: usize, const N: usize>(
        &mut self,
        (first, rows): (usize, usize),
        (pixel, count): (usize, usize),
        (a, stride): (*const f32, usize),
        starts: [*const f32; N],
        offsets: &[usize],
    ) {
        let pixels = self.tiling.planes.pixels();
        let out = &mut self.out[first * pixels + pixel..(first + rows - 1) * pixels + pixel + count];
        let whole = rows == M && count == N * S::LANES;
        let mut edge = [[0f32; 64]; M];
        // SAFETY: where the tile is whole it lies in `out`, whose last row was just checked to end in bounds; where it is
        // not, it goes through `edge`, whose rows hold the two vectors of 16 that are the widest tile.
        unsafe {
            let (c, pitch) = if whole {
                (out.as_mut_ptr(), pixels)
            } else {
                if self.epilogue.accumulate {
                    for (m, line) in edge.iter_mut().enumerate().take(rows) {
                        line[..count].copy_from_slice(&out[m * pixels..][..count]);
                    }
                }
                (edge.as_mut_ptr().cast::<f32>(), 64)
            };
            let mut acc = if self.epilogue.accumulate {
                load::<S, M, N>(c, pitch)
            } else {
                let mut biases = [0.0; M];
                if let Some(bias) = self.epilogue.bias {
                    biases[..rows].copy_from_slice(&bias[first..first + rows]);
                }
                rows_of::<S, M, N>(biases)
            };
            acc = multiply::<S, M, N>(acc, a, stride, starts, offsets);
            if self.epilogue.relu {
                acc = relu::<S, M, N>(acc);
            }
            store::<S, M, N>(&acc, c, pitch);
            if !whole {
                for (m, line) in edge.iter().enumerate().take(rows) {
                    out[m * pixels..][..count].copy_from_slice(&line[..count]);
                }
            }
        }
    }
}
