//! Feature maps with channels innermost: `[batch, height, width, stride]`, where the channels are padded with zeros to
//! `stride`, a multiple of a register's lanes. Everything between first and last layer of a training step lies so: a vector
//! is one pixel of several channels, whatever the image's size.

use rayon::prelude::*;

/// Channels that are reordered at a time: those of one cache line.
const LINE: usize = 16;

/// The shape of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Images.
    pub batch: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels that mean something.
    pub channels: usize,
    /// Channels that are stored.
    pub stride: usize,
}

impl Map {
    /// A map whose channels are padded to whole vectors of `lanes`.
    pub fn new(batch: usize, (height, width): (usize, usize), channels: usize, lanes: usize) -> Self {
        Map { batch, height, width, channels, stride: channels.next_multiple_of(lanes) }
    }

    /// A map of the same batch.
    pub fn with(&self, (height, width): (usize, usize), channels: usize, lanes: usize) -> Self {
        Map::new(self.batch, (height, width), channels, lanes)
    }

    /// Pixels of one image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Floats of one image.
    pub fn image_len(&self) -> usize {
        self.pixels() * self.stride
    }

    /// Floats of all images.
    pub fn len(&self) -> usize {
        self.batch * self.image_len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes `values`, a map of this shape, to `out` as `[batch, channels, height, width]`.
    pub fn to_planar(&self, values: &[f32], out: &mut [f32]) {
        let pixels = self.pixels();
        let images = values.par_chunks_exact(self.image_len());
        out.par_chunks_exact_mut(self.channels * pixels).zip(images).for_each(|(out, image)| {
            for channel in (0..self.channels).step_by(LINE) {
                let count = LINE.min(self.channels - channel);
                for (pixel, values) in image.chunks_exact(self.stride).enumerate() {
                    for (i, &x) in values[channel..channel + count].iter().enumerate() {
                        out[(channel + i) * pixels + pixel] = x;
                    }
                }
            }
        });
    }
}
