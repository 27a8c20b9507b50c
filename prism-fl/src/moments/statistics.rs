//! Means and variances of features over a group's images, and how those of several clients add up.
//!
//! At 64x64 an encoder has a million features, and there may be 80 groups of images, so each number is kept in 32 bits and
//! each group's sums in 64 bits only while its images are measured.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use prism_nn::Result;
use prism_nn::encoder::{Encoder, FeatureSums};

use crate::cancel;
use crate::observer::Observer;
use crate::strata::{ClientData, Strata};

/// Images between two looks at whether to stop. The encoder takes them some at a time.
const BATCH: usize = 256;

/// The statistics of every group that has an image, for each encoder layer.
pub type GroupStatistics = BTreeMap<u32, Vec<Statistics>>;

/// Mean and variance of one layer's features over a group's images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Number of images.
    pub count: f64,
    /// Mean of each feature.
    pub mean: Vec<f32>,
    /// Unbiased variance of each feature; 0 for a single image, which has none.
    pub variance: Vec<f32>,
}

/// Measures the images of a client's `strata`, in `f64`, image by image in a fixed order.
///
/// # Errors
/// If the encoder cannot see the images, the computation fails, or the process is asked to stop.
pub fn measure(
    encoder: &Encoder,
    data: &ClientData,
    strata: &Strata,
    device: &Device,
    observer: &dyn Observer,
) -> Result<GroupStatistics> {
    // One group's images after the other's, so that batches are full however small the groups are.
    let images: Vec<usize> = strata.iter().flat_map(|(_, images)| images).copied().collect();
    let outputs = encoder.feature_shapes(data.dataset.image_size())?.len();
    let mut sums: Vec<Vec<FeatureSums>> = strata.iter().map(|_| vec![FeatureSums::default(); outputs]).collect();
    let (mut measured, mut done) = (GroupStatistics::new(), 0);
    for batch in images.chunks(BATCH) {
        cancel::check()?;
        let set = &data.dataset;
        let shape = (batch.len(), set.channels(), set.image_size(), set.image_size());
        encoder.visit(&Tensor::from_vec(set.batch(batch), shape, device)?, |features| {
            let mut start = 0;
            for (sums, (_, members)) in sums.iter_mut().zip(strata.iter()) {
                let end = start + members.len();
                let in_batch = |image: usize| image.saturating_sub(done);
                // Those of a group that is done are given away.
                if let Some(sums) = sums.get_mut(features.output) {
                    sums.add(&features, in_batch(start)..in_batch(end));
                }
                start = end;
            }
            Ok(())
        })?;
        done += batch.len();
        let mut end = 0;
        for (sums, (group, members)) in sums.iter_mut().zip(strata.iter()) {
            end += members.len();
            if end <= done && !sums.is_empty() {
                measured.insert(group, std::mem::take(sums).iter().map(Statistics::from).collect());
            }
        }
        observer.on_images(batch.len());
    }
    Ok(measured)
}

impl From<&FeatureSums> for Statistics {
    fn from(sums: &FeatureSums) -> Self {
        let count = sums.images() as f64;
        let variance = |(sum, squares): (f64, f64)| ((squares - sum * sum / count) / (count - 1.0)).max(0.0) as f32;
        let pairs = sums.pairs();
        Statistics {
            count,
            mean: pairs.iter().map(|(sum, _)| (sum / count) as f32).collect(),
            variance: if count > 1.0 { pairs.into_iter().map(variance).collect() } else { vec![0.0; pairs.len()] },
        }
    }
}

