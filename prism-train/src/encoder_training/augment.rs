//! Random views of training images: flipped, shifted, grey.

use prism_core::stream::Stream;
use prism_data::Dataset;

/// Which views there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Views {
    /// Whether half of the images are mirrored.
    pub flips: bool,
    /// An image is moved by up to its side over this, in rows and in columns.
    pub reach: usize,
    /// What a shift brings in from outside: the image's edge again, or else mid-grey, 0.
    pub edge: bool,
    /// Share of the colour images that are shown in grey.
    pub grey: f64,
}

impl Views {
    /// For photographs; a fifth in grey, so that the features serve grey data too.
    pub const PHOTOGRAPHS: Views = Views { flips: true, reach: 8, edge: false, grey: 0.2 };
    /// For what must not be mirrored, such as digits.
    pub const UPRIGHT: Views = Views { flips: false, reach: 16, edge: true, grey: 0.0 };
    /// As they are.
    pub const PLAIN: Views = Views { flips: false, reach: usize::MAX, edge: true, grey: 0.0 };
}

/// Weights of red, green and blue in grey (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// The shape of the images.
#[derive(Clone, Copy, Debug)]
pub struct Augmentation {
    /// Number of colours.
    pub channels: usize,
    /// Side in pixels.
    pub side: usize,
    /// How they may be shown.
    pub views: Views,
}

/// One image's draw.
#[derive(Clone, Copy, Debug, PartialEq)]
struct View {
    flip: bool,
    /// Rows and columns by which the content moves.
    shift: (isize, isize),
    grey: bool,
}

impl Augmentation {
    /// The images of `rows`, `[rows.len(), channels, side, side]` in [-1, 1], each in a random view.
    pub fn batch(&self, images: &Dataset, rows: &[usize], stream: &mut Stream) -> Vec<f32> {
        let mut batch = vec![0f32; rows.len() * images.pixels_per_image()];
        for (out, &row) in batch.chunks_exact_mut(images.pixels_per_image()).zip(rows) {
            self.show(images.image(row), self.draw(stream), out);
        }
        batch
    }

    fn draw(&self, stream: &mut Stream) -> View {
        let reach = self.side / self.views.reach;
        let mut shift = || stream.below(2 * reach + 1) as isize - reach as isize;
        let shift = (shift(), shift());
        let flip = self.views.flips && stream.below(2) == 1;
        View { flip, shift, grey: stream.uniform() < self.views.grey }
    }

    fn show(&self, image: &[u8], view: View, out: &mut [f32]) {
        let side = self.side;
        let source = |at: usize, shift: isize| match at.checked_add_signed(-shift) {
            Some(from) if from < side => Some(from),
            outside if self.views.edge => Some(if outside.is_some() { side - 1 } else { 0 }),
            _ => None,
        };
        for (map, pixels) in out.chunks_exact_mut(side * side).zip(image.chunks_exact(side * side)) {
            for (y, line) in map.chunks_exact_mut(side).enumerate() {
                let Some(from_y) = source(y, view.shift.0) else { continue };
                for (x, value) in line.iter_mut().enumerate() {
                    let Some(from_x) = source(x, view.shift.1) else { continue };
                    let from_x = if view.flip { side - 1 - from_x } else { from_x };
                    *value = f32::from(pixels[from_y * side + from_x]) / 127.5 - 1.0;
                }
            }
        }
        if view.grey && self.channels == 3 {
            let area = side * side;
            for at in 0..area {
                let grey = (0..3).map(|colour| LUMA[colour] * out[colour * area + at]).sum();
                (0..3).for_each(|colour| out[colour * area + at] = grey);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_core::stream::{Purpose, StreamId};

    const SHAPE: Augmentation = Augmentation { channels: 3, side: 8, views: Views::PHOTOGRAPHS };

    fn image() -> Vec<u8> {
        (0..192).map(|i| (i * 83 % 256) as u8).collect()
    }

    fn shown(view: View) -> Vec<f32> {
        let mut out = vec![0f32; 192];
        SHAPE.show(&image(), view, &mut out);
        out
    }

    fn at(out: &[f32], colour: usize, y: usize, x: usize) -> f32 {
        out[colour * 64 + y * 8 + x]
    }

    const PLAIN: View = View { flip: false, shift: (0, 0), grey: false };

    #[test]
    fn a_plain_view_is_the_scaled_image() {
        let expected: Vec<f32> = image().iter().map(|&v| f32::from(v) / 127.5 - 1.0).collect();
        assert_eq!(shown(PLAIN), expected);
    }

    #[test]
    fn a_shift_moves_the_content_and_fills_with_mid_grey() {
        let (plain, moved) = (shown(PLAIN), shown(View { shift: (1, -1), ..PLAIN }));
        assert_eq!(at(&moved, 1, 3, 4), at(&plain, 1, 2, 5));
        assert!((0..8).all(|i| at(&moved, 2, 0, i) == 0.0 && at(&moved, 2, i, 7) == 0.0));
    }

    #[test]
    fn a_shift_may_repeat_the_edge_instead() {
        let mut moved = vec![0f32; 192];
        let upright = Augmentation { views: Views::UPRIGHT, ..SHAPE };
        upright.show(&image(), View { shift: (1, -1), ..PLAIN }, &mut moved);
        let plain = shown(PLAIN);
        assert_eq!(at(&moved, 0, 0, 3), at(&plain, 0, 0, 4));
        assert_eq!(at(&moved, 2, 5, 7), at(&plain, 2, 4, 7));
    }

    #[test]
    fn a_flip_mirrors_columns() {
        let (plain, flipped) = (shown(PLAIN), shown(View { flip: true, ..PLAIN }));
        assert_eq!(at(&flipped, 0, 2, 1), at(&plain, 0, 2, 6));
    }

    #[test]
    fn grey_makes_the_colours_equal() {
        let (plain, grey) = (shown(PLAIN), shown(View { grey: true, ..PLAIN }));
        assert_eq!(at(&grey, 0, 1, 1), at(&grey, 2, 1, 1));
        let luma = 0.299 * at(&plain, 0, 1, 1) + 0.587 * at(&plain, 1, 1, 1) + 0.114 * at(&plain, 2, 1, 1);
        assert!((at(&grey, 1, 1, 1) - luma).abs() < 1e-6);
    }

    #[test]
    fn draws_reach_every_view() {
        let mut stream = StreamId::new(1, Purpose::Test).open();
        let views: Vec<View> = (0..2000).map(|_| SHAPE.draw(&mut stream)).collect();
        let share = |f: fn(&View) -> bool| views.iter().filter(|v| f(v)).count() as f64 / 2000.0;
        assert!((share(|v| v.flip) - 0.5).abs() < 0.05);
        assert!((share(|v| v.grey) - 0.2).abs() < 0.04);
        assert!(views.iter().all(|v| v.shift.0.abs() <= 1 && v.shift.1.abs() <= 1));
        assert!((share(|v| v.shift == (1, -1)) - 1.0 / 9.0).abs() < 0.03);
    }
}
