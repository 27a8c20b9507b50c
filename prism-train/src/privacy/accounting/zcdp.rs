//! Zero-concentrated differential privacy (zCDP) and its conversion to (epsilon, delta).
//!
//! A release of L2 sensitivity `D` with (discrete) Gaussian noise of standard deviation `sigma` is rho-zCDP with
//!
//! ```text
//! rho = D^2 / (2 sigma^2)                                                  (Canonne, Kamath, Steinke 2020, theorem 4)
//! delta(rho, epsilon) = inf over a > 1 of  exp((a - 1)(a rho - epsilon)) / (a - 1) * (1 - 1/a)^a      (ibid., corollary 13)
//! ```
//!
//! It holds for every mechanism that is rho-zCDP, so for Gaussian noise it asks for up to a tenth more than [`super::exact`].

use super::HALVINGS;

/// The least delta for which rho-zCDP is known to imply (epsilon, delta)-differential privacy.
///
/// Below `a = 1 + 1e-9` and above `1e9` the infimum is not looked for; any `a` gives a valid bound.
pub fn delta_of(rho: f64, epsilon: f64) -> f64 {
    if rho == 0.0 {
        return 0.0;
    }
    // The logarithm of the bound falls, then rises; its derivative changes sign once.
    let slope = |a: f64| (2.0 * a - 1.0) * rho - epsilon + (-1.0 / a).ln_1p();
    let (mut low, mut high) = ((1e-9f64).ln(), (1e9f64).ln());
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if slope(1.0 + middle.exp()) < 0.0 { low = middle } else { high = middle }
    }
    let above = low.exp();
    let a = 1.0 + above;
    let log = above * (a * rho - epsilon) - above.ln() + a * (-1.0 / a).ln_1p();
    log.exp().min(1.0)
}

/// Concentrated privacy of a sum of `parts` discrete Gaussians of standard deviation `part_sigma` each over `dimensions`
/// integers, whose L2 sensitivity is `sensitivity`.
///
/// Such a sum is not itself a discrete Gaussian. Kairouz, Liu and Steinke 2021 (theorem 1) bound the difference; from a few
/// units of deviation on it is far below the precision of a double.
pub fn rho_of_sum(sensitivity: f64, part_sigma: f64, parts: u32, dimensions: usize) -> f64 {
    let variance = part_sigma * part_sigma;
    let term = |k: u32| {
        let k = f64::from(k);
        (-2.0 * std::f64::consts::PI.powi(2) * variance * k / (k + 1.0)).exp()
    };
    let tau = 10.0 * (1..parts).map(term).sum::<f64>();
    let square = sensitivity * sensitivity / (f64::from(parts) * variance) + tau * dimensions as f64 / 2.0;
    square / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_shares_protects_as_one_draw_does() {
        let whole = 1000.0 * 1000.0 / (2.0 * 4000.0f64.powi(2));
        let share = 4000.0 / 10f64.sqrt();
        let found = rho_of_sum(1000.0, share, 10, 2_375_690);
        assert!((found - whole).abs() < 1e-12 * whole, "{found} against {whole}");
        assert!(rho_of_sum(1.0, 0.5, 10, 100) > 1.0, "shares of half a unit protect nothing");
    }
}
