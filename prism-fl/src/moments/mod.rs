//! A client's feature moments: all that training ever learns of its images.
//!
//! For each group (a class or a style of it, see [`crate::strata`]), each encoder layer and each feature d:
//! the mean and the unbiased variance over the client's images. They are computed once, in `f64`, image by image in a
//! fixed order, so they do not depend on thread count or batch size.
//!
//! Where images are protected, moments are not measured here but estimated from a noisy release ([`crate::privacy`]).

use candle_core::{Device, Tensor};
use prism_core::Stream;
use prism_nn::generator::Subclasses;
use prism_nn::ops::MomentTargets;
use prism_nn::{Error, Estimator, Result, SecondMoment};

pub mod coded;
pub mod combine;
pub mod envelope;
pub mod file;
pub mod message;
pub mod statistics;
pub mod unit;

use statistics::{GroupStatistics, Statistics};

/// A group with fewer images has no variance.
const MIN_IMAGES: usize = 2;

/// One encoder layer's moments, `[groups, features]` each.
#[derive(Clone, Debug)]
pub struct LayerMoments {
    /// Mean of each feature.
    pub mean: Tensor,
    /// Second moment of each feature: its unbiased variance, or its mean square where that is matched.
    pub second: Tensor,
    /// The unit in which distances count, `[groups, 1]`: the mean over features of the variance ([`mod@unit`]).
    pub scale: Tensor,
    /// How much each mean's and each second moment's term counts; 1 where there are none.
    pub weights: Option<[Tensor; 2]>,
}

/// A client's feature moments, per group and encoder layer.
#[derive(Clone, Debug)]
pub struct ClientMoments {
    groups: Vec<u32>,
    layers: Vec<LayerMoments>,
    /// What the second moments are.
    kind: SecondMoment,
    /// Cells a side of the grid over which features are pooled; none for every pixel by itself.
    grid: Option<usize>,
    /// Bytes that clients sent for them; 0 where each client keeps its own.
    sent: u64,
}

impl ClientMoments {
    /// All that they hold.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor> {
        self.layers.iter().flat_map(|layer| {
            let moments = [&layer.mean, &layer.second, &layer.scale];
            moments.into_iter().chain(layer.weights.iter().flatten()).cloned().collect::<Vec<_>>()
        })
    }

    /// The moments of the images that `statistics` are of.
    ///
    /// Groups with a single image are left out, since they have no variance. Groups of copies count in the unit of all images.
    ///
    /// # Errors
    /// If no group has two images, or the device has no room.
    pub fn new(mut statistics: GroupStatistics, device: &Device) -> Result<Self> {
        let images = |layers: &[Statistics]| layers.first().map_or(0, |layer| layer.count as usize);
        let total: usize = statistics.values().map(|layers| images(layers)).sum();
        let wholes = unit::wholes(&statistics);
        statistics.retain(|_, layers| images(layers) >= MIN_IMAGES);
        if statistics.is_empty() {
            return Err(too_few(total));
        }
        let groups = statistics.keys().copied().collect();
        // A layer at a time, so that no number stands in memory twice.
        let mut take = |layer: usize| -> Vec<Statistics> {
            statistics.values_mut().map(|layers| std::mem::take(&mut layers[layer])).collect()
        };
        let layers = wholes.iter().enumerate().map(|(layer, &whole)| stack(take(layer), whole, device));
        let layers = layers.collect::<Result<_>>()?;
        Ok(ClientMoments { groups, layers, kind: SecondMoment::Variance, grid: None, sent: 0 })
    }

    /// Moments that were measured before: the number of each group, each layer's `[groups, features]`, of which kind the second ones
    /// are, and the grid over whose cells the features are pooled, if any.
    pub fn from_parts(groups: Vec<u32>, layers: Vec<LayerMoments>, kind: SecondMoment, grid: Option<usize>) -> Self {
        ClientMoments { groups, layers, kind, grid, sent: 0 }
    }

    /// The same moments, for which clients sent so many bytes.
    pub fn with_sent(self, sent: u64) -> Self {
        ClientMoments { sent, ..self }
    }

    /// Bytes that clients sent for them; 0 where each client keeps its own.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// What the second moments are.
    pub fn kind(&self) -> SecondMoment {
        self.kind
    }

    /// Cells a side of the grid over which features are pooled; none for every pixel by itself.
    pub fn grid(&self) -> Option<usize> {
        self.grid
    }

    /// The number of each group: a class times the subclasses of a class, plus the subclass. A single 0 where there are neither.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Each encoder layer's moments.
    pub fn layers(&self) -> &[LayerMoments] {
        &self.layers
    }

    /// At most `count` different groups, drawn without replacement and sorted.
    pub fn choose_groups(&self, count: usize, stream: &mut Stream) -> Vec<u32> {
        let mut groups: Vec<u32> = (0..self.groups.len() as u32).collect();
        stream.shuffle(&mut groups);
        groups.truncate(count);
        groups.sort_unstable();
        groups
    }

    /// The class and style of each image of a batch that the chosen groups share evenly, group after group; at least two
    /// images each.
    pub fn labels(&self, groups: &[u32], batch_size: usize, subclasses: Subclasses) -> (Vec<usize>, Vec<usize>) {
        let each = (batch_size / groups.len()).max(MIN_IMAGES);
        let images = groups.iter().flat_map(|&g| std::iter::repeat_n(self.groups[g as usize] as usize, each));
        images.map(|group| (group / subclasses.count(), group % subclasses.count())).unzip()
    }

    /// What each encoder layer's features are to match for a batch of the chosen groups, by this `estimator`.
    ///
    /// # Errors
    /// If the computation fails.
    pub fn targets(&self, groups: &[u32], estimator: Estimator) -> Result<Vec<MomentTargets>> {
        let target = |layer: &LayerMoments| -> candle_core::Result<MomentTargets> {
            let rows = Tensor::new(groups, layer.mean.device())?;
            // Groups are sorted and different, so as many as there are, are all of them; the step then knows them again.
            let all_of_them = groups.len() == self.groups.len();
            let chosen = |all: &Tensor| if all_of_them { Ok(all.clone()) } else { all.index_select(&rows, 0) };
            let weights = match &layer.weights {
                Some([mean, second]) => Some([chosen(mean)?, chosen(second)?]),
                None => None,
            };
            let targets = MomentTargets::new(chosen(&layer.mean)?, chosen(&layer.second)?, chosen(&layer.scale)?);
            Ok(MomentTargets { weights, kind: self.kind, grid: self.grid, estimator, ..targets })
        };
        Ok(self.layers.iter().map(target).collect::<candle_core::Result<_>>()?)
    }
}

