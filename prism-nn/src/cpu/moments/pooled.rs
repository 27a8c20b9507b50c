//! The moment loss of features pooled over the cells of a grid: all pixels of a cell are samples of one feature.
//!
//! `features [G, n, H, W, stride]`, targets `[G, N, N, stride]` for N cells a side: mean and variance of a channel run over
//! the n images and the `A = H W / N^2` pixels of a cell.
//!
//! Pixels of one image are no independent samples, so what chance adds to a mean's square is the variance of the images' own
//! means m_i of the cell, not that of pixels:
//!
//! ```text
//! e = sum over i of (m_i - mu)^2 / (n (n - 1)),     de/df[i, pixel] = 2 (m_i - mu) / (n (n - 1) A)
//! ```
//!
//! The gradient is then linear in each feature, with a shift of its own for every image. To a variance's square chance adds what it would
//! to one of normal and independent pixels; of at least 4 images [`mod@super::cells`] takes off all that chance adds.

use prism_core::simd::Isa;
use rayon::prelude::*;

use super::cells;
use super::exact::LEAST_IMAGES;
use super::normal::NormalBlock;
use super::rows::{BLOCK, Rows, spread};
use super::targets::{Gradient, Targets};
use crate::cpu::source::Plain;
use crate::estimator::Estimator;
use crate::second_moment::SecondMoment;

/// Cells a side into which a map of `height` rows is divided where `grid` are asked for: no smaller than a pixel.
pub fn cells(grid: usize, height: usize) -> usize {
    grid.min(height)
}

/// Returns the loss and writes what its gradient needs, one number a feature of every image. `grid` cells a side are asked for.
///
/// Targets of channels that are only stored must be 0.
///
/// # Panics
/// If the lengths of the slices disagree with the shapes, or the cells do not divide the map.
pub fn moment_loss(isa: Isa, features: Plain<'_>, grid: usize, targets: Targets<'_>, gradient: &mut Gradient) -> f64 {
    let Plain { values, map } = features;
    let (groups, side) = (targets.scale.len(), cells(grid, map.height));
    let images = map.batch / groups.max(1);
    let exact = targets.estimator == Estimator::Unbiased && images >= LEAST_IMAGES;
    if exact || targets.kind == SecondMoment::Square {
        return cells::moment_loss(isa, features, side, targets, gradient);
    }
    assert_eq!((map.height % side, map.width % side), (0, 0), "cells of one size");
    assert_eq!(targets.mean.len(), groups * side * side * map.stride, "a target for every cell and channel");
    assert_eq!(values.len(), groups * images * map.image_len(), "n images for every group");
    let count = (groups * side * side * map.channels) as f64;
    let mut shifts = vec![0f32; targets.mean.len() * images];
    let mut slopes = vec![0f32; targets.mean.len()];
    let mut terms = Vec::new();
    shifts
        .par_chunks_mut(map.stride * images)
        .zip(slopes.par_chunks_mut(map.stride))
        .enumerate()
        .map(|(place, (shifts, slopes))| {
            let mut loss = 0.0;
            for (block, slope) in slopes.chunks_mut(BLOCK).enumerate() {
                let channel = block * BLOCK;
                let rows = Rows::of_cell(values, map, (side, place), images, channel);
                let from = place * map.stride + channel;
                let targets = targets.part(from..from + slope.len(), place / (side * side));
                let mut shift = [0f32; BLOCK];
                let shift = &mut shift[..slope.len()];
                let block = NormalBlock { rows, targets, count, samples_are_images: false, shift, slope };
                // SAFETY: `isa` is one of this machine's.
                loss += unsafe { isa.run(block) };
                let own = shifts.chunks_mut(map.stride).map(|image| &mut image[channel..channel + shift.len()]);
                loss += per_image(rows, targets, count, shift, own);
            }
            loss
        })
        .collect_into_vec(&mut terms);
    // Every image of a group has the same slopes.
    let slopes: Vec<f32> = slopes.chunks(map.stride).flat_map(|slopes| slopes.repeat(images)).collect();
    spread((&shifts, &slopes), (map, side, images), gradient);
    terms.iter().sum()
}

/// Writes each image's shift, given that of its group, and returns what the chance in the images' means takes off the loss.
fn per_image<'a>(
    rows: Rows<'_>,
    targets: Targets<'_>,
    count: f64,
    shift: &[f32],
    own: impl Iterator<Item = &'a mut [f32]>,
) -> f64 {
    let (pixels, n, width) = (rows.height * rows.width, rows.images as f64, shift.len());
    let mut own: Vec<&mut [f32]> = own.collect();
    if targets.estimator == Estimator::Biased {
        own.iter_mut().for_each(|own| own.copy_from_slice(shift));
        return 0.0;
    }
    // First the images' means, then their shifts in the same place.
    let mut means = [0f64; BLOCK];
    for (image, own) in own.iter_mut().enumerate() {
        own.fill(0.0);
        for i in image * pixels..(image + 1) * pixels {
            own.iter_mut().zip(rows.get(i, width)).for_each(|(sum, &f)| *sum += f);
        }
        for (mean, own) in means.iter_mut().zip(own.iter_mut()) {
            *own /= pixels as f32;
            *mean += f64::from(*own) / n;
        }
    }
    let scale = f64::from(targets.scale[0]);
    let mut loss = 0.0;
    for own in own {
        for (d, own) in own.iter_mut().enumerate() {
            let weight = targets.weights.map_or(1.0, |[of_mean, _]| f64::from(of_mean[d]));
            let (gap, unit) = (f64::from(*own) - means[d], weight / (scale * count * n * (n - 1.0)));
            loss -= unit * gap * gap;
            *own = (f64::from(shift[d]) - 2.0 * unit * gap / pixels as f64) as f32;
        }
    }
    loss
}
