//! From the generator's range [-1, 1] to bytes.

use crate::prelude::*;

/// The byte of a value: `floor((x + 1) * 127.5 + 0.5)`, kept within 0..=255, computed in `f64`. What is no number is 0.
pub fn byte(x: f64) -> u8 {
    // The cast saturates, which is the clamping.
    libm::floor((x + 1.0) * 127.5 + 0.5) as u8
}

/// The bytes of an image, in the order of its values.
pub fn bytes(image: &[f32]) -> Vec<u8> {
    image.iter().map(|x| byte(f64::from(*x))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_maps_onto_the_bytes() {
        let cases =
            [(-1.0, 0), (1.0, 255), (0.0, 128), (-0.9961, 0), (-0.996, 1), (-7.0, 0), (7.0, 255), (f64::NAN, 0)];
        for (x, expected) in cases {
            assert_eq!(byte(x), expected, "{x}");
        }
    }
}
