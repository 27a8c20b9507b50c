//! Sums of features and of their squares, from which moments are made: the part of them that clients' images add up in.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use prism_nn::Result;
use prism_nn::encoder::Encoder;
use rayon::prelude::*;

use crate::data::Dataset;
use crate::groups::Groups;
use crate::run::interrupt;

/// Images that pass through the encoder at once.
const ENCODER_BATCH: usize = 64;

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

/// Measures the images `indices` of `data`, in `f64`, image by image in a fixed order.
///
/// # Errors
/// If the encoder cannot see the images, the computation fails, or the run is asked to stop.
pub fn measure(
    encoder: &Encoder,
    data: &Dataset,
    indices: &[usize],
    groups: &Groups,
    device: &Device,
) -> Result<GroupSums> {
    let group = |(group, members): (u32, Vec<usize>)| Ok((group, measure_group(encoder, data, &members, device)?));
    groups.divide(indices).into_iter().map(group).collect()
}

/// Adds what another client measured.
pub fn add(total: &mut GroupSums, other: GroupSums) {
    for (group, layers) in other {
        let sums = total.entry(group).or_insert_with(|| vec![Sums::default(); layers.len()]);
        sums.iter_mut().zip(layers).for_each(|(sums, layer)| sums.merge(layer));
    }
}

fn measure_group(encoder: &Encoder, data: &Dataset, members: &[usize], device: &Device) -> Result<Vec<Sums>> {
    let mut sums: Vec<Sums> = Vec::new();
    for batch in members.chunks(ENCODER_BATCH) {
        interrupt::check()?;
        let shape = (batch.len(), data.channels(), data.image_size(), data.image_size());
        let features = encoder.forward(&Tensor::from_vec(data.batch(batch), shape, device)?)?;
        sums.resize_with(features.len(), Sums::default);
        for (sums, features) in sums.iter_mut().zip(&features) {
            sums.add(&features.flatten_all()?.to_vec1()?, features.elem_count() / batch.len());
        }
    }
    Ok(sums)
}

impl Sums {
    /// Adds `rows [images, width]`, image by image.
    fn add(&mut self, rows: &[f32], width: usize) {
        self.features.resize(width, (0.0, 0.0));
        self.count += (rows.len() / width) as f64;
        const CHUNK: usize = 1024;
        self.features.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, sums)| {
            for row in rows.chunks_exact(width) {
                for (sum, &x) in sums.iter_mut().zip(&row[chunk * CHUNK..]) {
                    let x = f64::from(x);
                    sum.0 += x;
                    sum.1 += x * x;
                }
            }
        });
    }

    fn merge(&mut self, other: Sums) {
        self.count += other.count;
        self.features.resize(other.features.len(), (0.0, 0.0));
        for (sum, more) in self.features.iter_mut().zip(other.features) {
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