/// The refusal of images of which no group has two.
fn too_few(images: usize) -> Error {
    Error::usage(format!(
        "of {images} images no two are of one class and subclass, so their moments have no variance; choose fewer clients, another \
         partition or fewer subclasses"
    ))
}

/// One layer's moments of all groups as tensors; `whole` is the unit of a group of copies.
fn stack(groups: Vec<Statistics>, whole: f64, device: &Device) -> Result<LayerMoments> {
    let shape = (groups.len(), groups[0].mean.len());
    let flat: Vec<bool> = groups.iter().map(|group| unit::is_flat(group, whole)).collect();
    let (means, variances): (Vec<_>, Vec<_>) = groups.into_iter().map(|group| (group.mean, group.variance)).unzip();
    let variance = Tensor::from_vec(variances.concat(), shape, device)?;
    // A layer that is dead on these images would otherwise divide by zero.
    let own: Vec<f32> = (variance.mean_keepdim(1)? + 1e-8)?.flatten_all()?.to_vec1()?;
    let scale: Vec<f32> = flat.into_iter().zip(own).map(|(flat, own)| if flat { whole as f32 } else { own }).collect();
    let scale = Tensor::from_vec(scale, (shape.0, 1), device)?;
    Ok(LayerMoments { mean: Tensor::from_vec(means.concat(), shape, device)?, second: variance, scale, weights: None })
}

#[cfg(test)]
mod tests {
    use super::statistics::tests::of;
    use super::*;

    /// Statistics of one layer of two features over images whose second feature is the first and one.
    fn statistics(values: &[f64]) -> Vec<Statistics> {
        vec![of(&values.iter().map(|&x| [x, x + 1.0]).collect::<Vec<_>>())]
    }

    fn scales(groups: &[&[f64]]) -> Vec<f32> {
        let groups: GroupStatistics = (0..).zip(groups.iter().map(|values| statistics(values))).collect();
        let moments = ClientMoments::new(groups, &Device::Cpu).unwrap();
        moments.layers()[0].scale.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// A class of copies of one picture had the unit 1e-8: its loss was 1e15, and no other class was learned.
    #[test]
    fn a_class_of_copies_counts_in_the_unit_of_all_images() {
        let [ordinary, copies] = scales(&[&[1.0, 2.0, 4.0, 6.0], &[3.0, 3.0, 3.0, 3.0]])[..] else {
            panic!("two groups")
        };
        assert!((ordinary - 4.916_667).abs() < 1e-4, "{ordinary}");
        assert!((1.0..10.0).contains(&copies), "{copies}");
        let [few] = scales(&[&[3.0, 3.0]])[..] else { panic!("one group") };
        assert!(few > 0.01, "{few}");
    }

    #[test]
    fn a_class_of_different_pictures_keeps_its_own_unit_to_the_bit() {
        let values = [[0.0, 1.0], [5.0, 7.0]];
        let units = scales(&[&values[0], &values[1]]);
        for (unit, values) in units.into_iter().zip(&values) {
            let variance = statistics(values)[0].variance.clone();
            let variance = Tensor::from_vec(variance, (1, 2), &Device::Cpu).unwrap();
            let own = (variance.mean_keepdim(1).unwrap() + 1e-8).unwrap().flatten_all().unwrap();
            assert_eq!(own.to_vec1::<f32>().unwrap(), [unit]);
        }
    }
}
