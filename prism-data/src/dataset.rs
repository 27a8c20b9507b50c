//! A set of labelled or unlabelled images in memory, and cheap views of parts of it.
//!
//! Pixels are `u8`, `[images, channels, size, size]` row-major, exactly as they were decoded and resized; a batch is
//! scaled to [-1, 1] by `x / 127.5 - 1`, the range of the generator's tanh.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use prism_core::{Error, Result};
use sha2::{Digest, Sha256};

/// Most characters of a class name: those of a model's file.
pub const MAX_CLASS_NAME: usize = 80;

/// Images, their labels, and what they are called.
///
/// Cloning and [`Dataset::subset`] share the pixels.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    image_size: usize,
    channels: usize,
    class_names: Vec<String>,
    pixels: Arc<Vec<u8>>,
    /// Where image i of this view lies in `pixels`; `None` is the identity.
    rows: Option<Vec<u32>>,
    labels: Option<Vec<u16>>,
    /// Images of each site, one site after the other; empty where they are not of sites.
    sites: Vec<usize>,
    digest: OnceLock<String>,
}

impl Dataset {
    /// Images that one data set may have at most.
    pub const MAX_IMAGES: usize = u32::MAX as usize;

    /// A data set without labels from raw pixels `[n, channels, image_size, image_size]`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no image, or the lengths do not fit together.
    pub fn new(name: impl Into<String>, image_size: usize, channels: usize, pixels: Vec<u8>) -> Result<Self> {
        let name = name.into();
        let refuse = |why: String| Err(Error::usage(format!("data set '{name}' {why}")));
        let per_image = channels * image_size * image_size;
        if per_image == 0 || pixels.is_empty() {
            return refuse("has no images; give at least one".into());
        }
        if !pixels.len().is_multiple_of(per_image) {
            return refuse(format!("has {} pixel values, no multiple of the {per_image} in one image", pixels.len()));
        }
        let images = pixels.len() / per_image;
        if images > Self::MAX_IMAGES {
            return refuse(format!("has {images} images; the limit is {}: use fewer", Self::MAX_IMAGES));
        }
        Ok(Dataset {
            name,
            image_size,
            channels,
            class_names: Vec::new(),
            pixels: Arc::new(pixels),
            rows: None,
            labels: None,
            sites: Vec::new(),
            digest: OnceLock::new(),
        })
    }

    /// The same images, of which the first `sizes[0]` are the first site's, the next `sizes[1]` the second's, and so on.
    pub(super) fn with_sites(self, sizes: Vec<usize>) -> Self {
        Dataset { sites: sizes, ..self }
    }

    /// The numbers of the images of each site; none where they are not of sites.
    pub fn sites(&self) -> Option<Vec<Vec<usize>>> {
        let mut next = 0;
        let part = |size: &usize| {
            next += size;
            (next - size..next).collect()
        };
        (!self.sites.is_empty()).then(|| self.sites.iter().map(part).collect())
    }

    /// The same images, each with a label, and the name of each class.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is not one label an image, or a label has no class.
    pub fn with_labels(self, class_names: Vec<String>, labels: Vec<u16>) -> Result<Self> {
        let refuse = |why: String| Err(Error::usage(format!("data set '{}' {why}", self.name)));
        if labels.len() != self.len() {
            return refuse(format!("has {} labels for {} images; each image needs one", labels.len(), self.len()));
        }
        if let Some(label) = labels.iter().find(|&&label| usize::from(label) >= class_names.len()) {
            return refuse(format!("has label {label}, but only {} classes", class_names.len()));
        }
        Ok(Dataset { class_names, labels: Some(labels), digest: OnceLock::new(), ..self })
    }

