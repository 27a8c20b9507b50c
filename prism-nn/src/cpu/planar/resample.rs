//! Nearest-neighbour doubling and 2x2 maximum pooling of planes, with their gradients.
//!
//! Planes are independent; tasks take fixed groups of them.

use rayon::prelude::*;

/// Floats of output that make a task worth its while.
const TASK: usize = 1 << 14;

/// Doubles planes of `height x width`: `out[2i + a][2j + b] = input[i][j]`.
///
/// # Panics
/// If `out` is not four times as long as `input`.
pub fn upsample(input: &[f32], (height, width): (usize, usize), out: &mut [f32]) {
    assert_eq!(out.len(), 4 * input.len(), "four pixels for one");
    per_plane(input, height * width, out, 4 * height * width, |plane, out| {
        for (row, pair) in plane.chunks_exact(width).zip(out.chunks_exact_mut(4 * width)) {
            let (first, second) = pair.split_at_mut(2 * width);
            for (two, &x) in first.chunks_exact_mut(2).zip(row) {
                two.copy_from_slice(&[x, x]);
            }
            second.copy_from_slice(first);
        }
    });
}

/// The gradient of [`upsample`], which is the sum over each 2x2 square; `(height, width)` are those of `out`.
///
/// # Panics
/// If `gradient` is not four times as long as `out`.
pub fn upsample_gradient(gradient: &[f32], (height, width): (usize, usize), out: &mut [f32]) {
    assert_eq!(gradient.len(), 4 * out.len(), "four pixels for one");
    per_plane(gradient, 4 * height * width, out, height * width, |plane, out| {
        for (row, pair) in out.chunks_exact_mut(width).zip(plane.chunks_exact(4 * width)) {
            let (first, second) = pair.split_at(2 * width);
            for ((x, a), b) in row.iter_mut().zip(first.chunks_exact(2)).zip(second.chunks_exact(2)) {
                *x = (a[0] + a[1]) + (b[0] + b[1]);
            }
        }
    });
}

/// Maxima of disjoint 2x2 squares of planes of `height x width`, an odd last row or column left out.
///
/// # Panics
/// If `out` does not hold `height / 2 * (width / 2)` pixels for each plane.
pub fn max_pool(input: &[f32], (height, width): (usize, usize), out: &mut [f32]) {
    let (rows, columns) = (height / 2, width / 2);
    per_plane(input, height * width, out, rows * columns, |plane, out| {
        for (i, line) in out.chunks_exact_mut(columns).enumerate() {
            let (first, second) = plane[2 * i * width..].split_at(width);
            for ((y, a), b) in line.iter_mut().zip(first.chunks_exact(2)).zip(second.chunks_exact(2)) {
                *y = a[0].max(a[1]).max(b[0].max(b[1]));
            }
        }
    });
}

/// The gradient of [`max_pool`]: the first maximum of a square, row by row, receives all of it.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes.
pub fn max_pool_gradient([input, output, gradient]: [&[f32]; 3], (height, width): (usize, usize), out: &mut [f32]) {
    let (rows, columns) = (height / 2, width / 2);
    assert_eq!(input.len(), out.len(), "a gradient for every pixel");
    assert_eq!(output.len(), gradient.len(), "a gradient for every maximum");
    let (wide, narrow) = (height * width, rows * columns);
    if narrow == 0 || out.is_empty() {
        return out.fill(0.0);
    }
    let planes = (TASK / wide).max(1);
    out.par_chunks_mut(planes * wide)
        .zip(input.par_chunks(planes * wide))
        .zip(output.par_chunks(planes * narrow).zip(gradient.par_chunks(planes * narrow)))
        .for_each(|((out, input), (output, gradient))| {
            out.fill(0.0);
            let planes = out.chunks_exact_mut(wide).zip(input.chunks_exact(wide));
            let pooled = output.chunks_exact(narrow).zip(gradient.chunks_exact(narrow));
            for ((out, input), (output, gradient)) in planes.zip(pooled) {
                for (square, (&y, &g)) in output.iter().zip(gradient).enumerate() {
                    let corner = square / columns * 2 * width + square % columns * 2;
                    let found = [0, 1, width].into_iter().find(|step| input[corner + step] == y);
                    out[corner + found.unwrap_or(width + 1)] = g;
                }
            }
        });
}

/// Calls `each(input plane, output plane)` for all planes, in parallel.
fn per_plane(
    input: &[f32],
    input_plane: usize,
    out: &mut [f32],
    out_plane: usize,
    each: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    if input_plane == 0 || out_plane == 0 {
        return;
    }
    assert_eq!(input.len() / input_plane, out.len() / out_plane, "as many planes come out as went in");
    let planes = (TASK / out_plane).max(1);
    out.par_chunks_mut(planes * out_plane).zip(input.par_chunks(planes * input_plane)).for_each(|(out, input)| {
        for (out, input) in out.chunks_exact_mut(out_plane).zip(input.chunks_exact(input_plane)) {
            each(input, out);
        }
    });
}
