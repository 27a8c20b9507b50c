//! What one image contributes: a vector of nonnegative integers of one length.
//!
//! ```text
//! v = [k,  a_l * p_l,  b_l * q_l  for every encoder layer l],    p = mean over a cell of phi,  q = of phi^2
//! x = truncate(v * C / |v| / unit),     C = sqrt(k^2 + 2 layers),    unit = C / clip_units
//! ```
//!
//! `phi >= 0` are the layer's features after the ReLU; a cell is one pixel (`all`), a square of a grid (`grid:N`) or the whole
//! map (`pooled`). The scales `a_l`, `b_l` make `p_l`, `q_l` of unit root mean square length over images that this program
//! draws itself ([`prism_data::strokes`]), so they are public whatever the encoder. The leading k is counted with the image's
//! own factor: dividing by its sum turns sums into means without any exact count.
//!
//! Vectors are not only shortened to C but lengthened to it. The noise is that of vectors of length C in any case, so whatever
//! an image's vector is shorter by is signal given away: 17% of it for digits, 30% for clothes, whose features are smaller than
//! those of the public images (medians of the first 1,024 of MNIST and of Fashion-MNIST). The price is that means are weighted: an
//! image counts by C / |v|. Lengths differ by 9% and 10% there (one standard deviation), which makes the weighted mean of a length
//! 0.8% and 0.9% less than the plain one.

use candle_core::{Device, Tensor};
use prism_nn::Result;
use prism_nn::encoder::Encoder;
use rayon::prelude::*;

use crate::settings::privacy::FeatureSet;

use prism_data::{Dataset, LoadOptions, Source};

/// Public images from which the scales are measured.
const PUBLIC_IMAGES: usize = 256;
/// Images that pass through the encoder at once.
pub const ENCODER_BATCH: usize = 32;
/// The leading number of every vector. Its sum, and with it all means of a group, is off by 1.6% (one standard deviation) for 6,000
/// images at epsilon 0.2: little beside what noise does to a single feature; and it takes 3% of the length from the features.
pub const CONSTANT: f64 = 1.0;

/// One encoder layer in the vector: `[p (features), q (features)]`.
#[derive(Clone, Debug)]
pub struct LayerPart {
    /// Where its p begins in the vector.
    pub offset: usize,
    /// Number of its features: channels times cells.
    pub features: usize,
    /// What p is multiplied by.
    pub first_scale: f64,
    /// What q is multiplied by.
    pub second_scale: f64,
    shape: [usize; 3],
}

/// The map from an image's features to its vector of integers. All of it is public.
#[derive(Clone, Debug)]
pub struct VectorMap {
    /// The feature set.
    pub set: FeatureSet,
    /// The encoder's layers.
    pub layers: Vec<LayerPart>,
    /// The length of every vector, about what it is by itself for a public image.
    pub length: f64,
    /// The same in grid units: truncated numbers are no longer than that.
    pub clip_units: i64,
}

impl VectorMap {
    /// The map for images of `image_size` pixels a side with `channels` colours: measures the public scales.
    ///
    /// # Errors
    /// If the encoder refuses the images.
    pub fn new(
        encoder: &Encoder,
        (image_size, channels): (usize, usize),
        set: FeatureSet,
        clip_units: i64,
        device: &Device,
    ) -> Result<Self> {
        let mut offset = 1;
        let part = |shape: [usize; 3]| {
            let part = LayerPart::new(offset, shape, set);
            offset += 2 * part.features;
            part
        };
        let layers: Vec<LayerPart> = encoder.feature_shapes(image_size)?.into_iter().map(part).collect();
        let length = (CONSTANT * CONSTANT + 2.0 * layers.len() as f64).sqrt();
        let mut map = VectorMap { set, layers, length, clip_units };
        let options =
            LoadOptions { image_size, channels: Some(channels), limit: Some(PUBLIC_IMAGES), ..Default::default() };
        map.measure_scales(encoder, &prism_data::load(Source::Strokes, &options)?, device)?;
        Ok(map)
    }

