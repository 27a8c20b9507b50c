//! One release of a client's data: the sum of its images' vectors per group (class and style), and noise.
//!
//! ```text
//! y = sum over images of x (x) onehot(group)  +  discrete Gaussian of deviation sigma in every coordinate
//! ```
//!
//! **Sensitivity.** An image's `x (x) onehot(group)` is a vector of nonnegative integers of length at most `c = clip_units`.
//!
//! * Replace-one (the number of images is public): the sum changes by `u - w` for two such vectors. Since no coordinate of
//!   either is negative, `<u, w> >= 0`, so `|u - w|^2 = |u|^2 + |w|^2 - 2 <u, w> <= 2 c^2`: the sensitivity is `sqrt(2) c`, not
//!   the `2 c` of vectors that may point against each other. That covers a changed group too: `u` and `w` are then orthogonal.
//! * Add-or-remove-one (the number of images is private): the sum changes by one vector, so the sensitivity is `c`.
//!
//! * Of k images together, replaced or added or removed, `u` and `w` are sums of k such vectors, nonnegative and of length at most
//!   `k c`: the sensitivity is k times that of one.
//!
//! The noise level is the same integer for every coordinate, so that the release's rho is `D^2 / (2 sigma^2)`
//! ([`super::accounting`]). Sums are of integers: no rounding depends on the data's order.

use candle_core::Device;
use prism_core::Error;
use prism_nn::Result;
use prism_nn::encoder::Encoder;
use rayon::prelude::*;

use super::accounting::{self, Budget};
use super::features::{ENCODER_BATCH, VectorMap, encode};
use super::gaussian::{MAX_SIGMA, NoiseSource};
use crate::cancel;
use crate::settings::privacy::{Adjacency, Trust};
use crate::strata::Strata;
use prism_data::Dataset;

/// Grid units of the longest vector, where the budget does not ask for a coarser grid.
pub const CLIP_UNITS: i64 = 1 << 20;

/// Coordinates that one task adds up.
const SUM_CHUNK: usize = 1 << 15;

/// Clients whose noise adds up to the whole: 1 where each client's own release is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Those who draw some.
    pub all: u32,
    /// Those whose noise bears the promise; what the others draw comes on top.
    pub counted: u32,
}

impl Shares {
    /// The shares of `clients` clients under `trust`.
    pub fn of(trust: Trust, clients: u32) -> Self {
        let all = if trust.is_secagg() { clients } else { 1 };
        Shares { all, counted: trust.counted(clients) }
    }

    /// So many, all of which are counted on.
    pub fn whole(all: u32) -> Self {
        Shares { all, counted: all }
    }
}

/// How much noise is drawn, in grid units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoisePlan {
    /// Length of the longest vector.
    pub clip_units: i64,
    /// Clients whose noise adds up.
    pub shares: Shares,
    /// Standard deviation of what each of them draws.
    pub share_sigma: u64,
    /// L2 sensitivity.
    pub sensitivity: f64,
    /// Rho of what is counted on.
    pub rho: f64,
    /// What neighbouring data sets differ in.
    pub adjacency: Adjacency,
}

impl NoisePlan {
    /// The least noise that keeps within `budget` for releases of integers that are added up.
    ///
    /// # Errors
    /// [`Error::Usage`] if the budget needs a grid too coarse to hold any feature.
    pub fn new(budget: Budget, adjacency: Adjacency, shares: Shares) -> Result<Self> {
        Self::within(budget, 1.0, adjacency, shares)
    }

    /// As [`NoisePlan::new`], within the given part of the budget's rho.
    ///
    /// # Errors
    /// As for [`NoisePlan::new`].
    pub fn within(budget: Budget, part: f64, adjacency: Adjacency, shares: Shares) -> Result<Self> {
        let rho = part * budget.rho();
        let longest = |clip_units: i64| clip_units as f64 * adjacency.factor();
        // Room for the rounding up below, so that the share stays within its limit.
        let counted = f64::from(shares.counted).sqrt();
        let most = ((MAX_SIGMA - 2) as f64 * (2.0 * rho).sqrt() * counted / adjacency.factor()) as i64;
        let clip_units = CLIP_UNITS.min(most);
        if clip_units < 1 << 10 {
            return Err(Error::usage(format!(
                "`epsilon` {} with `delta` {} needs noise beyond the grid of {MAX_SIGMA} units; choose a larger epsilon",
                budget.epsilon(),
                budget.delta()
            ))
            .into());
        }
        let sensitivity = longest(clip_units);
        let mut share_sigma = (accounting::sigma(sensitivity, rho) / counted).ceil() as u64;
        let rho_of = |sigma: u64| accounting::rho_of_sum(sensitivity, sigma as f64, shares.counted);
        while rho_of(share_sigma) > rho {
            share_sigma += 1;
        }
        let rho = rho_of(share_sigma);
        Ok(NoisePlan { clip_units, shares, share_sigma, sensitivity, rho, adjacency })
    }

