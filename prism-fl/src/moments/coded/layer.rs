//! One encoder layer of a message: from moments to rounded coefficients, and back.
//!
//! ```text
//! unit v = the variance within groups, mean over features and images       (at least 0.01 of all images' or 0.0001 of the mean square)
//! step of a coefficient = Q s / sqrt(weight),    s = sqrt(v w) for means, v sqrt(w) for variances,    w = features / most features of a layer
//! ```
//!
//! A sum over n images has the standard error sqrt(v / n), so Q counts in standard errors of the widest layer. The loss takes the mean
//! over a layer's features of squared distances in units of v (or v^2), so an equal step would spend as much on each of many
//! features as on each of few: the least loss at a given size has errors in proportion to the number of features (reverse water-filling).

use rayon::prelude::*;

use super::coefficients::{KINDS, LayerModel};
use super::cosine::Cosines;
use super::tree::GroupTree;
use crate::moments::statistics::Statistics;
use prism_core::rangecoder::{Decoder, Encoder};

/// Added to a magnitude before it is cut off. Small coefficients are mostly chance, and 0 is the cheapest: below one half.
const ROUND: f32 = 0.4;
/// Least unit, as a share of the variance of all images, and of their mean square.
const LEAST: (f64, f64) = (1e-2, 1e-4);
/// Greatest magnitude of a rounded coefficient.
const MOST: f32 = (1 << 29) as f32;

/// Size of a layer's features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerShape {
    /// Feature maps.
    pub channels: usize,
    /// Their rows and columns.
    pub side: usize,
    /// Its features over those of the widest layer.
    pub share: f64,
}

impl LayerShape {
    /// The shapes of layers with so many channels, rows and columns.
    pub fn all(shapes: &[[usize; 3]]) -> Vec<Self> {
        let features = |shape: &[usize; 3]| shape.iter().product::<usize>() as f64;
        let most = shapes.iter().map(features).fold(1.0, f64::max);
        let layer =
            |shape: &[usize; 3]| LayerShape { channels: shape[0], side: shape[1], share: features(shape) / most };
        shapes.iter().map(layer).collect()
    }

    fn pixels(&self) -> usize {
        self.side * self.side
    }

    /// The step of means and of variances at weight 1 and Q = 1.
    fn steps(&self, unit: f32) -> [f64; KINDS] {
        let unit = f64::from(unit);
        [(unit * self.share).sqrt(), unit * self.share.sqrt()]
    }
}

/// The number of standard errors to which moments are rounded: `2^(quality / 8 - 4)`.
pub fn q(quality: u8) -> f64 {
    libm::exp2(f64::from(quality) / 8.0 - 4.0)
}

/// One layer's coefficients in units of their steps.
pub struct LayerCoefficients {
    shape: LayerShape,
    /// In which variances count; 0 where every feature is.
    pub unit: f32,
    /// `[channel][kind][node][row][column]`, at Q = 1.
    scaled: Vec<f32>,
}

impl LayerCoefficients {
    /// Those of every group's statistics, in the order of the tree's rows.
    pub fn new(groups: &[Statistics], shape: LayerShape, tree: &GroupTree) -> Self {
        let unit = unit(groups) as f32;
        if unit == 0.0 {
            return LayerCoefficients { shape, unit, scaled: Vec::new() };
        }
        let (pixels, maps) = (shape.pixels(), groups.len());
        let mut scaled = vec![0.0; shape.channels * KINDS * maps * pixels];
        let cosines = Cosines::new(shape.side);
        scaled.par_chunks_mut(KINDS * maps * pixels).enumerate().for_each(|(channel, out)| {
            let (mut values, mut scratch) = (vec![0.0; maps * pixels], vec![0.0; pixels]);
            for (kind, (out, step)) in out.chunks_exact_mut(maps * pixels).zip(shape.steps(unit)).enumerate() {
                for (row, group) in values.chunks_exact_mut(pixels).zip(groups) {
                    for (x, feature) in row.iter_mut().zip(channel * pixels..) {
                        *x = if kind == 0 { group.mean[feature].into() } else { group.deviation(feature) };
                    }
                    cosines.forward(row, &mut scratch);
                }
                tree.forward(&mut values, pixels);
                for (node, out) in tree.nodes().iter().zip(out.chunks_exact_mut(pixels)) {
                    let factor = node.weight.sqrt() / step;
                    let row = &values[node.row * pixels..][..pixels];
                    out.iter_mut().zip(row).for_each(|(out, x)| *out = (x * factor) as f32);
                }
            }
        });
        LayerCoefficients { shape, unit, scaled }
    }

