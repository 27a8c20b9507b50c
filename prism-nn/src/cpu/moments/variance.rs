//! The moment loss whose second moments are variances, of which everything that chance adds is taken off, whatever the features'
//! distribution and however alike the pixels of a cell are.
//!
//! With `m_i`, `q_i` and A as in [`super::cells`], `mu` the mean of `m_i` over the n images of a group, at least 4, and features counted from
//! `mu`, so that the sum of `m_i` is 0:
//!
//! ```text
//! loss = sum over g, d of (a ((mu - mean)^2 - e) / scale + b (W - 2 variance V + variance^2) / scale^2) / (G D)
//! e = sum of m_i^2 / (n (n - 1))
//! V = sum of q_i / n + sum of m_i^2 / n_2                                         n_k = n (n - 1) ... (n - k + 1)
//! W = (Q^2 - sum of q_i^2) / n_2 - 2 (2 sum of q_i m_i^2 - Q S) / n_3 + (3 S^2 - 6 sum of m_i^4) / n_4
//! Q = sum of q_i,    S = sum of m_i^2
//! ```
//!
//! V and W are the symmetric functions of n independent images whose means are the variance and its square: the averages of
//! `q_1 - m_1 m_2` and of `(q_1 - m_1 m_2) (q_3 - m_3 m_4)` over all choices of different images (U-statistics: Hoeffding 1948).
//! Neither changes if all features move by one number, so counting from `mu` is exact and loses no digits. Where a cell is one
//! pixel they are those of [`super::exact`].

use super::image_means::ImageMeans;
use super::rows::BLOCK;

/// Sums over a group's images, of each feature.
struct PowerSums {
    /// Of q, q^2, q m and q m^2.
    of_squares: [[f64; BLOCK]; 4],
    /// Of m^2, m^3 and m^4.
    of_means: [[f64; BLOCK]; 3],
}

/// Turns the images' own means, which lie in the place of their coefficients, into these; `means` are their means over images.
/// Returns the loss.
#[inline(always)]
pub(super) fn coefficients(block: &mut ImageMeans<'_>, means: &[[f64; BLOCK]; 2]) -> f64 {
    let (channel, stride, len) = block.at;
    let sums = centre(block, &means[0]);
    let (n, pixels) = (block.rows.images as f64, (block.rows.height * block.rows.width) as f64);
    let [n2, n3, n4] = [n * (n - 1.0), n * (n - 1.0) * (n - 2.0), n * (n - 1.0) * (n - 2.0) * (n - 3.0)];
    let scale = f64::from(block.targets.scale[0]);
    let mut loss = 0.0;
    // dloss/dm_i = c_0 + c_1 m_i + c_2 m_i^3 + c_3 q_i m_i and dloss/dq_i = c_4 + c_5 q_i + c_6 m_i^2
    let mut of_image = [[0f32; BLOCK]; 7];
    for d in 0..len {
        let [a, b] = block.targets.weights.map_or([1.0; 2], |weights| weights.map(|w| f64::from(w[d])));
        let (a, b) = (a / (scale * block.count), b / (scale * scale * block.count));
        let (gap, aim) = (means[0][d] - f64::from(block.targets.mean[d]), f64::from(block.targets.second[d]));
        let [q, q_square, q_m, q_m_square] = sums.of_squares.each_ref().map(|sums| sums[d]);
        let [m_square, m_cube, m_fourth] = sums.of_means.each_ref().map(|sums| sums[d]);
        let variance = q / n + m_square / n2;
        let square = (q * q - q_square) / n2 - 2.0 * (2.0 * q_m_square - q * m_square) / n3
            + (3.0 * m_square * m_square - 6.0 * m_fourth) / n4;
        loss += a * (gap * gap - m_square / n2) + b * (square - 2.0 * aim * variance + aim * aim);
        let terms = [
            2.0 * a * gap / n + b * (4.0 * q_m / n3 + 8.0 * m_cube / n4),
            -2.0 * a / n2 + b * (4.0 * q / n3 + 12.0 * m_square / n4 - 4.0 * aim / n2),
            -24.0 * b / n4,
            -8.0 * b / n3,
            b * (2.0 * q / n2 + 2.0 * m_square / n3 - 2.0 * aim / n),
            -2.0 * b / n2,
            -4.0 * b / n3,
        ];
        of_image.iter_mut().zip(terms).for_each(|(out, term)| out[d] = (term / pixels) as f32);
    }
    let mu = means[0].map(|mean| mean as f32);
    for (shifts, slopes) in block.shifts.chunks_exact_mut(stride).zip(block.slopes.chunks_exact_mut(stride)) {
        let (shifts, slopes) = (&mut shifts[channel..channel + len], &mut slopes[channel..channel + len]);
        for (d, (shift, slope)) in shifts.iter_mut().zip(slopes).enumerate() {
            let (m, q, c) = (*shift, *slope, |k: usize| of_image[k][d]);
            let by_mean = c(0) + m * (c(1) + c(2) * (m * m) + c(3) * q);
            *slope = 2.0 * (c(4) + c(5) * q + c(6) * (m * m));
            *shift = by_mean - *slope * mu[d];
        }
    }
    loss
}

/// Counts the images' own means and mean squares from `mu`, and adds up their powers.
#[inline(always)]
fn centre(block: &mut ImageMeans<'_>, mu: &[f64; BLOCK]) -> PowerSums {
    let (channel, stride, len) = block.at;
    let mut sums = PowerSums { of_squares: [[0.0; BLOCK]; 4], of_means: [[0.0; BLOCK]; 3] };
    for (means, squares) in block.shifts.chunks_exact_mut(stride).zip(block.slopes.chunks_exact_mut(stride)) {
        let (means, squares) = (&mut means[channel..channel + len], &mut squares[channel..channel + len]);
        for (d, (mean, square)) in means.iter_mut().zip(squares).enumerate() {
            let (own, mu) = (f64::from(*mean), mu[d]);
            let m = own - mu;
            let q = f64::from(*square) - mu * (2.0 * own - mu);
            (*mean, *square) = (m as f32, q as f32);
            let powers = [m * m, m * m * m, m * m * m * m];
            [q, q * q, q * m, q * m * m].into_iter().zip(&mut sums.of_squares).for_each(|(x, sums)| sums[d] += x);
            powers.into_iter().zip(&mut sums.of_means).for_each(|(x, sums)| sums[d] += x);
        }
    }
    sums
}
