//! The moment loss of features pooled over the cells of a grid: all pixels of a cell are samples of one feature.
//!
//! `features [G, n, H, W, stride]`, targets `[G, N, N, stride]` for N cells a side: mean and variance of a channel run over
//! the n images and the `H W / N^2` pixels of a cell. The gradient is then again linear in each feature.

use prism_core::simd::Isa;
use rayon::prelude::*;

use super::{BLOCK, Block, Gradient, Rows, Targets};
use crate::cpu::map::Map;

/// Cells a side into which a map of `height` rows is divided where `grid` are asked for: no smaller than a pixel.
pub fn cells(grid: usize, height: usize) -> usize {
    grid.min(height)
}

/// Returns the loss and writes what its gradient needs, one number a feature of the map. `images` is n.
///
/// Targets of channels that are only stored must be 0.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes, or the cells do not divide the map.
pub fn moment_loss(
    isa: Isa,
    features: &[f32],
    map: Map,
    images: usize,
    grid: usize,
    targets: Targets<'_>,
    gradient: &mut Gradient,
) -> f64 {
    let (groups, side) = (targets.scale.len(), cells(grid, map.height));
    let (height, width) = (map.height / side, map.width / side);
    assert_eq!((height * side, width * side), (map.height, map.width), "cells of one size");
    assert_eq!(targets.mean.len(), groups * side * side * map.stride, "a target for every cell and channel");
    assert_eq!(features.len(), groups * images * map.image_len(), "n images for every group");
    let count = (groups * side * side * map.channels) as f64;
    let mut coefficients = vec![[0f32; 2]; 0];
    coefficients.resize(targets.mean.len(), [0.0; 2]);
    let mut terms = Vec::new();
    coefficients
        .par_chunks_mut(map.stride)
        .enumerate()
        .map(|(place, out)| {
            let (group, cell) = (place / (side * side), place % (side * side));
            let corner = (cell / side * height * map.width + cell % side * width) * map.stride;
            let mut loss = 0.0;
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                let channel = block * BLOCK;
                let rows = Rows {
                    values: features,
                    first: group * images * map.image_len() + corner + channel,
                    images,
                    image: map.image_len(),
                    height,
                    line: map.width * map.stride,
                    width,
                    pixel: map.stride,
                };
                let from = place * map.stride + channel;
                let targets = targets.part(from..from + out.len(), group);
                let (mut shift, mut slope) = ([0f32; BLOCK], [0f32; BLOCK]);
                let (shift, slope) = (&mut shift[..out.len()], &mut slope[..out.len()]);
                // SAFETY: `isa` is one of this machine's.
                loss += unsafe { isa.run(Block { rows, targets, count, shift, slope }) };
                for ((out, &mut shift), &mut slope) in out.iter_mut().zip(shift).zip(slope) {
                    *out = [shift, slope];
                }
            }
            loss
        })
        .collect_into_vec(&mut terms);
    spread(&coefficients, map, side, gradient);
    terms.iter().sum()
}

/// Gives each pixel the coefficients of its cell.
fn spread(coefficients: &[[f32; 2]], map: Map, side: usize, gradient: &mut Gradient) {
    let len = coefficients.len() / (side * side) * map.pixels();
    gradient.shift.resize(len, 0.0);
    gradient.slope.resize(len, 0.0);
    let (height, width) = (map.height / side, map.width / side);
    let pixels = gradient.shift.par_chunks_exact_mut(map.stride).zip(gradient.slope.par_chunks_exact_mut(map.stride));
    pixels.enumerate().for_each(|(place, (shift, slope))| {
        let (group, pixel) = (place / map.pixels(), place % map.pixels());
        let (row, column) = (pixel / map.width / height, pixel % map.width / width);
        let cell = (group * side + row) * side + column;
        let from = &coefficients[cell * map.stride..][..map.stride];
        for ((shift, slope), from) in shift.iter_mut().zip(slope).zip(from) {
            [*shift, *slope] = *from;
        }
    });
}
