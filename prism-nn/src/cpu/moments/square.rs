//! The moment loss whose second moments are mean squares. With `m_i`, `q_i` and A as in [`super::cells`], and `mu` and `nu` the means of
//! `m_i` and `q_i` over the n images of a group:
//!
//! ```text
//! loss = sum over g, d of (a ((mu - mean)^2 - e) / scale + b ((nu - second)^2 - h) / scale^2) / (G D)
//! e = sum over i of (m_i - mu)^2 / (n (n - 1)),    h likewise of q_i and nu      if the estimator is unbiased; 0 if it is plain
//!
//! dloss/df = shift_i + slope_i f
//! shift_i = 2 a (mu - mean - (m_i - mu) / (n - 1)) / (scale G D n A)
//! slope_i = 4 b (nu - second - (q_i - nu) / (n - 1)) / (scale^2 G D n A)
//! ```
//!
//! Images are independent and the loss takes means over them only, so `e` and `h` are all that chance adds, whatever the features'
//! distribution.

use super::image_means::ImageMeans;
use super::rows::BLOCK;
use crate::estimator::Estimator;

/// Turns the images' own means, which lie in the place of their coefficients, into these; `means` are their means over images.
/// Returns the loss.
#[inline(always)]
pub(super) fn coefficients(block: &mut ImageMeans<'_>, means: &[[f64; BLOCK]; 2]) -> f64 {
    let (n, a_pixel) = (block.rows.images as f64, block.rows.count() as f64);
    let debiased = f64::from(u8::from(block.targets.estimator == Estimator::Unbiased)) / (n - 1.0);
    let scale = f64::from(block.targets.scale[0]);
    let (mut loss, len) = (0.0, block.at.2);
    // What an image's coefficients are: a level, less a rate of how far its own mean is from that of all.
    let [mut levels, mut rates, mut units] = [[[0f32; BLOCK]; 2]; 3];
    for d in 0..len {
        let [a, b] = block.targets.weights.map_or([1.0; 2], |weights| weights.map(|w| f64::from(w[d])));
        let units_of = [a / (scale * block.count), b / (scale * scale * block.count)];
        let aims = [block.targets.mean[d], block.targets.second[d]].map(f64::from);
        for (moment, factor) in [2.0, 4.0].into_iter().enumerate() {
            let gap = means[moment][d] - aims[moment];
            loss += units_of[moment] * gap * gap;
            levels[moment][d] = (factor * units_of[moment] * gap / a_pixel) as f32;
            rates[moment][d] = (factor * units_of[moment] * debiased / a_pixel) as f32;
            units[moment][d] = (units_of[moment] * debiased / n) as f32;
        }
    }
    let means = means.map(|means| means.map(|mean| mean as f32));
    loss - spread_over_images(block, &means, &levels, &rates, &units)
}

/// Turns the images' own means into their coefficients, and returns what chance adds to the loss.
#[inline(always)]
fn spread_over_images(
    block: &mut ImageMeans<'_>,
    means: &[[f32; BLOCK]; 2],
    levels: &[[f32; BLOCK]; 2],
    rates: &[[f32; BLOCK]; 2],
    units: &[[f32; BLOCK]; 2],
) -> f64 {
    let (channel, stride, len) = block.at;
    let mut chance = [0f64; BLOCK];
    for (moment, own) in [&mut *block.shifts, &mut *block.slopes].into_iter().enumerate() {
        for own in own.chunks_exact_mut(stride) {
            let own = own[channel..channel + len].iter_mut().zip(&means[moment]).zip(&levels[moment]);
            let rest = rates[moment].iter().zip(&units[moment]).zip(&mut chance);
            for (((own, mean), level), ((rate, unit), chance)) in own.zip(rest) {
                let gap = *own - mean;
                *chance += f64::from(unit * gap * gap);
                *own = level - rate * gap;
            }
        }
    }
    chance.iter().sum()
}