    /// Length of a vector.
    pub fn dimensions(&self) -> usize {
        1 + self.layers.iter().map(|layer| 2 * layer.features).sum::<usize>()
    }

    /// The real value of one grid unit.
    pub fn unit(&self) -> f64 {
        self.length / self.clip_units as f64
    }

    fn measure_scales(&mut self, encoder: &Encoder, public: &Dataset, device: &Device) -> Result<()> {
        let mut squares = vec![[0.0; 2]; self.layers.len()];
        let all: Vec<usize> = (0..public.len()).collect();
        for batch in all.chunks(ENCODER_BATCH) {
            let (images, features) = on_host(&encode(encoder, public, batch, device)?)?;
            let mut raw = Vec::new();
            for image in 0..images {
                self.raw_vector(&features, image, &mut raw);
                for (sum, layer) in squares.iter_mut().zip(&self.layers) {
                    let (first, second) = raw[layer.offset..][..2 * layer.features].split_at(layer.features);
                    sum[0] += first.iter().map(|x| x * x).sum::<f64>();
                    sum[1] += second.iter().map(|x| x * x).sum::<f64>();
                }
            }
        }
        for (layer, sum) in self.layers.iter_mut().zip(squares) {
            // A layer that is dead on public images gets no amplification.
            let scale = |square: f64| if square > 0.0 { (public.len() as f64 / square).sqrt() } else { 1.0 };
            (layer.first_scale, layer.second_scale) = (scale(sum[0]), scale(sum[1]));
        }
        Ok(())
    }

    /// Writes the vector as it comes of image number `image` of a batch to `out`; `features` are the encoder's outputs.
    fn raw_vector(&self, features: &[Vec<f32>], image: usize, out: &mut Vec<f64>) {
        out.clear();
        out.resize(self.dimensions(), 0.0);
        out[0] = CONSTANT;
        for (layer, values) in self.layers.iter().zip(features) {
            let len = layer.shape.iter().product::<usize>();
            layer.pool(&values[image * len..][..len], self.set, &mut out[layer.offset..][..2 * layer.features]);
        }
    }

    /// The vector of each image of a batch of encoder outputs, one tensor a layer: nonnegative, of length at most
    /// `clip_units`. They are written to `out`, whose memory serves batch after batch. Returns how many images have features that are
    /// no finite numbers and so the vector of [`VectorMap::to_grid`].
    ///
    /// # Errors
    /// If the features cannot be read.
    pub fn vectors(&self, features: &[Tensor], out: &mut Vec<Vec<i64>>) -> Result<usize> {
        let (images, features) = on_host(features)?;
        out.resize_with(images, Vec::new);
        let write = |raw: &mut Vec<f64>, (image, grid): (usize, &mut Vec<i64>)| {
            self.raw_vector(&features, image, raw);
            usize::from(!self.to_grid(raw, grid))
        };
        Ok(out.par_iter_mut().enumerate().map_init(Vec::new, write).sum())
    }

    /// Brings one vector to the common length and truncates it; says whether all its numbers are finite. Where they are not, as an
    /// encoder may be made to compute of one chosen image, the vector is that of an image without features: to refuse would tell
    /// the world that the image is there.
    pub fn to_grid(&self, raw: &[f64], grid: &mut Vec<i64>) -> bool {
        let square: f64 = raw.iter().map(|x| x * x).sum();
        if !square.is_finite() {
            grid.clear();
            grid.resize(raw.len(), 0);
            grid[0] = ((CONSTANT / self.unit()) as i64).min(self.clip_units);
            return false;
        }
        let mut factor = self.clip_units as f64 / square.sqrt();
        loop {
            grid.clear();
            // Negative numbers cannot come out of a ReLU; the bound on sensitivity must not depend on that.
            grid.extend(raw.iter().map(|x| (x.max(0.0) * factor) as i64));
            if square_length(grid) <= i128::from(self.clip_units) * i128::from(self.clip_units) {
                return true;
            }
            // Rounding in the factor; truncation makes this rare.
            factor *= 1.0 - 1e-12;
        }
    }
}

