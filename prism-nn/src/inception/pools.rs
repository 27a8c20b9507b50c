//! Inception's pools, and the resize in front of it.

use candle_core::{Result, Tensor};

/// Maximum over 3x3 squares, every second pixel, without padding.
pub fn max_halve(x: &Tensor) -> Result<Tensor> {
    x.max_pool2d_with_stride((3, 3), (2, 2))
}

/// Maximum over the 3x3 square around each pixel. `x` must not be negative, so that a border of zeros changes nothing.
pub fn max_around(x: &Tensor) -> Result<Tensor> {
    padded(x)?.max_pool2d_with_stride((3, 3), (1, 1))
}

/// Mean over the 3x3 square around each pixel, of those pixels only that lie inside the image.
pub fn mean_around(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let inside = |at: usize, side: usize| {
        if side == 1 {
            1
        } else if at == 0 || at + 1 == side {
            2
        } else {
            3
        }
    };
    let share = |i: usize| 9.0 / (inside(i / width, height) * inside(i % width, width)) as f32;
    let shares = (0..height * width).map(share).collect::<Vec<f32>>();
    let shares = Tensor::from_vec(shares, (1, 1, height, width), x.device())?;
    padded(x)?.avg_pool2d_with_stride((3, 3), (1, 1))?.broadcast_mul(&shares)
}

fn padded(x: &Tensor) -> Result<Tensor> {
    x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?.contiguous()
}

/// `x [B, C, H, W]` -> `[B, C, side, side]`, bilinear, corners not aligned and without smoothing, as
/// `torch.nn.functional.interpolate` does it.
pub fn resize(x: &Tensor, side: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let rows = x.contiguous()?.reshape((batch * channels * height, width))?;
    let wide = rows.matmul(&taps(width, side, x)?)?;
    let columns = wide.reshape((batch * channels, height, side))?.transpose(1, 2)?.contiguous()?;
    let tall = columns.reshape((batch * channels * side, height))?.matmul(&taps(height, side, x)?)?;
    tall.reshape((batch * channels, side, side))?.transpose(1, 2)?.contiguous()?.reshape((batch, channels, side, side))
}

/// `[from, to]`: the share of each pixel of a line in each pixel of the resized line.
fn taps(from: usize, to: usize, like: &Tensor) -> Result<Tensor> {
    let mut shares = vec![0f32; from * to];
    let scale = from as f64 / to as f64;
    for target in 0..to {
        let source = ((target as f64 + 0.5) * scale - 0.5).max(0.0);
        let low = (source as usize).min(from - 1);
        let high = (low + 1).min(from - 1);
        let share = source - low as f64;
        shares[low * to + target] += (1.0 - share) as f32;
        shares[high * to + target] += share as f32;
    }
    Tensor::from_vec(shares, (from, to), like.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn flat(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// `F.avg_pool2d(torch.arange(6.).reshape(1, 1, 2, 3), 3, 1, 1, count_include_pad=False)`
    #[test]
    fn means_leave_the_padding_out() {
        let x = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((1, 1, 2, 3)).unwrap();
        for (ours, theirs) in flat(&mean_around(&x).unwrap()).iter().zip([2.0, 2.5, 3.0, 2.0, 2.5, 3.0]) {
            assert!((ours - theirs).abs() < 1e-6);
        }
        assert_eq!(flat(&max_around(&x).unwrap()), [4.0, 5.0, 5.0, 4.0, 5.0, 5.0]);
    }

    /// `F.interpolate(torch.tensor([[[[0., 4.], [8., 2.]]]]), size=(3, 3), mode="bilinear", align_corners=False)`
    #[test]
    fn resizing_is_that_of_pytorch() {
        let x = Tensor::new(&[[[[0f32, 4.0], [8.0, 2.0]]]], &Device::Cpu).unwrap();
        let theirs = [0.0, 2.0, 4.0, 4.0, 3.5, 3.0, 8.0, 5.0, 2.0];
        for (ours, theirs) in flat(&resize(&x, 3).unwrap()).iter().zip(theirs) {
            assert!((ours - theirs).abs() < 1e-5, "{ours} instead of {theirs}");
        }
    }
}
