//! Many images as one picture: a grid in PNG.

use crate::arch::Architecture;
use crate::error::{Error, Result};

/// Pixels between neighbouring images and around the grid.
const GAP: usize = 2;
/// Brightness of the gaps.
const GAP_VALUE: u8 = 128;
/// Most pixels that a picture may have.
const MAX_PIXELS: usize = 1 << 28;

/// The number of columns that makes a grid of `images` images about square.
pub fn square_columns(images: usize) -> usize {
    let side = images.isqrt();
    (side + usize::from(side * side < images)).max(1)
}

/// Width and height in pixels of a grid of `count` images of `arch` in rows of `columns`.
///
/// # Errors
/// [`Error::Usage`] if there is no image or no column, or if the picture would be too large.
pub fn grid_size(arch: &Architecture, count: usize, columns: usize) -> Result<(usize, usize)> {
    if count == 0 || columns == 0 {
        return Err(Error::usage(format!(
            "{count} images in {columns} columns make no picture; choose at least one of each"
        )));
    }
    let side = |n: usize| n.checked_mul(arch.image_size + GAP)?.checked_add(GAP);
    let sides = side(columns.min(count)).zip(side(count.div_ceil(columns)));
    sides.filter(|(w, h)| w.checked_mul(*h).is_some_and(|n| n <= MAX_PIXELS)).ok_or_else(|| {
        Error::usage(format!(
            "{count} images of {} pixels a side make a picture of more than {MAX_PIXELS} pixels; \
             draw fewer, or one file each",
            arch.image_size
        ))
    })
}

/// One picture in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[height, width, channels]`, row-major.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// A single image of `arch`, from its bytes `[channels, size, size]`.
    pub fn single(arch: &Architecture, image: &[u8]) -> Self {
        let size = arch.image_size;
        let mut picture = Picture::blank(size, size, arch.channels);
        picture.paste(image, size, 0, 0);
        picture
    }

    /// Images of `arch`, bytes `[n, channels, size, size]`, in rows of `columns`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no image or no column, or if the picture would be too large.
    pub fn grid(arch: &Architecture, images: &[u8], columns: usize) -> Result<Self> {
        let size = arch.image_size;
        let (width, height) = grid_size(arch, images.len() / arch.pixels(), columns)?;
        let mut picture = Picture::blank(width, height, arch.channels);
        for (k, image) in images.chunks_exact(arch.pixels()).enumerate() {
            let place = |index: usize| GAP + index * (size + GAP);
            picture.paste(image, size, place(k % columns), place(k / columns));
        }
        Ok(picture)
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the encoder refuses it.
    pub fn png(&self) -> Result<Vec<u8>> {
        let refuse = |e: png::EncodingError| Error::corrupt("the picture", format!("it cannot be encoded ({e})"));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(if self.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(refuse)?;
        writer.write_image_data(&self.pixels).map_err(refuse)?;
        writer.finish().map_err(refuse)?;
        Ok(bytes)
    }

    fn blank(width: usize, height: usize, channels: usize) -> Self {
        Picture { width, height, channels, pixels: vec![GAP_VALUE; width * height * channels] }
    }

    /// Copies an image `[channels, size, size]` to `left`, `top`.
    fn paste(&mut self, image: &[u8], size: usize, left: usize, top: usize) {
        for (channel, plane) in image.chunks_exact(size * size).enumerate() {
            for (y, row) in plane.chunks_exact(size).enumerate() {
                let start = ((top + y) * self.width + left) * self.channels + channel;
                let targets = self.pixels[start..].iter_mut().step_by(self.channels);
                targets.zip(row).for_each(|(target, &value)| *target = value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arch(channels: usize) -> Architecture {
        Architecture { image_size: 8, channels, ngf: 1, latent: 1, classes: 0, label_scale: 1.0 }
    }

    #[test]
    fn images_stand_in_rows_with_gaps() {
        let images: Vec<u8> = (0..3).flat_map(|k| vec![k; 64]).collect();
        let picture = Picture::grid(&arch(1), &images, 2).unwrap();
        assert_eq!((picture.width, picture.height), (22, 22));
        let at = |x: usize, y: usize| picture.pixels[y * picture.width + x];
        assert_eq!([at(2, 2), at(12, 2), at(2, 12)], [0, 1, 2]);
        assert_eq!([at(0, 0), at(10, 5), at(12, 12)], [GAP_VALUE; 3]);
    }

    #[test]
    fn colours_are_interleaved() {
        let image: Vec<u8> = [10u8, 20, 30].iter().flat_map(|&c| vec![c; 64]).collect();
        assert_eq!(Picture::single(&arch(3), &image).pixels[..6], [10, 20, 30, 10, 20, 30]);
    }

    #[test]
    fn a_png_reads_back() {
        let image: Vec<u8> = (0..64).collect();
        let bytes = Picture::single(&arch(1), &image).png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, image);
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert!(Picture::grid(&arch(1), &[], 8).is_err());
        assert!(Picture::grid(&arch(1), &[0; 64], 0).is_err());
        assert!(grid_size(&arch(1), usize::MAX / 2, 8).is_err());
        assert!(grid_size(&arch(1), 10_000_000, 1).is_err());
        assert_eq!(grid_size(&arch(1), 2, usize::MAX).unwrap(), (22, 12));
    }

    #[test]
    fn columns_make_a_square() {
        assert_eq!([0, 1, 2, 4, 5, 64, 65].map(square_columns), [1, 1, 2, 2, 3, 8, 9]);
        assert!((1..2000).all(|n| (1..).find(|c: &usize| n <= c * c) == Some(square_columns(n))));
        // At once, however many images: counting up to the root of this would take seconds.
        assert_eq!(square_columns(usize::MAX), 1 << (usize::BITS / 2));
    }
}
