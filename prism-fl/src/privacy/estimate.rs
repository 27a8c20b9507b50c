//! From noisy sums to what training matches: means and second moments with the noise's part taken out, and how much each counts.
//!
//! ```text
//! w   = y[0] unit / k                               how many images there are, each counted with its own factor
//! m1  = y[p] unit / (a_l w),      N1 = its noise's variance;      m2 = y[q] unit / (b_l w),      N2 likewise
//! mean = m1,   variance = m2 - (m1^2 - N1)          E[m1^2] is too large by N1; a variance may come out below 0
//! v_l  = mean over features of that variance        the unit in which a layer's distances count
//! weight of the means' terms        = v_l   / (v_l   + N1)
//! weight of the variances' terms    = v_l^2 / (v_l^2 + mean over features of N2 + 4 m1^2 N1 + 2 N1^2)
//! weight of the mean squares' terms = v_l^2 / (v_l^2 + N2)                  in the place of variances, if these are matched
//! ```
//!
//! Nothing is floored and nothing smoothed. The loss is a sum of squared distances, so its gradient is linear in the targets: noise
//! of mean 0 in them averages out over the hundreds of thousands of features that one image touches, and a bias does not.
//! A variance floored at 0 is too large on average wherever noise drowns it, and the images that this asks for are full of
//! blotches where the real ones are empty. All of it is post-processing of the release: no image is read here.

use candle_core::{Device, Tensor};
use prism_nn::{Result, SecondMoment};

use super::features::{CONSTANT, LayerPart, VectorMap};
use super::release::Sums;
use crate::moments::{ClientMoments, LayerMoments};

/// A class is held to be there if its weight is so many standard deviations of the noise above 0.
pub const PRESENT: f64 = 3.0;
/// Fewer images than this have no variance worth matching.
const MIN_WEIGHT: f64 = 2.0;

/// A release, possibly a sum of several, and the variance of the noise in each group's coordinates.
pub struct Noisy {
    /// `[groups][coordinates]`, in grid units.
    pub sums: Sums,
    /// One number a group, in square grid units; 0 where a group is not known to be there.
    pub variance: Vec<f64>,
}

impl Noisy {
    /// The groups whose weight stands out of the noise.
    pub fn present(&self, map: &VectorMap) -> Vec<usize> {
        let stands_out = |&group: &usize| {
            let (weight, deviation) = (self.sums[group][0] as f64, self.variance[group].sqrt());
            self.variance[group] > 0.0 && weight > PRESENT * deviation && weight * map.unit() > MIN_WEIGHT * CONSTANT
        };
        (0..self.sums.len()).filter(stands_out).collect()
    }

    /// The sum of several clients' own releases: of each group, only from those where it stands out. That choice sees only
    /// what was released.
    pub fn combine(releases: &[Noisy], map: &VectorMap) -> Noisy {
        let groups = releases.first().map_or(0, |release| release.sums.len());
        let mut all = Noisy { sums: vec![vec![0; map.dimensions()]; groups], variance: vec![0.0; groups] };
        for release in releases {
            for group in release.present(map) {
                all.sums[group].iter_mut().zip(&release.sums[group]).for_each(|(sum, x)| *sum += x);
                all.variance[group] += release.variance[group];
            }
        }
        all
    }

