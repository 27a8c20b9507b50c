//! Sums of features and of their squares, from which moments are made: the part of them that clients' images add up in.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use prism_nn::Result;
use prism_nn::encoder::{Encoder, FeatureSums};

use crate::cancel;
use crate::observer::Observer;
use crate::strata::{ClientData, Strata};

/// Images between two looks at whether to stop. The encoder takes them some at a time.
const BATCH: usize = 256;

/// The sums of every group that has an image, for each encoder layer.
pub type GroupSums = BTreeMap<u32, Vec<Sums>>;

/// Sums of one layer's features and of their squares over a group's images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Number of images.
    pub count: f64,
    /// Sum and sum of squares of each feature.
    pub features: Vec<(f64, f64)>,
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
) -> Result<GroupSums> {
    // One group's images after the other's, so that batches are full however small the groups are.
    let images: Vec<usize> = strata.iter().flat_map(|(_, images)| images).copied().collect();
    let outputs = encoder.feature_shapes(data.dataset.image_size())?.len();
    let mut sums: Vec<Vec<FeatureSums>> = strata.iter().map(|_| vec![FeatureSums::default(); outputs]).collect();
    for (number, batch) in images.chunks(BATCH).enumerate() {
        cancel::check()?;
        let set = &data.dataset;
        let shape = (batch.len(), set.channels(), set.image_size(), set.image_size());
        encoder.visit(&Tensor::from_vec(set.batch(batch), shape, device)?, |features| {
            let mut start = 0;
            for (sums, (_, members)) in sums.iter_mut().zip(strata.iter()) {
                let end = start + members.len();
                let in_batch = |image: usize| image.saturating_sub(number * BATCH);
                sums[features.output].add(&features, in_batch(start)..in_batch(end));
                start = end;
            }
            Ok(())
        })?;
        observer.on_images(batch.len());
    }
    let read = |((group, _), sums): ((u32, &[usize]), Vec<FeatureSums>)| (group, sums.iter().map(Sums::from).collect());
    Ok(strata.iter().zip(sums).map(read).collect())
}

/// Adds what another client measured.
pub fn add(total: &mut GroupSums, other: GroupSums) {
    for (group, layers) in other {
        let sums = total.entry(group).or_insert_with(|| vec![Sums::default(); layers.len()]);
        sums.iter_mut().zip(layers).for_each(|(sums, layer)| sums.merge(&layer));
    }
}

impl From<&FeatureSums> for Sums {
    fn from(sums: &FeatureSums) -> Self {
        Sums { count: sums.images() as f64, features: sums.pairs() }
    }
}

impl Sums {
    /// Adds the sums of other images.
    pub fn merge(&mut self, other: &Sums) {
        self.count += other.count;
        self.features.resize(other.features.len(), (0.0, 0.0));
        for (sum, more) in self.features.iter_mut().zip(&other.features) {
            *sum = (sum.0 + more.0, sum.1 + more.1);
        }
    }

    /// The mean of each feature.
    pub fn mean(&self) -> impl Iterator<Item = f32> {
        self.features.iter().map(|(sum, _)| (sum / self.count) as f32)
    }

    /// The variance of each feature : squared deviations over `count - less`; unbiased if `less` is 1.
    pub fn variance(&self, less: f64) -> impl Iterator<Item = f32> {
        let variance = move |&(sum, squares): &(f64, f64)| (squares - sum * sum / self.count) / (self.count - less);
        self.features.iter().map(move |pair| variance(pair).max(0.0) as f32)
    }
}
