//! Discrete Gaussian noise, drawn exactly.
//!
//! ```text
//! P(X = x) ~ exp(-x^2 / (2 sigma^2))   over the integers
//! ```
//!
//! Floating-point noise leaks through the gaps between doubles (Mironov 2012); integers have none. The algorithm is 1 to 3 of
//! Canonne, Kamath and Steinke 2020 (arXiv 2004.00010): rejection from a discrete Laplace distribution, every coin of
//! probability `p / q` or `exp(-p / q)` flipped exactly, in 128-bit integers. The crate `prio` has the same algorithm over
//! integers of any size, at a measured 42 microseconds a draw, too long here: a release of all features of ten clients
//! is 24 million draws. The tests compare the two.
//!
//! Random bytes come from ChaCha20 under a key that the operating system drew for this use alone, never from the run's seed.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use prism_core::Error;
use prism_nn::Result;
use rayon::prelude::*;

/// Largest standard deviation: the squares below then stay within 128 bits.
pub const MAX_SIGMA: u64 = 1 << 27;
/// Numbers that are drawn under one key.
pub(super) const CHUNK: usize = 1 << 14;

/// Where noise gets its keys.
#[derive(Clone, Copy, Debug)]
pub enum NoiseSource {
    /// The operating system: what every release uses.
    OperatingSystem,
    /// A fixed seed, for tests of the statistics. **No privacy.**
    Seeded(u64),
}

impl NoiseSource {
    /// A source for the draw number `number` that shares no key with this one's other draws.
    pub fn number(self, number: u64) -> Self {
        match self {
            NoiseSource::OperatingSystem => self,
            NoiseSource::Seeded(seed) => NoiseSource::Seeded(seed + (number << 32)),
        }
    }

    /// The generator number `index`; no two have the same key.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system has no randomness to give.
    pub fn open(self, index: u64) -> Result<NoiseRng> {
        let mut key = [0u8; 32];
        match self {
            NoiseSource::OperatingSystem => getrandom::fill(&mut key).map_err(|e| {
                Error::io("draw randomness from", "the operating system", std::io::Error::other(e.to_string()))
            })?,
            NoiseSource::Seeded(seed) => {
                key[..8].copy_from_slice(&seed.to_le_bytes());
                key[8..16].copy_from_slice(&index.to_le_bytes());
            }
        }
        Ok(NoiseRng { cipher: ChaCha20::new(&key.into(), &[0; 12].into()), bytes: [0; BUFFER], used: BUFFER })
    }

    /// Adds noise of standard deviation `sigma` to every one of `values`.
    ///
    /// # Errors
    /// [`Error::Usage`] if `sigma` is 0 or above [`MAX_SIGMA`], [`Error::Io`] without randomness. No value is then usable.
    pub fn add_noise(self, sigma: u64, values: &mut [i64]) -> Result<()> {
        let noise = DiscreteGaussian::new(sigma)?;
        values.par_chunks_mut(CHUNK).enumerate().try_for_each(|(index, values)| {
            let mut rng = self.open(index as u64)?;
            for value in values {
                *value += noise.sample(&mut rng);
            }
            Ok(())
        })
    }
}

const BUFFER: usize = 4096;

/// A cryptographic generator: a ChaCha20 keystream.
pub struct NoiseRng {
    cipher: ChaCha20,
    bytes: [u8; BUFFER],
    used: usize,
}

impl NoiseRng {
    fn bits(&mut self) -> u64 {
        if self.used == BUFFER {
            self.bytes.fill(0);
            self.cipher.apply_keystream(&mut self.bytes);
            self.used = 0;
        }
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(word)
    }

    /// A uniform integer below `bound`, which is above 0.
    fn below(&mut self, bound: u128) -> u128 {
        let width = 128 - (bound - 1).leading_zeros();
        loop {
            let mut bits = u128::from(self.bits());
            if width > 64 {
                bits |= u128::from(self.bits()) << 64;
            }
            let candidate = bits & (u128::MAX.checked_shr(128 - width).unwrap_or(0));
            if candidate < bound {
                return candidate;
            }
        }
    }

    /// True with probability `p / q`, for `p <= q`.
    fn bernoulli(&mut self, p: u128, q: u128) -> bool {
        self.below(q) < p
    }

    /// True with probability `exp(-p / q)`, for `p <= q` (algorithm 1). `q` is below 2^112, so that multiples of it fit.
    fn bernoulli_exp_fraction(&mut self, p: u128, q: u128) -> bool {
        let mut k = 1;
        while self.bernoulli(p, q * k) {
            k += 1;
        }
        k % 2 == 1
    }

    /// True with probability `exp(-p / q)`.
    fn bernoulli_exp(&mut self, p: u128, q: u128) -> bool {
        (0..p / q).all(|_| self.bernoulli_exp_fraction(1, 1)) && self.bernoulli_exp_fraction(p % q, q)
    }

    /// A discrete Laplace number of integer scale `t` (algorithm 2): `P(y) ~ exp(-|y| / t)`.
    fn discrete_laplace(&mut self, t: u64) -> i64 {
        loop {
            let uniform = self.below(t.into());
            if !self.bernoulli_exp_fraction(uniform, t.into()) {
                continue;
            }
            let mut turns = 0;
            while self.bernoulli_exp_fraction(1, 1) {
                turns += 1;
            }
            let size = uniform as i64 + t as i64 * turns;
            match self.bernoulli(1, 2) {
                true if size == 0 => continue,
                true => return -size,
                false => return size,
            }
        }
    }
}

