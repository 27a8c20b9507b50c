//! The last step: the taps of the last convolution are brought together, and tanh makes pixels of the sums.
//!
//! The last layer has one or three outputs, too few to fill a register. So all its taps are computed for every pixel as
//! one matrix product, `[pixels, 9 * outputs]`, and each output adds up its nine from around it:
//!
//! ```text
//! y[o][r][c] = sum over u, v of taps[r+u-1][c+v-1][3u+v][o]        zero outside
//! ```

use super::maps::{MapView, Position};
use crate::simd::{Isa, Kernel, Shape, Simd};

/// Makes images of taps.
pub(super) struct LastStep {
    pub(super) isa: Isa,
    pub(super) taps: MapView<f32>,
    pub(super) channels: usize,
}

impl LastStep {
    /// Writes row `row` of image `image` to every channel of `out`, `[channels, side, side]`.
    ///
    /// # Safety
    /// `isa` must be one of this machine's; `taps` must hold the image, `out` have room for it, and nobody else may be
    /// at this row.
    pub(super) unsafe fn write_row(&self, image: usize, row: usize, out: *mut f32) {
        let side = self.taps.shape.side;
        // SAFETY: the caller's promises.
        unsafe {
            match self.channels {
                1 => add_taps::<1>(self.taps, image, row, out),
                _ => add_taps::<3>(self.taps, image, row, out),
            }
        }
        for channel in 0..self.channels {
            // SAFETY: the rows just written, and the caller's machine.
            unsafe {
                let values = core::slice::from_raw_parts_mut(out.add((channel * side + row) * side), side);
                self.isa.run(Tanh { values });
            }
        }
    }
}

/// The sums of nine taps for each of `C` channels and each column of a row.
///
/// # Safety
/// As for [`LastStep::write_row`].
unsafe fn add_taps<const C: usize>(taps: MapView<f32>, image: usize, row: usize, out: *mut f32) {
    let side = taps.shape.side;
    // Of three taps around `at`, those inside the image.
    let inside = |at: usize| usize::from(at == 0)..3 - usize::from(at + 1 == side);
    for column in 0..side {
        let mut sums = [0.0f32; C];
        for u in inside(row) {
            for v in inside(column) {
                // SAFETY: a pixel of the image, with nine taps of each channel.
                let tap = unsafe {
                    let pixel = taps.bordered(Position { image, row: row + u - 1, column: column + v - 1 });
                    pixel.add((3 * u + v) * C).cast::<[f32; C]>().read()
                };
                for (sum, tap) in sums.iter_mut().zip(tap) {
                    *sum += tap;
                }
            }
        }
        for (channel, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's room.
            unsafe { *out.add((channel * side + row) * side + column) = sum };
        }
    }
}

/// The hyperbolic tangent of every value, on any machine.
pub(super) fn tanh(values: &mut [f32]) {
    // SAFETY: plain Rust.
    unsafe { Isa::Portable.run(Tanh { values }) };
}

/// The hyperbolic tangent of every value, within 4e-7, the same bits on every instruction set.
///
/// A quotient of polynomials, `x p(x^2) / q(x^2)`, fitted by least squares with weights that even out the error on
/// [0, [`Tanh::END`]], beyond which tanh is 1 to within 1e-7.
struct Tanh<'a> {
    values: &'a mut [f32],
}

impl Tanh<'_> {
    const END: f32 = 8.5;
    /// Of `x^9, x^7, ..., x`.
    const NUMERATOR: [f32; 5] = [1.409_976_3e-8, 2.112_195_6e-5, 3.525_843_2e-3, 1.340_622_6e-1, 9.999_999_5e-1];
    /// Of `x^8, x^6, ..., 1`.
    const DENOMINATOR: [f32; 5] = [8.073_834e-7, 3.335_729e-4, 2.599_122_7e-2, 4.673_953_8e-1, 1.0];

    /// # Safety
    /// Below `Isa::run` of `S`.
    #[inline(always)]
    unsafe fn apply<S: Simd>(x: S::V) -> S::V {
        // SAFETY: the caller's promise.
        unsafe {
            let x = S::min(S::max(x, S::splat(-Self::END)), S::splat(Self::END));
            let square = S::mul(x, x);
            let (mut p, mut q) = (S::splat(Self::NUMERATOR[0]), S::splat(Self::DENOMINATOR[0]));
            for i in 1..Self::NUMERATOR.len() {
                p = S::add(S::mul(p, square), S::splat(Self::NUMERATOR[i]));
                q = S::add(S::mul(q, square), S::splat(Self::DENOMINATOR[i]));
            }
            let y = S::div(S::mul(x, p), q);
            S::min(S::max(y, S::splat(-1.0)), S::splat(1.0))
        }
    }
}

impl Kernel for Tanh<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let mut chunks = self.values.chunks_exact_mut(S::LANES);
        for chunk in &mut chunks {
            // SAFETY: a chunk is as long as a register.
            unsafe { S::store(chunk.as_mut_ptr(), Self::apply::<S>(S::load(chunk.as_ptr()))) };
        }
        let rest = chunks.into_remainder();
        let mut padded = [0.0f32; 16];
        padded[..rest.len()].copy_from_slice(rest);
        // SAFETY: no register has more than 16 lanes.
        unsafe { S::store(padded.as_mut_ptr(), Self::apply::<S>(S::load(padded.as_ptr()))) };
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_right_to_seven_digits_and_the_same_everywhere() {
        let xs: Vec<f32> = (-12_000..12_001).map(|i| i as f32 * 1e-3).collect();
        let mut reference = xs.clone();
        // SAFETY: plain Rust.
        unsafe { Isa::Portable.run(Tanh { values: &mut reference }) };
        for (x, y) in xs.iter().zip(&reference) {
            let exact = libm::tanh(f64::from(*x));
            assert!((f64::from(*y) - exact).abs() < 4e-7, "tanh {x} is {exact}, not {y}");
        }
        for isa in Isa::available() {
            let mut values = xs.clone();
            // SAFETY: an instruction set of this machine.
            unsafe { isa.run(Tanh { values: &mut values }) };
            assert!(values.iter().zip(&reference).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa:?}");
        }
    }
}