/// The exact sum of squares.
fn square_length(grid: &[i64]) -> i128 {
    // Where every number is below 2^24, the squares of a block add up to less than 2^64.
    let block = |numbers: &[i64]| match numbers.iter().fold(0, |all, x| all | x.unsigned_abs()) >> 24 {
        0 => i128::from(numbers.iter().map(|x| x.unsigned_abs() * x.unsigned_abs()).sum::<u64>()),
        _ => numbers.iter().map(|&x| i128::from(x) * i128::from(x)).sum(),
    };
    grid.chunks(1 << 12).map(block).sum()
}

/// The number of images, and each layer's features in main memory.
fn on_host(features: &[Tensor]) -> Result<(usize, Vec<Vec<f32>>)> {
    let images = features.first().map_or(Ok(0), |f| f.dim(0))?;
    let values = features.iter().map(|f| f.flatten_all()?.to_vec1::<f32>()).collect::<candle_core::Result<_>>()?;
    Ok((images, values))
}

impl LayerPart {
    /// The layer of `shape [C, H, W]` that begins at `offset`, not yet scaled.
    pub(super) fn new(offset: usize, shape: [usize; 3], set: FeatureSet) -> Self {
        let side = set.grid().map(|side| side.min(shape[1]));
        let features = shape[0] * side.map_or(shape[1] * shape[2], |side| side * side);
        LayerPart { offset, features, first_scale: 1.0, second_scale: 1.0, shape }
    }

    /// Number of cells of its maps.
    pub fn cells(&self) -> usize {
        self.features / self.shape[0]
    }

    /// Writes scaled `[p, q]` of one image's `values [C, H, W]`.
    fn pool(&self, values: &[f32], set: FeatureSet, out: &mut [f64]) {
        let (first, second) = out.split_at_mut(self.features);
        // Images are square, and so are their feature maps.
        let [_, side, _] = self.shape;
        let cells = set.grid().map_or(side, |grid| grid.min(side));
        let cell = side / cells;
        let share = 1.0 / (cell * cell) as f64;
        for (line, values) in values.chunks_exact(side).enumerate() {
            let (channel, row) = (line / side, line % side);
            let at = (channel * cells + row / cell) * cells;
            for ((first, second), values) in
                first[at..].iter_mut().zip(&mut second[at..]).zip(values.chunks_exact(cell))
            {
                for &value in values {
                    let value = f64::from(value);
                    *first += value;
                    *second += value * value;
                }
            }
        }
        first.iter_mut().for_each(|x| *x *= share * self.first_scale);
        second.iter_mut().for_each(|x| *x *= share * self.second_scale);
    }
}