    /// What training matches, for every group that stands out; `None` if none does.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn estimate(&self, map: &VectorMap, kind: SecondMoment, device: &Device) -> Result<Option<ClientMoments>> {
        let present = self.present(map);
        if present.is_empty() {
            return Ok(None);
        }
        let layers = map.layers.iter().map(|layer| {
            let groups: Vec<Estimate> = present.iter().map(|&group| self.layer((map, layer), kind, group)).collect();
            stack(&groups, layer.features, device)
        });
        let classes = present.iter().map(|&group| group as u32).collect();
        Ok(Some(ClientMoments::from_parts(classes, layers.collect::<Result<_>>()?, kind, map.set.grid())))
    }

    fn layer(&self, (map, layer): (&VectorMap, &LayerPart), kind: SecondMoment, group: usize) -> Estimate {
        let sums = &self.sums[group];
        let (unit, weight) = (map.unit(), sums[0] as f64 * map.unit() / CONSTANT);
        let deviation = self.variance[group].sqrt() * unit / weight;
        let (first_unit, second_unit) = (unit / (layer.first_scale * weight), unit / (layer.second_scale * weight));
        let (n1, n2) = ((deviation / layer.first_scale).powi(2), (deviation / layer.second_scale).powi(2));
        let (first, second) = sums[layer.offset..][..2 * layer.features].split_at(layer.features);
        let pairs: Vec<(f64, f64)> =
            first.iter().zip(second).map(|(&p, &q)| (p as f64 * first_unit, q as f64 * second_unit)).collect();
        let average = |value: &dyn Fn(f64, f64) -> f64| {
            pairs.iter().map(|&(m1, m2)| value(m1, m2)).sum::<f64>() / pairs.len() as f64
        };
        let variance = |m1: f64, m2: f64| m2 - (m1 * m1 - n1);
        let scale = average(&variance).max(1e-8);
        let (second, noise): (Vec<f32>, f64) = match kind {
            SecondMoment::Variance => (
                pairs.iter().map(|&(m1, m2)| variance(m1, m2) as f32).collect(),
                average(&|m1, _| n2 + 4.0 * m1 * m1 * n1 + 2.0 * n1 * n1),
            ),
            SecondMoment::Square => (pairs.iter().map(|&(_, m2)| m2 as f32).collect(), n2),
        };
        Estimate {
            mean: pairs.iter().map(|&(m1, _)| m1 as f32).collect(),
            second,
            scale: scale as f32,
            of_mean: vec![(scale / (scale + n1)) as f32; pairs.len()],
            of_second: vec![(scale * scale / (scale * scale + noise)) as f32; pairs.len()],
        }
    }
}

/// One layer of one group.
struct Estimate {
    mean: Vec<f32>,
    second: Vec<f32>,
    scale: f32,
    of_mean: Vec<f32>,
    of_second: Vec<f32>,
}

