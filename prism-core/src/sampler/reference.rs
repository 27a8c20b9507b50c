//! The generator in plain `f64` loops: what the fast sampler is compared with, and what draws the known answer.
//!
//! ```text
//! first   y[o][r][c] = sigma * sum_i w[i][o][r][c] * z[i]                                 1x1 -> 4x4
//! conv    y[o][r][c] = sigma * sum_(i,u,v) w[o][i][u][v] * x[i][r+u-k/2][c+v-k/2]         zero outside
//! block   y = conv2(relu(bn2(conv1(up(relu(bn1(x))))))) + up(skip(x))                     up = nearest x2
//! image   tanh(last(relu(bn(y))))
//! ```
//!
//! In `f64`, summing in another order moves a value by some 1e-14, far too little to change a pixel's byte; so a second
//! reader in another language finds the same bytes.

use super::model::{FoldedNorm, Model};
use super::pixel;
use crate::arch::Layer;
use crate::prelude::*;

/// Channels of square maps, row-major: `[channels, side, side]`.
struct Maps {
    side: usize,
    values: Vec<f64>,
}

/// The image of one input, `[channels, size, size]` in [-1, 1].
///
/// # Panics
/// If `input` has another length than `arch.inputs()`.
pub fn image(model: &Model<'_>, input: &[f32]) -> Vec<f64> {
    assert_eq!(input.len(), model.arch().inputs(), "the input is the latent and the label");
    let layers = model.arch().layers();
    let mut norms = model.norms().iter();
    let mut norm = |x: &Maps| relu_norm(x, norms.next());
    let conv = |index: usize, x: &Maps| convolve(&layers[index], &model.weights(index, &layers[index]), x);

    let mut x = first(&layers[0], &model.weights(0, &layers[0]), input);
    for block in 0..model.arch().blocks() {
        let index = 1 + 3 * block;
        let inner = conv(index, &upsample(&norm(&x)));
        let mut y = conv(index + 1, &norm(&inner));
        let skip = upsample(&conv(index + 2, &x));
        y.values.iter_mut().zip(&skip.values).for_each(|(y, s)| *y += s);
        x = y;
    }
    let image = conv(layers.len() - 1, &norm(&x));
    image.values.into_iter().map(libm::tanh).collect()
}

/// The bytes of one input's image, `[channels, size, size]`.
///
/// # Panics
/// If `input` has another length than `arch.inputs()`.
pub fn bytes(model: &Model<'_>, input: &[f32]) -> Vec<u8> {
    image(model, input).into_iter().map(pixel::byte).collect()
}

fn first(layer: &Layer, weights: &[i8], input: &[f32]) -> Maps {
    let size = layer.outputs * 16;
    let mut values = vec![0.0; size];
    for (z, row) in input.iter().zip(weights.chunks_exact(size)) {
        values.iter_mut().zip(row).for_each(|(y, w)| *y += f64::from(*w) * f64::from(*z));
    }
    scale(&mut values, layer);
    Maps { side: 4, values }
}

fn convolve(layer: &Layer, weights: &[i8], x: &Maps) -> Maps {
    let (k, area) = (layer.kernel, x.side * x.side);
    let mut values = vec![0.0; layer.outputs * area];
    for (output, filters) in values.chunks_exact_mut(area).zip(weights.chunks_exact(layer.inputs * k * k)) {
        for (input, filter) in x.values.chunks_exact(area).zip(filters.chunks_exact(k * k)) {
            for (tap, w) in filter.iter().enumerate().filter(|(_, w)| **w != 0) {
                let w = f64::from(*w);
                add_shifted(output, input, x.side, Shift::of(tap, k), |y, x| *y += w * x);
            }
        }
    }
    scale(&mut values, layer);
    Maps { side: x.side, values }
}

/// Where a tap reads, from the pixel that it counts for.
pub(super) struct Shift {
    down: isize,
    right: isize,
}

impl Shift {
    /// Of a tap of a square kernel of side `k`.
    pub(super) fn of(tap: usize, k: usize) -> Self {
        let offset = |at: usize| at as isize - k as isize / 2;
        Shift { down: offset(tap / k), right: offset(tap % k) }
    }
}

/// Has `add` add `input[r + down][c + right]` to every `output[r][c]` for which that lies inside the map.
pub(super) fn add_shifted<X: Copy, Y>(
    output: &mut [Y],
    input: &[X],
    side: usize,
    Shift { down, right }: Shift,
    add: impl Fn(&mut Y, X),
) {
    let from = |shift: isize| (-shift).max(0) as usize;
    let to = |shift: isize| side - shift.max(0) as usize;
    for row in from(down)..to(down) {
        let (start, end) = (row * side + from(right), row * side + to(right));
        let source = (start as isize + down * side as isize + right) as usize;
        let pairs = output[start..end].iter_mut().zip(&input[source..source + (end - start)]);
        pairs.for_each(|(y, x)| add(y, *x));
    }
}

fn scale(values: &mut [f64], layer: &Layer) {
    let sigma = f64::from(layer.sigma());
    values.iter_mut().for_each(|y| *y *= sigma);
}

fn relu_norm(x: &Maps, norm: Option<&FoldedNorm>) -> Maps {
    let Some(norm) = norm else { unreachable!("a model has as many norms as its architecture") };
    let area = x.side * x.side;
    let channels = x.values.chunks_exact(area).zip(norm.scale.iter().zip(&norm.shift));
    let relu = |x: &f64, scale: f32, shift: f32| (f64::from(scale) * x + f64::from(shift)).max(0.0);
    let values = channels.flat_map(|(map, (s, b))| map.iter().map(move |x| relu(x, *s, *b))).collect();
    Maps { side: x.side, values }
}

fn upsample(x: &Maps) -> Maps {
    let rows = x.values.chunks_exact(x.side);
    let wide = |row: &[f64]| -> Vec<f64> { row.iter().flat_map(|v| [*v, *v]).collect() };
    let values = rows.flat_map(|row| [wide(row), wide(row)]).flatten().collect();
    Maps { side: 2 * x.side, values }
}
