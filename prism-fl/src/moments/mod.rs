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

pub mod envelope;
pub mod file;
pub mod message;

pub mod sums;

use sums::{GroupSums, Sums};

/// A group with fewer images has no variance.
const MIN_IMAGES: usize = 2;

/// One encoder layer's moments, `[groups, features]` each.
#[derive(Clone, Debug)]
pub struct LayerMoments {
    /// Mean of each feature.
    pub mean: Tensor,
    /// Second moment of each feature: its unbiased variance, or its mean square where that is matched.
    pub second: Tensor,
    /// The unit in which distances count, `[groups, 1]`: the mean over features of the variance.
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

    /// The moments of the images that were summed up in `sums`.
    ///
    /// Groups with a single image are left out, since they have no variance.
    ///
    /// # Errors
    /// If no group has two images, or the device has no room.
    pub fn from_sums(mut sums: GroupSums, device: &Device) -> Result<Self> {
        let images = |layers: &[Sums]| layers.first().map_or(0, |layer| layer.count as usize);
        let total: usize = sums.values().map(|layers| images(layers)).sum();
        sums.retain(|_, layers| images(layers) >= MIN_IMAGES);
        let (groups, sums): (Vec<u32>, Vec<Vec<Sums>>) = sums.into_iter().unzip();
        if groups.is_empty() {
            return Err(Error::usage(format!(
                "of {total} images no two are of one class and subclass, so their moments have no variance; choose fewer clients, \
                 another partition or fewer subclasses"
            )));
        }
        let layers = (0..sums[0].len()).map(|layer| stack(&sums, layer, device)).collect::<Result<_>>()?;
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

    /// The number of each group: a class times the styles of a class, plus the style. A single 0 where there are neither.
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
    pub fn labels(&self, groups: &[u32], batch_size: usize, styles: Subclasses) -> (Vec<usize>, Vec<usize>) {
        let each = (batch_size / groups.len()).max(MIN_IMAGES);
        let images = groups.iter().flat_map(|&g| std::iter::repeat_n(self.groups[g as usize] as usize, each));
        images.map(|group| (group / styles.count(), group % styles.count())).unzip()
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

/// One layer's moments of all groups as tensors.
fn stack(groups: &[Vec<Sums>], layer: usize, device: &Device) -> Result<LayerMoments> {
    let shape = (groups.len(), groups[0][layer].features.len());
    let mean: Vec<f32> = groups.iter().flat_map(|group| group[layer].mean()).collect();
    let variance: Vec<f32> = groups.iter().flat_map(|group| group[layer].variance(1.0)).collect();
    let variance = Tensor::from_vec(variance, shape, device)?;
    // A layer that is dead on these images would otherwise divide by zero.
    let scale = (variance.mean_keepdim(1)? + 1e-8)?;
    Ok(LayerMoments { mean: Tensor::from_vec(mean, shape, device)?, second: variance, scale, weights: None })
}