fn stack(groups: &[Estimate], features: usize, device: &Device) -> Result<LayerMoments> {
    let tensor = |part: fn(&Estimate) -> &[f32]| {
        let values: Vec<f32> = groups.iter().flat_map(|group| part(group).iter().copied()).collect();
        Tensor::from_vec(values, (groups.len(), features), device)
    };
    let scale = Tensor::from_vec(groups.iter().map(|g| g.scale).collect(), (groups.len(), 1), device)?;
    Ok(LayerMoments {
        mean: tensor(|g| &g.mean)?,
        second: tensor(|g| &g.second)?,
        scale,
        weights: Some([tensor(|g| &g.of_mean)?, tensor(|g| &g.of_second)?]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::gaussian::NoiseSource;
    use crate::settings::privacy::FeatureSet;
    use prism_nn::encoder::Encoder;

    fn map() -> VectorMap {
        let device = Device::Cpu;
        let encoder = Encoder::open("random:1", &device).unwrap();
        VectorMap::new(&encoder, (16, 1), FeatureSet::All, 1 << 20, &device).unwrap()
    }

    /// Sums of `images` copies of a vector whose layers have mean m1 and second moment m2 everywhere.
    fn constant(map: &VectorMap, images: f64, (m1, m2): (f64, f64)) -> Vec<i64> {
        let mut sums = vec![0; map.dimensions()];
        sums[0] = (images * CONSTANT / map.unit()) as i64;
        for layer in &map.layers {
            let (first, second) = sums[layer.offset..][..2 * layer.features].split_at_mut(layer.features);
            first.fill((images * m1 * layer.first_scale / map.unit()) as i64);
            second.fill((images * m2 * layer.second_scale / map.unit()) as i64);
        }
        sums
    }

    /// `constant` images with noise of deviation `sigma`, and what is estimated of them.
    fn estimated(map: &VectorMap, kind: SecondMoment, images: f64, (sigma, seed): (u64, u64)) -> ClientMoments {
        let mut sums = vec![constant(map, images, (0.5, 0.5))];
        sums.iter_mut().for_each(|group| NoiseSource::Seeded(seed).add_noise(sigma, group).unwrap());
        // The weight's own noise is a common factor of all moments; here only theirs is of interest.
        sums[0][0] = (images * CONSTANT / map.unit()) as i64;
        Noisy { sums, variance: vec![(sigma as f64).powi(2)] }.estimate(map, kind, &Device::Cpu).unwrap().unwrap()
    }

    /// The true mean and mean square are 0.5, so the true variance is 0.25; without its correction the mean variance would be N1 too
    /// small, which is many times the tolerance of four standard errors.
    #[test]
    fn estimates_are_right_on_average_and_without_the_noises_own_variance() {
        const SEEDS: u64 = 8;
        let (map, images) = (map(), 1000.0);
        for (sigma, kind, second) in [
            (1u64, SecondMoment::Variance, 0.25),
            (3 << 20, SecondMoment::Variance, 0.25),
            (1, SecondMoment::Square, 0.5),
            (3 << 20, SecondMoment::Square, 0.5),
        ] {
            let estimate = |seed| estimated(&map, kind, images, (sigma, seed));
            let estimates: Vec<ClientMoments> = (0..SEEDS).map(estimate).collect();
            for (index, layer) in map.layers.iter().enumerate() {
                let average = |part: fn(&LayerMoments) -> &Tensor| {
                    let of = |m: &ClientMoments| part(&m.layers()[index]).mean_all()?.to_scalar::<f32>();
                    let sum: f64 = estimates.iter().map(|m| f64::from(of(m).unwrap())).sum();
                    sum / SEEDS as f64
                };
                let deviation = sigma as f64 * map.unit() / images;
                let [n1, n2] = [layer.first_scale, layer.second_scale].map(|scale| (deviation / scale).powi(2));
                let numbers = layer.features as f64 * SEEDS as f64;
                let (mean, found, variance) = (average(|l| &l.mean), average(|l| &l.second), average(|l| &l.scale));
                let tolerance = 1e-3 + 4.0 * ((n2 + n1 + 2.0 * n1 * n1) / numbers).sqrt();
                assert!((variance - 0.25).abs() < tolerance, "sigma {sigma}, layer {index}: variance {variance}");
                assert!((found - second).abs() < tolerance, "sigma {sigma}, layer {index}: {kind} {found}");
                assert!(sigma == 1 || n1 > 2.0 * tolerance, "layer {index}: {n1} could hide within {tolerance}");
                let tolerance = 1e-3 + 4.0 * (n1 / numbers).sqrt();
                assert!((mean - 0.5).abs() < tolerance, "sigma {sigma}, layer {index}: mean {mean}");
            }
        }
    }

    #[test]
    fn what_drowns_in_noise_is_not_there() {
        let map = map();
        let weight = |images: f64| constant(&map, images, (0.5, 0.5));
        let release = |sums: Vec<Vec<i64>>| Noisy { variance: vec![1e6 * 1e6; sums.len()], sums };
        let few = 2.0 * 1e6 * map.unit() / CONSTANT;
        assert_eq!(release(vec![weight(1000.0), weight(few), weight(0.0)]).present(&map), [0]);
        assert!(release(vec![weight(few)]).estimate(&map, SecondMoment::Variance, &Device::Cpu).unwrap().is_none());
        // What is absent from a client adds no noise to the sum over clients.
        let all = [release(vec![weight(1000.0), weight(0.0)]), release(vec![weight(1000.0), weight(500.0)])];
        let sum = Noisy::combine(&all, &map);
        assert_eq!((sum.variance[0], sum.variance[1]), (2e12, 1e12));
        assert_eq!(sum.present(&map), [0, 1]);
    }
}
