//! Features: one row of numbers for each image, by a frozen network.
//!
//! The public encoder's features are the last convolution's output after its ReLU, averaged over the pixels: `[B, C, H, W]`
//! -> `[B, C]`, 256 numbers. That is the analogue of the pooled layer from which the usual FID is computed, which is
//! Inception's, 2048 numbers.

use candle_core::{Device, Tensor};
use prism_data::Dataset;
use prism_nn::encoder::Encoder;
use prism_nn::inception::{self, Inception};
use prism_nn::{Error, Result};

/// Images that pass through a network at once.
const BATCH: usize = 100;

/// A frozen network that gives each image a row of numbers.
pub trait FeatureNetwork {
    /// What reports call these features.
    fn name(&self) -> String;

    /// Numbers in a row.
    fn width(&self) -> usize;

    /// Where it computes.
    fn device(&self) -> &Device;

    /// The features of `images [B, C, S, S]` in [-1, 1]: `[B, width]`. A row depends on its image alone.
    ///
    /// # Errors
    /// If the images do not fit the network, or the computation fails.
    fn rows(&self, images: &Tensor) -> Result<Tensor>;
}

/// An encoder's last feature map, averaged over its pixels.
pub struct PooledEncoder {
    encoder: Encoder,
    width: usize,
    device: Device,
}

impl PooledEncoder {
    /// Opens the encoder called `spec`, as `--encoder` takes it.
    ///
    /// # Errors
    /// If there is no such encoder.
    pub fn open(spec: &str, device: &Device) -> Result<Self> {
        let encoder = Encoder::open(spec, device)?;
        let width = encoder.layout().convs().last().map_or(0, |(_, outputs)| *outputs);
        Ok(PooledEncoder { encoder, width, device: device.clone() })
    }
}

impl FeatureNetwork for PooledEncoder {
    fn name(&self) -> String {
        format!("encoder {}, last layer, mean over pixels", self.encoder)
    }

    fn width(&self) -> usize {
        self.width
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn rows(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.encoder.last(images)?.mean((2, 3))?)
    }
}

impl FeatureNetwork for Inception {
    fn name(&self) -> String {
        "Inception-v3 of pytorch-fid, pooled (their Frechet distance is FID)".into()
    }

    fn width(&self) -> usize {
        inception::WIDTH
    }

    fn device(&self) -> &Device {
        self.device()
    }

    fn rows(&self, images: &Tensor) -> Result<Tensor> {
        self.features(images)
    }
}

/// The features of a set of images, all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    width: usize,
    /// `[images, width]`, row-major.
    values: Vec<f64>,
}

impl Features {
    /// Features from rows of `width` numbers, those of the images that errors call `what`.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if there is no row, or a number is not finite.
    pub fn new(what: &str, width: usize, values: Vec<f64>) -> Result<Self> {
        if width == 0 || values.is_empty() || !values.len().is_multiple_of(width) {
            return Err(Error::usage(format!("{} numbers are no rows of {width} features", values.len())));
        }
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::usage(format!(
                "feature {} of image {} of {what} is {}, so no distance can be computed; check that image and the weights \
                 of the feature network, or choose another --encoder",
                at % width,
                at / width,
                values[at]
            )));
        }
        Ok(Features { width, values })
    }

    /// The features of every image of `images`; `each` is called with the number of images after each batch.
    ///
    /// # Errors
    /// If the images do not fit the network, the computation fails, or a feature is not finite.
    pub fn of(network: &dyn FeatureNetwork, images: &Dataset, each: &dyn Fn(u64)) -> Result<Self> {
        let mut values = Vec::with_capacity(images.len() * network.width());
        let indices: Vec<usize> = (0..images.len()).collect();
        for batch in indices.chunks(BATCH) {
            let side = images.image_size();
            let shape = (batch.len(), images.channels(), side, side);
            let tensor = Tensor::from_vec(images.batch(batch), shape, network.device())?;
            let rows = network.rows(&tensor)?.flatten_all()?.to_vec1::<f32>()?;
            values.extend(rows.into_iter().map(f64::from));
            each(batch.len() as u64);
        }
        Features::new(&format!("'{}'", images.name()), network.width(), values)
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Never true: features of no image are refused.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All rows, `[images, width]`.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The mean of each feature.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.width];
        for row in self.values.chunks_exact(self.width) {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += x);
        }
        mean.iter_mut().for_each(|m| *m /= self.len() as f64);
        mean
    }

    /// The rows with `centre` subtracted from each.
    pub fn centred(&self, centre: &[f64]) -> Vec<f64> {
        let row = |row: &[f64]| row.iter().zip(centre).map(|(x, c)| x - c).collect::<Vec<_>>();
        self.values.chunks_exact(self.width).flat_map(row).collect()
    }

    /// Refuses to compare rows of different widths.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] with both widths.
    pub fn check_same_width(&self, other: &Features) -> Result<()> {
        if self.width == other.width {
            return Ok(());
        }
        Err(Error::usage(format!(
            "features of {} and of {} numbers cannot be compared; compute both with one feature network",
            self.width, other.width
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize) -> Dataset {
        let pixels = (0..count * 256).map(|i| (i * 7919 % 256) as u8).collect();
        Dataset::new("noise", 16, 1, pixels).unwrap()
    }

    #[test]
    fn the_public_features_are_the_last_layer_averaged() {
        let network = PooledEncoder::open("public", &Device::Cpu).unwrap();
        let set = images(103);
        let features = Features::of(&network, &set, &|_| ()).unwrap();
        assert_eq!((features.len(), features.width()), (103, 256));
        let encoder = Encoder::open("public", &Device::Cpu).unwrap();
        let x = Tensor::from_vec(set.batch(&[102]), (1, 1, 16, 16), &Device::Cpu).unwrap();
        let last = encoder.last(&x).unwrap();
        let map = last.get(0).unwrap().get(9).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mean = map.iter().sum::<f32>() / map.len() as f32;
        assert!((features.values()[102 * 256 + 9] - f64::from(mean)).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_finite_is_refused_with_its_place() {
        let error = Features::new("'x'", 2, vec![0.0, 1.0, f64::NAN, 3.0]).unwrap_err().to_string();
        assert!(error.contains("feature 0 of image 1 of 'x' is NaN") && error.contains("--encoder"), "{error}");
        assert!(Features::new("'x'", 2, vec![0.0; 3]).is_err());
        let (a, b) = (Features::new("a", 1, vec![0.0; 3]).unwrap(), Features::new("b", 3, vec![0.0; 3]).unwrap());
        assert!(a.check_same_width(&b).unwrap_err().to_string().contains("1 and of 3"));
    }

    #[test]
    fn means_and_centred_rows() {
        let features = Features::new("x", 2, vec![1.0, 2.0, 3.0, 6.0]).unwrap();
        assert_eq!(features.mean(), [2.0, 4.0]);
        assert_eq!(features.centred(&features.mean()), [-1.0, -2.0, 1.0, 2.0]);
    }
}
