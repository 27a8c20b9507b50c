//! The privacy profile of Gaussian noise itself, and why it is that of the integers that are drawn.
//!
//! A release of L2 sensitivity `D` with continuous Gaussian noise of standard deviation `sigma` is (epsilon, delta)-differentially
//! private exactly for
//!
//! ```text
//! delta(rho, epsilon) = Phi(m/2 - epsilon/m) - e^epsilon Phi(-m/2 - epsilon/m),    m = D / sigma = sqrt(2 rho)
//! ```
//!
//! (Balle and Wang 2018, theorem 8), and releases of `m_1, m_2, ...`, even if each looks at those before it, together are as private
//! as one of `sqrt(m_1^2 + m_2^2 + ...)` (Dong, Roth and Su 2022, corollary 3.3). So their `rho = m^2 / 2` add up here too.
//!
//! **Integers.** What is drawn are not continuous numbers but integers `z` with `P(z) ~ g(z, sigma)`, `g(x, s) = exp(-x^2 / (2 s^2))`.
//! They are as private as continuous noise of the variance `sigma^2 - s^2`, `s = 4`, since they are that noise, rounded:
//!
//! 1. The sum of `g(z - y, s)` over all integers z hardly depends on y: by Poisson's summation formula it is a constant times
//!    `1 + 2 sum over k > 0 of exp(-2 pi^2 s^2 k^2) cos(2 pi k y)`, so within a factor of `1 +- t` of it, `t < 1e-136` for `s >= 4`.
//! 2. Let y be continuous Gaussian of variance `sigma^2 - s^2`, and round it to z with probability `g(z - y, s) / sum`. Then
//!    `P(z) = integral of density(y) g(z - y, s) / sum`, by 1 within `(1 +- t) / (1 -+ t)` of `integral of density(y) g(z - y, s)` times a constant, which
//!    is `g(z, sigma)` times a constant. So z has the distribution that is drawn, but for a factor of `1 +- 5 t`.
//! 3. The exact sums are integers, so that rounding the noise and adding the sum is rounding the noisy sum: post-processing.
//! 4. Two such numbers, of variances `v` and `w`, have a sum with `P(z) ~ g(z, sqrt(v + w)) * sum over y of g(y - c z, sqrt(v w / (v + w)))`, in
//!    which the second factor by 1 hardly depends on z if `v w / (v + w) >= s^2`. So a sum of shares is a draw of their whole
//!    variance, but for a factor of `1 +- 5 t` for every share, where shares have a variance of `2 s^2` or more.
//!
//! Over a million million coordinates and shares all these factors make up one of `1 +- 1e-120`: it moves epsilon and delta by less than a double can tell,
//! and less than what [`prism_core::privacy::delta_of`] adds for rounding. The tests compare sums in one and two dimensions, number by number.

/// Variance of the rounding, `s^2`.
const ROUNDING: f64 = 16.0;

/// The rho of a sum of `parts` discrete Gaussians of standard deviation `part_sigma` each, whose L2 sensitivity is `sensitivity`; infinite
/// where the grid is too coarse to say.
pub fn rho_of_sum(sensitivity: f64, part_sigma: f64, parts: u32) -> f64 {
    let variance = part_sigma * part_sigma;
    if variance < 2.0 * ROUNDING {
        return f64::INFINITY;
    }
    sensitivity * sensitivity / (2.0 * (f64::from(parts) * variance - ROUNDING))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_core::privacy::delta_of;

    /// Shares `P(z)` of a discrete Gaussian for z from -limit to limit.
    fn shares(sigma: f64, limit: i64) -> Vec<f64> {
        let weights: Vec<f64> = (-limit..=limit).map(|z| (-((z * z) as f64) / (2.0 * sigma * sigma)).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|w| w / total).collect()
    }

    /// What of `p` exceeds `e^epsilon q`, by definition.
    fn excess(pairs: impl Iterator<Item = (f64, f64)>, epsilon: f64) -> f64 {
        pairs.map(|(p, q)| (p - epsilon.exp() * q).max(0.0)).sum()
    }

    fn close_from_above(bound: f64, exact: f64, case: &str) {
        assert!(bound >= exact && bound < 1.05 * exact + 1e-13, "{case}: {bound} against {exact}");
    }

    /// A sum of two shares, by adding up all pairs.
    #[test]
    fn the_profile_is_that_of_sums_of_integers() {
        let (sigma, limit) = (50.0, 600);
        let one = shares(sigma, limit);
        let len = one.len();
        let mut sum = vec![0.0; 2 * len - 1];
        for (i, a) in one.iter().enumerate() {
            one.iter().enumerate().for_each(|(j, b)| sum[i + j] += a * b);
        }
        for (distance, epsilon) in [(20, 0.2), (20, 1.0), (100, 1.0), (100, 5.0), (3, 0.05)] {
            let exact = excess(sum[distance..].iter().zip(&sum).map(|(&q, &p)| (p, q)), epsilon);
            let bound = delta_of(rho_of_sum(distance as f64, sigma, 2), epsilon);
            close_from_above(bound, exact, &format!("distance {distance}, epsilon {epsilon}"));
        }
    }

    /// Sums over coordinates of integers lie on no common grid, so that this is more than one dimension says.
    #[test]
    fn the_profile_is_that_of_integers_in_two_dimensions() {
        let (sigma, limit) = (40.0, 300);
        let one = shares(sigma, limit + 50);
        let at = |z: i64| one[(z + limit + 50) as usize];
        for (shift, epsilon) in [((30, 40), 1.0), ((7, 24), 0.5), ((25, 0), 0.5), ((1, 1), 0.01)] {
            let pairs = (-limit..=limit)
                .flat_map(|x| (-limit..=limit).map(move |y| (at(x) * at(y), at(x + shift.0) * at(y + shift.1))));
            let exact = excess(pairs, epsilon);
            let distance = ((shift.0 * shift.0 + shift.1 * shift.1) as f64).sqrt();
            close_from_above(delta_of(rho_of_sum(distance, sigma, 1), epsilon), exact, &format!("{shift:?}"));
        }
    }

    #[test]
    fn far_from_privacy_there_are_still_numbers() {
        for (rho, epsilon) in [(1e6, 1e6), (1e6, 800.0), (1e-9, 700.0), (400.0, 699.0)] {
            let delta = delta_of(rho, epsilon);
            assert!((0.0..=1.0).contains(&delta), "rho {rho}, epsilon {epsilon}: {delta}");
        }
    }

    #[test]
    fn coarse_grids_promise_nothing() {
        assert!(rho_of_sum(1.0, 5.0, 10).is_infinite());
        assert!(rho_of_sum(1.0, 6.0, 10) > 1.0 / 720.0);
    }
}
