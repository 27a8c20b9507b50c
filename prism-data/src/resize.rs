//! From a picture of any shape to a plane of the model's size: centre crop, then a triangle filter.
//!
//! ```text
//! out[i] = sum_j w[i][j] * in[j],   w[i][j] ~ max(0, 1 - |j - centre_i| / r),   r = max(1, side / size),   sum_j w[i][j] = 1
//! ```
//!
//! along rows, then along columns, with `centre_i = (i + 1/2) * side / size - 1/2`. Why this filter: it widens when it
//! shrinks a picture, so nothing aliases; it never overshoots, so black paper around white strokes stays black, where
//! Lanczos leaves a halo that a generator would learn; and it needs no transcendental function, so every machine computes
//! the same pixels.

/// The weights of one output position.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Resizes squares of one side to squares of another. Built once for pictures of equal size.
pub(super) struct Resizer {
    side: usize,
    taps: Vec<Taps>,
}

impl Resizer {
    /// From squares of `side` pixels to squares of `size` pixels; both are at least 1.
    pub(super) fn new(side: usize, size: usize) -> Self {
        Resizer { side, taps: (0..size).map(|i| taps(i, side, size)).collect() }
    }

    /// Resizes the square whose pixel in row y and column x is `pixel(y, x)` into `out`, row-major.
    pub(super) fn plane(&self, pixel: impl Fn(usize, usize) -> u8, out: &mut [u8]) {
        let size = self.taps.len();
        if size == self.side {
            out.iter_mut().enumerate().for_each(|(k, value)| *value = pixel(k / size, k % size));
            return;
        }
        let mut row = vec![0f32; self.side];
        let mut narrow = vec![0f32; self.side * size];
        for (y, narrow) in narrow.chunks_exact_mut(size).enumerate() {
            row.iter_mut().enumerate().for_each(|(x, value)| *value = f32::from(pixel(y, x)));
            for (value, taps) in narrow.iter_mut().zip(&self.taps) {
                *value = taps.weights.iter().zip(&row[taps.first..]).map(|(w, x)| w * x).sum();
            }
        }
        let mut sums = vec![0f32; size];
        for (out, taps) in out.chunks_exact_mut(size).zip(&self.taps) {
            sums.fill(0.0);
            for (weight, narrow) in taps.weights.iter().zip(narrow[taps.first * size..].chunks_exact(size)) {
                sums.iter_mut().zip(narrow).for_each(|(sum, x)| *sum += weight * x);
            }
            out.iter_mut().zip(&sums).for_each(|(value, sum)| *value = (sum + 0.5) as u8);
        }
    }
}

/// The weights of output position `i` of `size` over `side` inputs.
fn taps(i: usize, side: usize, size: usize) -> Taps {
    let scale = side as f64 / size as f64;
    let radius = scale.max(1.0);
    let centre = (i as f64 + 0.5) * scale - 0.5;
    let first = (centre - radius).ceil().max(0.0) as usize;
    let last = ((centre + radius).floor() as usize).min(side - 1);
    let weight = |j: usize| (1.0 - (j as f64 - centre).abs() / radius).max(0.0);
    let total: f64 = (first..=last).map(weight).sum();
    Taps { first, weights: (first..=last).map(|j| (weight(j) / total) as f32).collect() }
}

/// The largest centred square of a picture: its side, the rows above it and the columns to its left.
pub(super) fn centre_square(width: usize, height: usize) -> (usize, usize, usize) {
    let side = width.min(height);
    (side, (height - side) / 2, (width - side) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(side: usize, size: usize, pixels: &[u8]) -> Vec<u8> {
        let mut out = vec![0; size * size];
        Resizer::new(side, size).plane(|y, x| pixels[y * side + x], &mut out);
        out
    }

    /// Pillow 13, whose BILINEAR is the same filter in fixed point:
    /// ```python
    /// x = np.array([(k * k * 37 + 11 * k) % 256 for k in range(49)], np.uint8).reshape(7, 7)
    /// for n in (4, 10): print(np.asarray(Image.fromarray(x).resize((n, n), Image.BILINEAR)).ravel().tolist())
    /// ```
    #[test]
    fn agrees_with_pillow() {
        let pixels: Vec<u8> = (0..49u32).map(|k| ((k * k * 37 + 11 * k) % 256) as u8).collect();
        for (size, expected) in [(4, GOLDEN_4.as_slice()), (10, GOLDEN_10.as_slice())] {
            let ours = resize(7, size, &pixels);
            let worst = ours.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "size {size}: {ours:?}");
        }
    }

    #[test]
    fn the_same_size_changes_nothing_and_a_flat_picture_stays_flat() {
        let pixels: Vec<u8> = (0..64).map(|k| k * 4).collect();
        assert_eq!(resize(8, 8, &pixels), pixels);
        for (side, size) in [(28, 32), (178, 64), (1, 8), (3, 256), (1000, 8)] {
            assert!(resize(side, size, &vec![255; side * side]).iter().all(|&p| p == 255), "{side} to {size}");
        }
    }

    #[test]
    fn the_crop_is_the_centre() {
        assert_eq!(centre_square(178, 218), (178, 20, 0));
        assert_eq!(centre_square(5, 2), (2, 0, 1));
    }

    const GOLDEN_4: [u8; 16] = [73, 119, 169, 170, 155, 127, 161, 189, 172, 116, 117, 174, 145, 134, 153, 124];
    const GOLDEN_10: [u8; 100] = [
        0, 26, 79, 164, 131, 115, 128, 190, 170, 118, 54, 82, 102, 90, 144, 180, 188, 154, 165, 192, 133, 129, 109, 65,
        153, 209, 218, 151, 174, 232, 231, 130, 78, 162, 145, 142, 163, 224, 214, 176, 190, 176, 157, 137, 107, 102,
        126, 200, 190, 147, 153, 190, 193, 113, 81, 79, 107, 183, 176, 135, 132, 173, 178, 100, 72, 72, 104, 182, 178,
        140, 140, 182, 190, 116, 90, 94, 128, 209, 208, 173, 165, 146, 135, 144, 127, 133, 164, 169, 142, 108, 194, 99,
        62, 172, 164, 173, 199, 107, 48, 16,
    ];
}