    /// The code at `quality`; `None` where a number is too large for one.
    pub fn encode(&self, tree: &GroupTree, quality: u8) -> Option<Vec<u8>> {
        let (mut encoder, mut model) = (Encoder::default(), LayerModel::default());
        let per_q = (1.0 / q(quality)) as f32;
        let mut rounded = Vec::new();
        for channel in self.scaled.chunks_exact(KINDS * tree.nodes().len() * self.shape.pixels()) {
            if !channel.iter().all(|x| x.abs() * per_q < MOST) {
                return None;
            }
            rounded.clear();
            rounded.extend(channel.iter().map(|x| {
                let magnitude = (x.abs() * per_q + ROUND) as i32;
                if *x < 0.0 { -magnitude } else { magnitude }
            }));
            model.channel(&mut encoder, &mut rounded, (tree, self.shape.side))?;
        }
        Some(encoder.finish())
    }
}

/// The statistics of every group that the code in `bytes` stands for, in the order of the tree's rows. Rounding leaves some variances
/// below 0: those of all clients together may be less so, and are clipped only then ([`Statistics::clip_variance`]).
///
/// # Errors
/// A clause that says what is wrong with the code.
pub fn decode(
    bytes: &[u8],
    (unit, quality): (f32, u8),
    (shape, tree): (LayerShape, &GroupTree),
    counts: &[f64],
) -> Result<Vec<Statistics>, String> {
    let (pixels, maps) = (shape.pixels(), counts.len());
    let zeros = vec![0.0; shape.channels * pixels];
    let group = |&count: &f64| Statistics { count, mean: zeros.clone(), variance: zeros.clone() };
    let mut groups: Vec<Statistics> = counts.iter().map(group).collect();
    if unit == 0.0 {
        return if bytes.is_empty() { Ok(groups) } else { Err("a layer of nothing but zeros has a code".into()) };
    }
    let (mut decoder, mut model) = (Decoder::new(bytes)?, LayerModel::default());
    let cosines = Cosines::new(shape.side);
    let mut rounded = vec![0; KINDS * maps * pixels];
    let mut values = vec![0.0; KINDS * maps * pixels];
    let mut scratch = vec![0.0; pixels];
    for channel in 0..shape.channels {
        model.channel(&mut decoder, &mut rounded, (tree, shape.side)).ok_or("its code ends early")?;
        for (kind, step) in shape.steps(unit).into_iter().enumerate() {
            let part = kind * maps * pixels..(kind + 1) * maps * pixels;
            let (rounded, values) = (&rounded[part.clone()], &mut values[part]);
            for (node, rounded) in tree.nodes().iter().zip(rounded.chunks_exact(pixels)) {
                let factor = q(quality) * step / node.weight.sqrt();
                let row = &mut values[node.row * pixels..][..pixels];
                row.iter_mut().zip(rounded).for_each(|(x, &n)| *x = f64::from(n) * factor);
            }
            tree.inverse(values, pixels);
            values.chunks_exact_mut(pixels).for_each(|row| cosines.inverse(row, &mut scratch));
        }
        let (means, deviations) = values.split_at(maps * pixels);
        for (group, (means, deviations)) in
            groups.iter_mut().zip(means.chunks_exact(pixels).zip(deviations.chunks_exact(pixels)))
        {
            // A single image has no variance, whatever rounding left of it.
            let unbiased = if group.count > 1.0 { group.count / (group.count - 1.0) } else { 0.0 };
            let features = channel * pixels..(channel + 1) * pixels;
            let (mean, variance) = (&mut group.mean[features.clone()], &mut group.variance[features]);
            mean.iter_mut().zip(means).for_each(|(out, &x)| *out = x as f32);
            variance.iter_mut().zip(deviations).for_each(|(out, &x)| *out = (x * unbiased) as f32);
            if !mean.iter().chain(variance.iter()).all(|x| x.is_finite()) {
                return Err("a moment is no number of 32 bits".into());
            }
        }
    }
    decoder.finish()?;
    Ok(groups)
}

/// In what variances of these groups count; no number where a feature is none.
fn unit(groups: &[Statistics]) -> f64 {
    let finite = |values: &[f32]| values.iter().all(|x| x.is_finite());
    if !groups.iter().all(|group| finite(&group.mean) && finite(&group.variance)) {
        return f64::NAN;
    }
    let (mut images, mut within, mut squares) = (0.0, 0.0, 0.0);
    let mut means = vec![0.0; groups.first().map_or(0, |group| group.mean.len())];
    for group in groups {
        images += group.count;
        // The mean over features of the mean squared deviation.
        within += group.mean_variance() * (group.count - 1.0);
        squares += group.mean_square() * group.count;
        means.iter_mut().zip(&group.mean).for_each(|(sum, &mean)| *sum += f64::from(mean) * group.count);
    }
    let of_mean = means.iter().map(|sum| (sum / images).powi(2)).sum::<f64>() / means.len() as f64;
    let square = squares / images;
    (within / images).max(LEAST.0 * (square - of_mean)).max(LEAST.1 * square)
}
