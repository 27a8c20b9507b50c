//! Images made ready for convolution: a border of zeros around every plane, channels last where gradients want it.

/// The shape of one image: channels of `height x width` planes, as they lie in a row-major tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planes {
    /// Planes.
    pub channels: usize,
    /// Rows of a plane.
    pub height: usize,
    /// Columns of a plane.
    pub width: usize,
}

impl Planes {
    /// Pixels of one plane.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Floats of one image.
    pub fn len(&self) -> usize {
        self.channels * self.pixels()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape with `pad` zeros on all four sides.
    pub fn padded(&self, pad: usize) -> Planes {
        Planes { channels: self.channels, height: self.height + 2 * pad, width: self.width + 2 * pad }
    }
}

/// Copies the planes of `source` (shape `planes`) into `padded`, with `pad` zeros around each.
///
/// Where `gate` is given, pixels at which it is not positive become 0: the gradient of a ReLU whose output is `gate`.
pub fn pad(source: &[f32], gate: Option<&[f32]>, planes: Planes, pad: usize, padded: &mut [f32]) {
    let wide = planes.padded(pad);
    for channel in 0..planes.channels {
        let plane = &mut padded[channel * wide.pixels()..][..wide.pixels()];
        let (top, bottom) = (pad * wide.width, (pad + planes.height) * wide.width);
        plane[..top].fill(0.0);
        plane[bottom..].fill(0.0);
        for (row, line) in plane[top..bottom].chunks_exact_mut(wide.width).enumerate() {
            line[..pad].fill(0.0);
            line[pad + planes.width..].fill(0.0);
            let from = channel * planes.pixels() + row * planes.width;
            let line = &mut line[pad..pad + planes.width];
            let pixels = &source[from..][..planes.width];
            match gate {
                None => line.copy_from_slice(pixels),
                Some(gate) => gated(pixels, &gate[from..][..planes.width], line),
            }
        }
    }
}

fn gated(pixels: &[f32], gate: &[f32], out: &mut [f32]) {
    for ((out, &x), &open) in out.iter_mut().zip(pixels).zip(gate) {
        *out = if open > 0.0 { x } else { 0.0 };
    }
}

/// Copies an image into groups of `lanes` channels, pixels with `pad` zeros around, channels innermost:
/// `[channels / lanes, height + 2 pad, width + 2 pad, lanes]`. Missing channels of the last group are zeros.
pub fn channels_last(source: &[f32], planes: Planes, pad: usize, lanes: usize, out: &mut [f32]) {
    let wide = planes.padded(pad);
    for (group, block) in out.chunks_exact_mut(wide.pixels() * lanes).enumerate() {
        let first = group * lanes;
        let count = lanes.min(planes.channels - first);
        if pad > 0 || count < lanes {
            block.fill(0.0);
        }
        for row in 0..planes.height {
            let line = &mut block[((row + pad) * wide.width + pad) * lanes..][..planes.width * lanes];
            for lane in 0..count {
                let from = &source[(first + lane) * planes.pixels() + row * planes.width..][..planes.width];
                for (pixel, &x) in line.chunks_exact_mut(lanes).zip(from) {
                    pixel[lane] = x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Planes = Planes { channels: 3, height: 2, width: 2 };

    fn counted() -> Vec<f32> {
        (1..=12).map(|i| i as f32).collect()
    }

    #[test]
    fn padding_surrounds_every_plane_with_zeros() {
        let mut out = vec![9.0; SHAPE.padded(1).len()];
        pad(&counted(), None, SHAPE, 1, &mut out);
        let second = [0., 0., 0., 0., 0., 5., 6., 0., 0., 7., 8., 0., 0., 0., 0., 0.];
        assert_eq!(out[16..32], second);
    }

    #[test]
    fn a_gate_lets_through_what_was_positive() {
        let gate = [1., 0., -1., 2., 0., 0., 0., 0., 1., 1., 1., 1.];
        let mut out = vec![9.0; SHAPE.len()];
        pad(&counted(), Some(&gate), SHAPE, 0, &mut out);
        assert_eq!(out, [1., 0., 0., 4., 0., 0., 0., 0., 9., 10., 11., 12.]);
    }

    #[test]
    fn channels_last_groups_lanes_and_fills_the_missing_ones() {
        let mut out = vec![9.0; 2 * 4 * 2];
        channels_last(&counted(), SHAPE, 0, 2, &mut out);
        assert_eq!(out, [1., 5., 2., 6., 3., 7., 4., 8., 9., 0., 10., 0., 11., 0., 12., 0.]);
    }
}