/// The discrete Gaussian distribution with mean 0.
#[derive(Clone, Copy, Debug)]
pub struct DiscreteGaussian {
    sigma: u64,
}

impl DiscreteGaussian {
    /// The distribution `exp(-x^2 / (2 sigma^2))`.
    ///
    /// # Errors
    /// [`Error::Usage`] if `sigma` is 0 or above [`MAX_SIGMA`].
    pub fn new(sigma: u64) -> Result<Self> {
        if sigma == 0 || sigma > MAX_SIGMA {
            return Err(Error::usage(format!(
                "noise of {sigma} grid units is outside 1 to {MAX_SIGMA}; choose a larger `epsilon`, or a smaller one if \
                 this is 0"
            ))
            .into());
        }
        Ok(DiscreteGaussian { sigma })
    }

    /// One draw (algorithm 3).
    pub fn sample(&self, rng: &mut NoiseRng) -> i64 {
        let t = self.sigma + 1;
        let (wide_t, square) = (u128::from(t), u128::from(self.sigma) * u128::from(self.sigma));
        // exp(-(|y| - sigma^2 / t)^2 / (2 sigma^2)), as a fraction of integers. Both are below 2^112 but for a |y| of more
        // than 100 t, whose probability is below e^-100; the next power of two still fits.
        let q = 2 * square * wide_t * wide_t;
        loop {
            let y = rng.discrete_laplace(t);
            let gap = (u128::from(y.unsigned_abs()) * wide_t).abs_diff(square);
            let Some(p) = gap.checked_mul(gap) else { continue };
            if rng.bernoulli_exp(p, q) {
                return y;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prio::dp::Rational;
    use prio::dp::distributions::DiscreteGaussian as Prio;
    use rand::SeedableRng;
    use rand::distr::Distribution;

    fn draws(sigma: u64, count: usize) -> Vec<i64> {
        let mut values = vec![0; count];
        NoiseSource::Seeded(7).add_noise(sigma, &mut values).unwrap();
        values
    }

    /// Chi-square of the counts of -limit..=limit (the tails in the outermost) against expected shares.
    fn chi_square(values: &[i64], limit: i64, share: impl Fn(i64) -> f64) -> f64 {
        let mut counts = vec![0.0; 2 * limit as usize + 1];
        values.iter().for_each(|&x| counts[(x.clamp(-limit, limit) + limit) as usize] += 1.0);
        let expected = (-limit..=limit).map(|x| share(x) * values.len() as f64);
        counts.iter().zip(expected).map(|(found, expected)| (found - expected).powi(2) / expected).sum()
    }

    #[test]
    fn shares_are_those_of_the_formula() {
        for sigma in [1u64, 3] {
            let weight = |x: i64| (-((x * x) as f64) / (2 * sigma * sigma) as f64).exp();
            let total: f64 = (-100..=100).map(weight).sum();
            let limit = 2 * sigma as i64 + 1;
            let share = |x: i64| match x.abs() == limit {
                false => weight(x) / total,
                true => (limit..=100).map(weight).sum::<f64>() / total,
            };
            let found = chi_square(&draws(sigma, 200_000), limit, share);
            // Far above the 99.99% quantile for 6 and 14 degrees of freedom, far below what a wrong sigma gives.
            assert!(found < 45.0, "sigma {sigma}: chi-square {found}");
        }
    }

    /// A second implementation of the same distribution agrees: Kolmogorov and Smirnov's distance of two samples.
    #[test]
    fn draws_are_distributed_as_those_of_prio() {
        for sigma in [2u64, 1000, 100_000_000] {
            let mut ours = draws(sigma, 100_000);
            let prio = Prio::new(Rational::from_unsigned(sigma, 1u64).unwrap()).unwrap();
            let mut rng = rand::rngs::StdRng::seed_from_u64(5);
            let mut theirs: Vec<i64> = (0..4000).map(|_| prio.sample(&mut rng).try_into().unwrap()).collect();
            ours.sort_unstable();
            theirs.sort_unstable();
            let below = |sorted: &[i64], x: i64| sorted.partition_point(|&y| y <= x) as f64 / sorted.len() as f64;
            let distance = theirs.iter().map(|&x| (below(&ours, x) - below(&theirs, x)).abs()).fold(0.0, f64::max);
            // The 99.99% quantile is 2.2 / sqrt(4000).
            assert!(distance < 0.036, "sigma {sigma}: distance {distance}");
        }
    }

    #[test]
    fn large_noise_has_its_standard_deviation_and_no_correlation() {
        let values = draws(MAX_SIGMA, 200_000);
        let n = values.len() as f64;
        let deviation = (values.iter().map(|&x| (x as f64).powi(2)).sum::<f64>() / n).sqrt() / MAX_SIGMA as f64;
        assert!((deviation - 1.0).abs() < 0.008, "deviation {deviation}");
        let lag: f64 = values.windows(2).map(|w| w[0] as f64 * w[1] as f64).sum::<f64>() / n;
        assert!((lag / (MAX_SIGMA as f64).powi(2)).abs() < 0.01, "correlation {lag}");
    }

    #[test]
    fn the_operating_system_never_repeats_itself() {
        let draw = || {
            let mut values = vec![0; 100];
            NoiseSource::OperatingSystem.add_noise(MAX_SIGMA, &mut values).unwrap();
            values
        };
        assert_ne!(draw(), draw());
        assert!(NoiseSource::OperatingSystem.add_noise(0, &mut [0]).is_err(), "no noise is an error, not a release");
        assert!(NoiseSource::OperatingSystem.add_noise(MAX_SIGMA + 1, &mut [0]).is_err());
    }
}