    /// Bits in which a sum over all clients, who hold `images` images, cannot wrap around: every image's coordinate at its
    /// bound, and the noise. Where the number of images is private, room is made for as many as any data set may have, since
    /// the width of a message is seen by all.
    pub fn ring_bits(&self, images: usize) -> u32 {
        let images = match self.adjacency {
            Adjacency::Replace(_) => images,
            Adjacency::AddRemove(_) => Dataset::MAX_IMAGES,
        };
        let most = images as f64 * self.clip_units as f64 + 40.0 * self.variance().sqrt();
        2 + most.log2().ceil() as u32
    }

    /// The variance of the whole noise in every coordinate.
    pub fn variance(&self) -> f64 {
        f64::from(self.shares.all) * (self.share_sigma as f64).powi(2)
    }

    /// The variance of the noise that is counted on.
    pub fn counted_variance(&self) -> f64 {
        f64::from(self.shares.counted) * (self.share_sigma as f64).powi(2)
    }
}

/// Sums of vectors, `[groups][coordinates]`, in grid units.
pub type Sums = Vec<Vec<i64>>;

/// The exact sums of the images in `strata`, per group, and how many images have no finite features. **Not protected.**
///
/// # Errors
/// If the computation fails, or the process is asked to stop.
pub fn exact_sums(
    encoder: &Encoder,
    map: &VectorMap,
    data: &Dataset,
    strata: &Strata,
    device: &Device,
) -> Result<(Sums, usize)> {
    // A sum of 2^42 vectors would reach the end of 64 bits; no data set holds as many.
    let mut sums = vec![vec![0i64; map.dimensions()]; strata.count()];
    let (mut vectors, mut without) = (Vec::new(), 0);
    for (group, images) in strata.iter() {
        let sums = &mut sums[group as usize];
        for batch in images.chunks(ENCODER_BATCH) {
            cancel::check()?;
            without += map.vectors(&encode(encoder, data, batch, device)?, &mut vectors)?;
            for vector in &vectors[..batch.len()] {
                let parts = sums.par_chunks_mut(SUM_CHUNK).zip(vector.par_chunks(SUM_CHUNK));
                parts.for_each(|(sums, xs)| sums.iter_mut().zip(xs).for_each(|(sum, x)| *sum += x));
            }
        }
    }
    Ok((sums, without))
}

/// Adds one share of the planned noise to every coordinate.
///
/// # Errors
/// If there is no randomness. The sums must then be thrown away.
pub fn add_noise(sums: &mut Sums, plan: &NoisePlan, source: NoiseSource) -> Result<()> {
    // One draw over everything, so that no two coordinates share a generator.
    let mut flat: Vec<i64> = sums.iter().flatten().copied().collect();
    source.add_noise(plan.share_sigma, &mut flat)?;
    let mut rest = flat.as_slice();
    for group in sums.iter_mut() {
        let (own, others) = rest.split_at(group.len());
        group.copy_from_slice(own);
        rest = others;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(adjacency: Adjacency, shares: Shares) -> NoisePlan {
        NoisePlan::new(Budget::new(1.0, 1e-6).unwrap(), adjacency, shares).unwrap()
    }

    #[test]
    fn images_that_are_protected_together_take_as_many_times_the_noise() {
        let sigma = |adjacency| plan(adjacency, Shares::whole(1)).share_sigma as f64;
        for (one, five) in
            [(Adjacency::REPLACE_ONE, Adjacency::Replace(5)), (Adjacency::ADD_REMOVE, Adjacency::AddRemove(5))]
        {
            assert!((sigma(five) / sigma(one) - 5.0).abs() < 1e-5);
            let sensitivity = |adjacency| plan(adjacency, Shares::whole(1)).sensitivity;
            assert_eq!(sensitivity(five), 5.0 * sensitivity(one));
        }
    }

    #[test]
    fn the_shares_that_are_counted_on_bear_the_promise_by_themselves() {
        let plan = plan(Adjacency::REPLACE_ONE, Shares::of(Trust::Secagg(70), 10));
        assert_eq!(plan.shares, Shares { all: 10, counted: 7 });
        let rho = accounting::rho_of_sum(plan.sensitivity, plan.share_sigma as f64, 7);
        let budget = Budget::new(1.0, 1e-6).unwrap();
        assert!(rho <= budget.rho() && rho > 0.999 * budget.rho(), "{rho}");
        assert_eq!(plan.rho, rho);
        assert!((plan.variance() / plan.counted_variance() - 10.0 / 7.0).abs() < 1e-12);
    }
}