    /// The name of the source, such as `mnist`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.pixels.len() / self.pixels_per_image(), Vec::len)
    }

    /// Whether this view holds no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of classes; 0 where there are no labels. A view has as many classes as the set it was taken from.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The name of each class, in label order.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Side of the square images.
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// 1 (grey) or 3 (red, green, blue).
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Values in one image: `channels * image_size^2`.
    pub fn pixels_per_image(&self) -> usize {
        self.channels * self.image_size * self.image_size
    }

    /// The label of every image, in order.
    pub fn labels(&self) -> Option<&[u16]> {
        self.labels.as_deref()
    }

    /// The bytes of image `index`, `[channels, image_size, image_size]`.
    ///
    /// # Panics
    /// If `index` is not below [`Dataset::len`].
    pub fn image(&self, index: usize) -> &[u8] {
        let row = self.rows.as_ref().map_or(index, |rows| rows[index] as usize);
        let size = self.pixels_per_image();
        &self.pixels[row * size..(row + 1) * size]
    }

    /// The chosen images, `[indices.len(), channels, image_size, image_size]`, scaled to [-1, 1].
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    pub fn batch(&self, indices: &[usize]) -> Vec<f32> {
        let mut batch = Vec::with_capacity(indices.len() * self.pixels_per_image());
        for &index in indices {
            batch.extend(self.image(index).iter().map(|&value| f32::from(value) / 127.5 - 1.0));
        }
        batch
    }

    /// A view of the chosen images in the given order, sharing the pixels.
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    pub fn subset(&self, indices: &[usize]) -> Self {
        let length = self.len();
        let row = |&index: &usize| {
            assert!(index < length, "image {index} of a data set of {length}");
            self.rows.as_ref().map_or(index as u32, |rows| rows[index])
        };
        Dataset {
            rows: Some(indices.iter().map(row).collect()),
            sites: Vec::new(),
            labels: self.labels.as_ref().map(|labels| indices.iter().map(|&index| labels[index]).collect()),
            digest: OnceLock::new(),
            ..self.clone()
        }
    }

    /// Hexadecimal SHA-256 of what this view holds: image size, channels, number of classes, pixels and labels in order.
    ///
    /// Two views with equal digests hold the same images, whatever they are called and wherever they came from, so it
    /// is a safe key for caches and privacy ledgers. Computed when first asked for.
    pub fn digest(&self) -> &str {
        self.digest.get_or_init(|| {
            let mut hash = Sha256::new();
            hash.update(b"prism-dataset-v1\0");
            for number in [self.len(), self.channels, self.image_size, self.classes()] {
                hash.update((number as u64).to_le_bytes());
            }
            match &self.rows {
                None => hash.update(self.pixels.as_slice()),
                Some(rows) => (0..rows.len()).for_each(|index| hash.update(self.image(index))),
            }
            hash.update([u8::from(self.labels.is_some())]);
            for label in self.labels.iter().flatten() {
                hash.update(label.to_le_bytes());
            }
            hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
                // Writing to a string cannot fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| class.to_string()).collect()
    }

    fn tiny() -> Dataset {
        labelled("tiny", 2, vec![0, 1, 2, 1])
    }

    /// Sixteen pixel values, in images of `size` pixels a side.
    fn labelled(name: &str, size: usize, labels: Vec<u16>) -> Dataset {
        let channels = 4 / (size * size);
        let images = Dataset::new(name, size, channels, (0..16).collect()).unwrap();
        images.with_labels(names(3), labels).unwrap()
    }

    #[test]
    fn a_batch_spans_minus_one_to_one() {
        let set = Dataset::new("ends", 1, 3, vec![0, 255, 51, 0, 0, 0]).unwrap();
        assert_eq!(set.batch(&[0]), [-1.0, 1.0, 51.0 / 127.5 - 1.0]);
        assert_eq!(set.batch(&[1, 0]).len(), 6);
    }

    #[test]
    fn a_view_of_a_view_shares_the_pixels_and_keeps_the_order() {
        let set = tiny();
        let view = set.subset(&[3, 1, 0]).subset(&[2, 0]);
        assert!(Arc::ptr_eq(&set.pixels, &view.pixels));
        assert_eq!(view.len(), 2);
        assert_eq!(view.image(0), [0, 1, 2, 3]);
        assert_eq!(view.image(1), [12, 13, 14, 15]);
        assert_eq!(view.labels(), Some([0, 1].as_slice()));
        assert_eq!(view.classes(), 3);
    }

    #[test]
    fn the_digest_follows_the_content_alone() {
        let set = tiny();
        let renamed = labelled("other", 2, vec![0, 1, 2, 1]);
        assert_eq!(set.digest(), renamed.digest());
        assert_eq!(set.digest(), set.subset(&[0, 1, 2, 3]).digest());
        let relabelled = labelled("tiny", 2, vec![0, 1, 2, 2]);
        let unlabelled = Dataset::new("tiny", 2, 1, (0..16).collect()).unwrap();
        let reshaped = labelled("tiny", 1, vec![0, 1, 2, 1]);
        for other in [relabelled, unlabelled, reshaped, set.subset(&[1, 0, 2, 3]), set.subset(&[0, 1, 2])] {
            assert_ne!(set.digest(), other.digest());
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let new = |pixels: usize| Dataset::new("odd", 2, 1, vec![0; pixels]);
        assert!(new(0).unwrap_err().to_string().contains("no images"));
        assert!(new(7).unwrap_err().to_string().contains("no multiple"));
        let with = |labels| new(8).unwrap().with_labels(names(2), labels).unwrap_err().to_string();
        assert!(with(vec![0]).contains("1 labels for 2 images"));
        assert!(with(vec![0, 2]).contains("label 2"));
    }
}
