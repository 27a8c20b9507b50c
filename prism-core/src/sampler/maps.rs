//! Channels of square feature maps with a border of zeros, so that a convolution reads past an edge without asking.

use super::model::FoldedNorm;

/// Zeros on each side of a map: half of the largest kernel.
pub(super) const BORDER: usize = 1;

/// `[channels, side + 2, side + 2]`, row-major; the border is always 0.
#[derive(Default)]
pub(super) struct Maps {
    side: usize,
    values: Vec<f32>,
}

impl Maps {
    /// Becomes `channels` maps of zeros, keeping the memory.
    pub(super) fn reset(&mut self, channels: usize, side: usize) {
        let pitch = side + 2 * BORDER;
        self.side = side;
        self.values.clear();
        self.values.resize(channels * pitch * pitch, 0.0);
    }

    pub(super) fn side(&self) -> usize {
        self.side
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    fn pitch(&self) -> usize {
        self.side + 2 * BORDER
    }

    /// Channel `index`, border included.
    pub(super) fn channel_mut(&mut self, index: usize) -> &mut [f32] {
        let area = self.pitch() * self.pitch();
        &mut self.values[index * area..(index + 1) * area]
    }

    /// The rows inside the border, channel after channel.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        let (side, pitch) = (self.side, self.pitch());
        let channels = self.values.chunks_exact(pitch * pitch);
        channels
            .flat_map(move |map| map.chunks_exact(pitch).skip(BORDER).take(side).map(move |row| &row[BORDER..][..side]))
    }

    /// The rows inside the border, channel after channel.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (side, pitch) = (self.side, self.pitch());
        let channels = self.values.chunks_exact_mut(pitch * pitch);
        channels.flat_map(move |map| {
            map.chunks_exact_mut(pitch).skip(BORDER).take(side).map(move |row| &mut row[BORDER..][..side])
        })
    }

    /// `relu(scale * x + shift)` in place.
    pub(super) fn relu_norm(&mut self, norm: &FoldedNorm) {
        let side = self.side;
        for (index, row) in self.rows_mut().enumerate() {
            let (scale, shift) = (norm.scale[index / side], norm.shift[index / side]);
            row.iter_mut().for_each(|x| *x = (scale * *x + shift).max(0.0));
        }
    }

    /// Becomes `relu(scale * x + shift)`, every pixel doubled both ways (nearest x2).
    pub(super) fn upsampled_relu_norm(&mut self, x: &Maps, norm: &FoldedNorm) {
        self.reset(norm.scale.len(), 2 * x.side);
        let mut rows = self.rows_mut();
        for (index, source) in x.rows().enumerate() {
            let (scale, shift) = (norm.scale[index / x.side], norm.shift[index / x.side]);
            for target in rows.by_ref().take(2) {
                for (pair, x) in target.chunks_exact_mut(2).zip(source) {
                    pair.fill((scale * *x + shift).max(0.0));
                }
            }
        }
    }

    /// Adds `x`, every pixel doubled both ways (nearest x2).
    pub(super) fn add_upsampled(&mut self, x: &Maps) {
        let mut rows = self.rows_mut();
        for source in x.rows() {
            for target in rows.by_ref().take(2) {
                for (pair, x) in target.chunks_exact_mut(2).zip(source) {
                    pair.iter_mut().for_each(|y| *y += x);
                }
            }
        }
    }
}
