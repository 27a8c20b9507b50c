//! Each image's own means of some channels of a cell, of the features and of their squares.

use super::rows::{BLOCK, Rows};
use super::targets::Targets;

/// A block of channels of one cell and group.
pub(super) struct ImageMeans<'a> {
    pub rows: Rows<'a>,
    pub targets: Targets<'a>,
    /// G D.
    pub count: f64,
    /// Its first channel, the channels of an image's coefficients, and how many are in the block.
    pub at: (usize, usize, usize),
    /// `[n, channels]` each: first the images' own means, then their coefficients in the same place.
    pub shifts: &'a mut [f32],
    pub slopes: &'a mut [f32],
}

impl ImageMeans<'_> {
    /// The mean over images of each image's mean and mean square, which are left in the place of the coefficients.
    #[inline(always)]
    pub fn means(&mut self) -> [[f64; BLOCK]; 2] {
        let (channel, stride, len) = self.at;
        let (pixels, images) = (self.rows.height * self.rows.width, self.rows.images);
        let mut means = [[0f64; BLOCK]; 2];
        for image in 0..images {
            let first = &mut self.shifts[image * stride + channel..][..len];
            let second = &mut self.slopes[image * stride + channel..][..len];
            for i in image * pixels..(image + 1) * pixels {
                for ((first, second), &f) in first.iter_mut().zip(second.iter_mut()).zip(self.rows.get(i, len)) {
                    *first += f;
                    *second += f * f;
                }
            }
            for (own, means) in [first, second].into_iter().zip(&mut means) {
                for (own, mean) in own.iter_mut().zip(means) {
                    *own /= pixels as f32;
                    *mean += f64::from(*own) / images as f64;
                }
            }
        }
        means
    }
}
