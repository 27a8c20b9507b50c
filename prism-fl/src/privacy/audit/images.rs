//! The bound on one image, tested on images: how far sums of neighbouring sets really differ.
//!
//! Two sets of public images differ in one, which is replaced by the most different that there are: white, black, noise, another
//! of the set. The others are pen strokes, or all blank, which leaves the most room for one image to change what a batch norm
//! makes of them. The sums are those of every release, before noise.

use candle_core::{Device, Tensor};
use prism_core::stream::{Purpose, StreamId};
use prism_nn::Result;
use prism_nn::encoder::Encoder;
use serde::Serialize;

use crate::privacy::features::{ENCODER_BATCH, VectorMap, encode};
use crate::privacy::release::CLIP_UNITS;
use crate::settings::privacy::FeatureSet;
use prism_data::{Dataset, LoadOptions, Source};

/// Images of a set: one batch of the encoder, in which a wrong one would mix them.
const IMAGES: usize = ENCODER_BATCH;
/// Grey value of a blank image.
const BLANK: u8 = 0;
const IMAGE_SIZE: usize = 16;

/// What a replaced image did to the sum.
#[derive(Clone, Debug, Serialize)]
pub struct ImageFinding {
    /// Whether the encoder normalised each batch by its own statistics, which is the planted fault.
    pub train_mode: bool,
    /// The longest difference found, in units of the sensitivity.
    pub worst: f64,
    /// It is above 1.
    pub violation: bool,
}

/// Replaces one image of a set by extreme ones and measures how far the sums move, with `encoder` as it is used or, if
/// `train_mode`, with features normalised over their batch, as an encoder left in training mode gives them.
///
/// # Errors
/// If the computation fails.
pub fn attack(encoder: &Encoder, train_mode: bool) -> Result<ImageFinding> {
    let device = Device::Cpu;
    let map = VectorMap::new(encoder, (IMAGE_SIZE, 1), FeatureSet::All, CLIP_UNITS, &device)?;
    let options = LoadOptions { image_size: IMAGE_SIZE, limit: Some(IMAGES + 1), ..Default::default() };
    let strokes = prism_data::load(Source::Strokes, &options)?;
    let mut worst = 0.0f64;
    for blank in [false, true] {
        let original = sum(encoder, &map, &set_with(&strokes, blank, strokes.image(0))?, train_mode)?;
        for replacement in replacements(&strokes) {
            let changed = sum(encoder, &map, &set_with(&strokes, blank, &replacement)?, train_mode)?;
            let square: f64 = original.iter().zip(&changed).map(|(a, b)| ((a - b) as f64).powi(2)).sum();
            worst = worst.max(square.sqrt() / (2f64.sqrt() * CLIP_UNITS as f64));
        }
    }
    Ok(ImageFinding { train_mode, worst, violation: worst > 1.0 })
}

/// White, black, noise, and another image of the set.
fn replacements(strokes: &Dataset) -> Vec<Vec<u8>> {
    let pixels = strokes.pixels_per_image();
    let mut noise = vec![0; pixels];
    StreamId::new(1, Purpose::Test).open().fill(&mut noise);
    vec![vec![255; pixels], vec![0; pixels], noise, strokes.image(IMAGES).to_vec()]
}

/// The image `first`, and other strokes or blank images.
fn set_with(strokes: &Dataset, blank: bool, first: &[u8]) -> Result<Dataset> {
    let mut pixels = first.to_vec();
    match blank {
        true => pixels.resize(IMAGES * first.len(), BLANK),
        false => (1..IMAGES).for_each(|i| pixels.extend(strokes.image(i))),
    }
    Ok(Dataset::new("audit", IMAGE_SIZE, 1, pixels)?)
}

fn sum(encoder: &Encoder, map: &VectorMap, images: &Dataset, train_mode: bool) -> Result<Vec<i64>> {
    let all: Vec<usize> = (0..images.len()).collect();
    let mut features = encode(encoder, images, &all, &Device::Cpu)?;
    if train_mode {
        features = features.iter().map(batch_normalised).collect::<candle_core::Result<_>>()?;
    }
    let mut sum = vec![0; map.dimensions()];
    let mut vectors = Vec::new();
    map.vectors(&features, &mut vectors)?;
    for vector in vectors {
        sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
    }
    Ok(sum)
}

/// What a batch norm in training mode followed by a ReLU makes of features `[B, C, H, W]`.
fn batch_normalised(features: &Tensor) -> candle_core::Result<Tensor> {
    let mean = features.mean_keepdim((0, 2, 3))?;
    let centred = features.broadcast_sub(&mean)?;
    let deviation = (centred.sqr()?.mean_keepdim((0, 2, 3))? + 1e-5)?.sqrt()?;
    centred.broadcast_div(&deviation)?.relu()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_moves_the_sum_by_no_more_than_the_sensitivity_unless_a_batch_mixes_them() {
        let encoder = Encoder::open("public", &Device::Cpu).unwrap();
        let sound = attack(&encoder, false).unwrap();
        assert!(!sound.violation && sound.worst > 0.3, "{sound:?}");
        let faulty = attack(&encoder, true).unwrap();
        assert!(faulty.violation, "{faulty:?}");
    }
}
