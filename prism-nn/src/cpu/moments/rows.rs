//! Where samples of features lie, sums over them, and coefficients of cells given to their pixels.

use rayon::prelude::*;

use super::targets::Gradient;
use crate::cpu::map::Map;

/// Features that one task works on, so that their sums stay in the first cache.
pub(super) const BLOCK: usize = 512;
/// Rows that are summed in single precision; longer sums are added up in double.
const ROWS: usize = 256;

/// Where the samples of a block of features lie: at every pixel of a rectangle of every image.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub values: &'a [f32],
    /// Where the first sample begins.
    pub first: usize,
    pub images: usize,
    /// Floats from one image to the next.
    pub image: usize,
    /// Rows of the rectangle, and floats from one to the next.
    pub height: usize,
    pub line: usize,
    /// Columns of the rectangle, and floats from one to the next.
    pub width: usize,
    pub pixel: usize,
}

impl<'a> Rows<'a> {
    /// The channels from `channel` on of cell `place`, counted over the cells of all groups, of maps that are divided into `side` cells
    /// a side; `images` of each group.
    pub fn of_cell(values: &'a [f32], map: Map, (side, place): (usize, usize), images: usize, channel: usize) -> Self {
        let (group, cell) = (place / (side * side), place % (side * side));
        let (height, width) = (map.height / side, map.width / side);
        let corner = (cell / side * height * map.width + cell % side * width) * map.stride;
        Rows {
            values,
            first: group * images * map.image_len() + corner + channel,
            images,
            image: map.image_len(),
            height,
            line: map.width * map.stride,
            width,
            pixel: map.stride,
        }
    }

    /// How many samples there are.
    pub fn count(&self) -> usize {
        self.images * self.height * self.width
    }

    /// The first `len` features of sample `i`.
    #[inline(always)]
    pub fn get(&self, i: usize, len: usize) -> &'a [f32] {
        let (line, column) = (i / self.width, i % self.width);
        let (image, line) = (line / self.height, line % self.height);
        &self.values[self.first + image * self.image + line * self.line + column * self.pixel..][..len]
    }
}

/// Sums over `samples` rows of what `add` adds to K sums for each of `len` features.
#[inline(always)]
pub(super) fn sum_rows<const K: usize>(
    samples: usize,
    len: usize,
    add: impl Fn(usize, [&mut [f32]; K]),
) -> [[f64; BLOCK]; K] {
    let mut totals = [[0f64; BLOCK]; K];
    for first in (0..samples).step_by(ROWS) {
        let mut sums = [[0f32; BLOCK]; K];
        for i in first..samples.min(first + ROWS) {
            add(i, sums.each_mut().map(|sums| &mut sums[..len]));
        }
        for (total, sum) in totals.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
            *total += f64::from(*sum);
        }
    }
    totals
}

/// Gives each pixel of each image the coefficients of its cell, `[G, cells, n, channels]` each.
pub(super) fn spread(
    (shifts, slopes): (&[f32], &[f32]),
    (map, side, images): (Map, usize, usize),
    gradient: &mut Gradient,
) {
    let len = slopes.len() / (side * side) * map.pixels();
    gradient.shift.resize(len, 0.0);
    gradient.slope.resize(len, 0.0);
    gradient.per_image = true;
    let (height, width) = (map.height / side, map.width / side);
    let pixels = gradient.shift.par_chunks_exact_mut(map.stride).zip(gradient.slope.par_chunks_exact_mut(map.stride));
    pixels.enumerate().for_each(|(place, (shift, slope))| {
        let (image, pixel) = (place / map.pixels(), place % map.pixels());
        let (row, column) = (pixel / map.width / height, pixel % map.width / width);
        let cell = (image / images * side + row) * side + column;
        let at = (cell * images + image % images) * map.stride;
        shift.copy_from_slice(&shifts[at..at + map.stride]);
        slope.copy_from_slice(&slopes[at..at + map.stride]);
    });
}