/// The encoder's features of the images `indices`.
///
/// # Errors
/// If the computation fails.
pub fn encode(encoder: &Encoder, data: &Dataset, indices: &[usize], device: &Device) -> Result<Vec<Tensor>> {
    let shape = (indices.len(), data.channels(), data.image_size(), data.image_size());
    encoder.forward(&Tensor::from_vec(data.batch(indices), shape, device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strokes(limit: usize) -> Dataset {
        let options = LoadOptions { image_size: 16, limit: Some(limit), ..Default::default() };
        prism_data::load(Source::Strokes, &options).unwrap()
    }

    /// The images, and one that is black all over.
    fn with_a_blank(data: Dataset) -> Dataset {
        let mut pixels: Vec<u8> = (0..data.len()).flat_map(|i| data.image(i).to_vec()).collect();
        pixels.extend(vec![0; data.pixels_per_image()]);
        Dataset::new("strokes and a blank", data.image_size(), 1, pixels).unwrap()
    }

    #[test]
    fn vectors_are_nonnegative_integers_of_one_length() {
        let (device, data) = (Device::Cpu, with_a_blank(strokes(20)));
        let encoder = Encoder::open("random:1", &device).unwrap();
        for set in [FeatureSet::All, FeatureSet::Grid(2), FeatureSet::Grid(1)] {
            let map = VectorMap::new(&encoder, (16, 1), set, 1 << 20, &device).unwrap();
            let all: Vec<usize> = (0..data.len()).collect();
            let mut vectors = Vec::new();
            map.vectors(&encode(&encoder, &data, &all, &device).unwrap(), &mut vectors).unwrap();
            for vector in vectors {
                assert_eq!(vector.len(), map.dimensions());
                assert!(vector.iter().all(|&x| x >= 0));
                let square: i128 = vector.iter().map(|&x| i128::from(x) * i128::from(x)).sum();
                assert!(square <= 1 << 40 && square > (1 << 40) * 99 / 100, "{set}: {square}");
            }
        }
    }

    #[test]
    fn negative_values_are_dropped_and_infinite_ones_are_an_image_without_features() {
        let encoder = Encoder::open("random:1", &Device::Cpu).unwrap();
        let map = VectorMap::new(&encoder, (16, 1), FeatureSet::Grid(1), 1000, &Device::Cpu).unwrap();
        let mut raw = vec![0.0; map.dimensions()];
        (raw[0], raw[1], raw[2]) = (CONSTANT, -1e9, 1e9);
        let mut grid = Vec::new();
        assert!(map.to_grid(&raw, &mut grid));
        assert!(grid[1] == 0 && grid[2] <= 1000 && grid.iter().all(|&x| x >= 0), "{:?}", &grid[..3]);
        for bad in [f64::NAN, f64::INFINITY] {
            raw[2] = bad;
            assert!(!map.to_grid(&raw, &mut grid));
            assert!(grid[0] > 0 && grid[0] <= 1000 && grid[1..].iter().all(|&x| x == 0), "{:?}", &grid[..3]);
        }
    }

    #[test]
    fn lengths_are_exact_whatever_the_numbers() {
        for big in [1i64, (1 << 24) - 1, 1 << 24, 1 << 60] {
            let numbers: Vec<i64> = (0..5000).map(|i| if i % 1000 == 7 { -big } else { i }).collect();
            let plain: i128 = numbers.iter().map(|&x| i128::from(x) * i128::from(x)).sum();
            assert_eq!(square_length(&numbers), plain, "{big}");
        }
    }

    /// What the bound on one image rests on: its vector has the same bits alone, in any batch, and at any place in it.
    #[test]
    fn an_images_vector_does_not_depend_on_the_others() {
        let (device, data) = (Device::Cpu, strokes(ENCODER_BATCH + 5));
        let encoder = Encoder::open("public", &device).unwrap();
        let map = VectorMap::new(&encoder, (16, 1), FeatureSet::All, 1 << 20, &device).unwrap();
        let vectors = |images: &[usize]| {
            let mut out = Vec::new();
            map.vectors(&encode(&encoder, &data, images, &device).unwrap(), &mut out).unwrap();
            out
        };
        let all: Vec<usize> = (0..data.len()).collect();
        let (together, backwards) = (vectors(&all), vectors(&all.iter().rev().copied().collect::<Vec<_>>()));
        for &image in &all {
            assert_eq!(together[image], backwards[data.len() - 1 - image], "image {image} among others");
            assert_eq!(together[image], vectors(&[image])[0], "image {image} alone");
        }
    }

    /// A pooled feature is the mean over its cell, of the feature and of its square.
    #[test]
    fn pooling_is_averaging() {
        let part = |set| LayerPart::new(0, [1, 4, 4], set);
        let values: Vec<f32> = (0..16).map(|x| x as f32).collect();
        let mut out = vec![0.0; 8];
        part(FeatureSet::Grid(2)).pool(&values, FeatureSet::Grid(2), &mut out);
        assert_eq!(out[..4], [2.5, 4.5, 10.5, 12.5]);
        assert_eq!(out[4], (0.0 + 1.0 + 16.0 + 25.0) / 4.0);
        let mut out = vec![0.0; 32];
        part(FeatureSet::All).pool(&values, FeatureSet::All, &mut out);
        assert!(out[..16].iter().zip(&values).all(|(a, b)| *a == f64::from(*b)) && out[31] == 225.0);
    }
}