impl Statistics {
    /// Adds the statistics of other images.
    ///
    /// Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    pub fn merge(&mut self, other: &Statistics) {
        if self.count == 0.0 {
            self.clone_from(other);
            return;
        }
        let (own, more, all) = (self.count, other.count, self.count + other.count);
        let features = self.mean.iter_mut().zip(&mut self.variance).zip(other.mean.iter().zip(&other.variance));
        for ((mean, variance), (&other_mean, &other_variance)) in features {
            let apart = f64::from(other_mean) - f64::from(*mean);
            let squares = f64::from(*variance) * (own - 1.0) + f64::from(other_variance) * (more - 1.0);
            *variance = ((squares + apart * apart * own * more / all) / (all - 1.0)) as f32;
            *mean = (f64::from(*mean) + apart * more / all) as f32;
        }
        self.count = all;
    }

    /// Sets variances to 0 that rounding left below.
    pub fn clip_variance(&mut self) {
        self.variance.iter_mut().for_each(|x| *x = x.max(0.0));
    }

    /// The mean squared deviation of a feature from its mean.
    pub fn deviation(&self, feature: usize) -> f64 {
        f64::from(self.variance[feature]) * (self.count - 1.0) / self.count
    }

    /// The mean over features of the variance.
    pub fn mean_variance(&self) -> f64 {
        self.variance.iter().copied().map(f64::from).sum::<f64>() / self.variance.len() as f64
    }

    /// The mean over features and images of the square.
    pub fn mean_square(&self) -> f64 {
        let square = |at: usize| f64::from(self.mean[at]).powi(2) + self.deviation(at);
        (0..self.mean.len()).map(square).sum::<f64>() / self.mean.len() as f64
    }
}

#[cfg(test)]
pub(super) mod tests {
    use prism_data::{LoadOptions, Source};
    use prism_nn::generator::Subclasses;

    use super::*;

    /// The statistics of images whose features are the rows.
    pub fn of(rows: &[impl AsRef<[f64]>]) -> Statistics {
        let (count, features) = (rows.len() as f64, rows[0].as_ref().len());
        let mean = |at: usize| rows.iter().map(|row| row.as_ref()[at]).sum::<f64>() / count;
        let squares = |at: usize| rows.iter().map(|row| (row.as_ref()[at] - mean(at)).powi(2)).sum::<f64>();
        let variance = |at: usize| if rows.len() > 1 { squares(at) / (count - 1.0) } else { 0.0 };
        Statistics {
            count,
            mean: (0..features).map(|at| mean(at) as f32).collect(),
            variance: (0..features).map(|at| variance(at) as f32).collect(),
        }
    }

    const ROWS: [[f64; 2]; 5] = [[1.0, -2.0], [3.0, 5.0], [-1.0, 0.0], [7.0, 2.0], [7.5, 2.0]];

    #[test]
    fn statistics_of_parts_add_up_to_those_of_all_images() {
        for at in 0..=ROWS.len() {
            let mut all = Statistics::default();
            if at > 0 {
                all.merge(&of(&ROWS[..at]));
            }
            if at < ROWS.len() {
                all.merge(&of(&ROWS[at..]));
            }
            let expected = of(&ROWS);
            assert_eq!(all.count, 5.0);
            let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(close(&all.mean, &expected.mean) && close(&all.variance, &expected.variance), "{at}: {all:?}");
        }
    }

    /// Classes begin and end within batches of the encoder.
    #[test]
    fn the_statistics_of_a_group_do_not_depend_on_the_groups_beside_it() {
        let options = LoadOptions { image_size: 8, channels: Some(1), limit: Some(700), ..LoadOptions::default() };
        let all = ClientData::whole(prism_data::load(Source::Strokes, &options).unwrap());
        let encoder = Encoder::open("random:1", &Device::Cpu).unwrap();
        let of = |data: &ClientData| {
            let strata = Strata::new(data, 10, Subclasses::new(1).unwrap(), &vec![Vec::new(); 10]);
            measure(&encoder, data, &strata, &Device::Cpu, &()).unwrap()
        };
        let together = of(&all);
        assert_eq!(together.len(), 10);
        for (group, layers) in together {
            let own = |&image: &usize| all.class_of(image, 10) == group as usize;
            let members = all.members.iter().copied().filter(own).collect();
            let alone = of(&ClientData { members, ..all.clone() });
            assert!(alone.len() == 1 && alone[&group] == layers, "class {group}");
        }
    }

    #[test]
    fn squares_and_deviations_are_those_of_the_images() {
        let all = of(&ROWS);
        let square = ROWS.iter().flatten().map(|x| x * x).sum::<f64>() / 10.0;
        assert!((all.mean_square() - square).abs() < 1e-5, "{}", all.mean_square());
        assert!((all.mean_variance() - 11.0).abs() < 3.0);
        assert!((all.deviation(0) - f64::from(all.variance[0]) * 0.8).abs() < 1e-9);
    }
}
