//! Shamir's secret sharing over the scalar field of Curve25519, whose arithmetic is `curve25519-dalek`'s.
//!
//! ```text
//! f(x) = secret + a_1 x + ... + a_(t-1) x^(t-1)        a_i uniform;  client k holds f(k + 1)
//! secret = f(0) = sum over t holders k of w_k f(k + 1),     w_k = product over the others j of (j+1) / ((j+1) - (k+1))
//! ```
//!
//! Crates for it share bytes, of which there are 255 points and so 255 clients, or interpolate anew for every secret, which
//! takes t^2 products each; here the same holders open the secrets of all clients, so their weights are computed once.

use curve25519_dalek::Scalar;

use prism_core::{Error, Result};

/// A uniform scalar from the operating system.
///
/// # Errors
/// If it has no randomness.
pub fn random() -> Result<Scalar> {
    let mut bytes = zeroize::Zeroizing::new([0; 64]);
    fill(&mut *bytes)?;
    Ok(Scalar::from_bytes_mod_order_wide(&bytes))
}

/// Random bytes from the operating system.
///
/// # Errors
/// If it has none.
pub fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|e| Error::io("draw randomness from", "the operating system", std::io::Error::other(e.to_string())))
}

fn point(client: u32) -> Scalar {
    Scalar::from(u64::from(client) + 1)
}

/// The shares of `secret` for `holders`, any `threshold` of which have it and fewer of which have nothing.
///
/// # Errors
/// If there is no randomness.
pub fn deal(secret: Scalar, threshold: usize, holders: impl Iterator<Item = u32>) -> Result<Vec<Scalar>> {
    let mut coefficients = vec![secret];
    for _ in 1..threshold {
        coefficients.push(random()?);
    }
    let share = |holder| {
        let x = point(holder);
        coefficients.iter().rev().fold(Scalar::ZERO, |sum, coefficient| sum * x + coefficient)
    };
    let shares = holders.map(share).collect();
    zeroize::Zeroize::zeroize(&mut coefficients);
    Ok(shares)
}

/// The weights w_k of distinct `holders`.
pub fn weights(holders: &[u32]) -> Vec<Scalar> {
    let points: Vec<Scalar> = holders.iter().map(|&holder| point(holder)).collect();
    let weight = |(k, own): (usize, &Scalar)| {
        let others = points.iter().enumerate().filter(|&(j, _)| j != k);
        let start = (Scalar::ONE, Scalar::ONE);
        let (above, below) = others.fold(start, |(above, below), (_, other)| (above * other, below * (other - own)));
        above * below.invert()
    };
    points.iter().enumerate().map(weight).collect()
}

/// The secret behind one share for each of `weights`.
pub fn combine<'a>(weights: &[Scalar], shares: impl Iterator<Item = &'a Scalar>) -> Scalar {
    weights.iter().zip(shares).map(|(weight, share)| weight * share).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_threshold_of_shares_have_the_secret_and_one_less_does_not(
            clients in 3u32..20, short in 0usize..10, from in 0usize..20,
        ) {
            let threshold = (clients as usize - short.min(clients as usize - 2)).max(2);
            let secret = random().unwrap();
            let shares = deal(secret, threshold, 0..clients).unwrap();
            let mut holders: Vec<u32> = (0..clients).collect();
            holders.rotate_left(from % clients as usize);
            let open = |holders: &[u32]| combine(&weights(holders), holders.iter().map(|&k| &shares[k as usize]));
            prop_assert_eq!(open(&holders[..threshold]), secret);
            prop_assert_ne!(open(&holders[..threshold - 1]), secret);
        }
    }

    /// f(x) = 5 + 3 x + 2 x^2 at 1, 3 and 4 is 10, 32 and 49.
    #[test]
    fn a_polynomial_is_evaluated_at_the_client_s_number_plus_one() {
        let shares = [10u64, 32, 49].map(Scalar::from);
        assert_eq!(combine(&weights(&[0, 2, 3]), shares.iter()), Scalar::from(5u64));
    }
}
