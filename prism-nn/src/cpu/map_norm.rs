//! Batch norm without parameters on channels-last [`Map`]s, in pieces that other passes carry along.
//!
//! ```text
//! h = (x - mean) * rstd,  y = max(0, h),  g' = g [h > 0]
//! dx = rstd * (g' - sum(g') / n - h * sum(g' h) / n)
//! ```
//!
//! Each image's two sums (of x and x², or of g' and g' h) are taken by whoever has just written the image; they are added
//! over images in order, in `f64`. `y` itself is never stored ([`super::source::NormRelu`]).

use prism_core::simd::{Isa, Kernel, Shape, Simd};
use rayon::prelude::*;

use super::map::Map;
use super::share::Disjoint;
use super::source::{NormRelu, Plain};

/// Pixels whose sum is kept in `f32` before it is added in `f64`.
const BLOCK: usize = 32;

/// Two sums over pixels for every channel of every image: `[batch, 2, stride]`.
#[derive(Clone, Debug, Default)]
pub struct ChannelSums(Vec<f64>);

impl ChannelSums {
    /// Room for the sums of `map`, all zero.
    pub fn reset(&mut self, map: Map) {
        self.0.clear();
        self.0.resize(map.batch * 2 * map.stride, 0.0);
    }

    /// The same sums, to be filled by several tasks, an image each.
    pub fn share(&mut self) -> Disjoint<'_, f64> {
        Disjoint::new(&mut self.0)
    }

    /// The sums over all images of one channel.
    fn total(&self, map: Map, channel: usize) -> [f64; 2] {
        let mut total = [0.0; 2];
        for image in self.0.chunks_exact(2 * map.stride) {
            total[0] += image[channel];
            total[1] += image[map.stride + channel];
        }
        total
    }

    /// Mean and biased variance of one channel over all pixels of all images, from sums of x and x².
    pub fn moments(&self, map: Map, channel: usize) -> [f64; 2] {
        let count = (map.batch * map.pixels()) as f64;
        let [mean, square] = self.total(map, channel).map(|sum| sum / count);
        [mean, (square - mean * mean).max(0.0)]
    }
}

/// A batch norm as `scale * x + shift`, one number a stored channel each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Affine {
    /// `1 / sqrt(variance + epsilon)`; 0 for channels without meaning.
    pub scale: Vec<f32>,
    /// `-mean * scale`.
    pub shift: Vec<f32>,
}

impl Affine {
    /// The norm of a batch, from its images' sums of x and x².
    pub fn of(sums: &ChannelSums, map: Map, epsilon: f64) -> Self {
        let mut norm = Affine { scale: vec![0.0; map.stride], shift: vec![0.0; map.stride] };
        for channel in 0..map.channels {
            let [mean, variance] = sums.moments(map, channel);
            let scale = 1.0 / (variance + epsilon).sqrt();
            norm.scale[channel] = scale as f32;
            norm.shift[channel] = (-mean * scale) as f32;
        }
        norm
    }

    /// The norm of `x`, a map, and its ReLU.
    pub fn of_map<'a>(&'a self, values: &'a [f32], map: Map) -> NormRelu<'a> {
        NormRelu { x: Plain { values, map }, scale: &self.scale, shift: &self.shift }
    }

    /// The norm of the given numbers, one a channel that means something.
    pub fn padded(scale: &[f32], shift: &[f32], stride: usize) -> Self {
        let pad = |values: &[f32]| {
            let mut values = values.to_vec();
            values.resize(stride, 0.0);
            values
        };
        Affine { scale: pad(scale), shift: pad(shift) }
    }
}

/// Sums x and x² over one image's pixels into part `number` of `sums`.
///
/// # Safety
/// No other task may use this image's part.
pub unsafe fn measure_image(isa: Isa, image: &[f32], map: Map, number: usize, sums: Disjoint<'_, f64>) {
    // SAFETY: the caller's promise; `isa` is one of this machine's.
    unsafe {
        let out = sums.part(number * 2 * map.stride, 2 * map.stride);
        isa.run(SumImage { image, other: None, map, out });
    }
}

/// Sums g' and g' h over the pixels of image `number` into its part of `sums`, where `normed` is what g is the gradient of.
///
/// # Panics
/// If there is not one image of gradients.
///
/// # Safety
/// No other task may use this image's part.
pub unsafe fn measure_gradient(
    isa: Isa,
    gradient: &[f32],
    normed: NormRelu<'_>,
    number: usize,
    sums: Disjoint<'_, f64>,
) {
    let map = normed.x.map;
    assert_eq!(gradient.len(), map.image_len(), "a gradient for every pixel");
    // SAFETY: the caller's promise; `isa` is one of this machine's.
    unsafe {
        let out = sums.part(number * 2 * map.stride, 2 * map.stride);
        isa.run(SumImage { image: gradient, other: Some(normed.image(number)), map, out });
    }
}

struct SumImage<'a> {
    image: &'a [f32],
    /// One image.
    other: Option<NormRelu<'a>>,
    map: Map,
    out: &'a mut [f64],
}

impl Kernel for SumImage<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let (pixels, stride) = (self.map.pixels(), self.map.stride);
        assert_eq!(self.image.len(), pixels * stride, "one image");
        let mut lines = [[0f32; 16]; 2];
        for channel in (0..stride).step_by(S::LANES) {
            for first in (0..pixels).step_by(BLOCK) {
                let block = first..pixels.min(first + BLOCK);
                // SAFETY: below `Isa::run` of `S`; pixels and channels lie in the image, whose length was checked; lines hold
                // the 16 lanes of the widest register.
                unsafe {
                    let sums = self.block::<S>(block, channel);
                    S::store(lines[0].as_mut_ptr(), sums[0]);
                    S::store(lines[1].as_mut_ptr(), sums[1]);
                }
                for (half, line) in lines.iter().enumerate() {
                    let out = &mut self.out[half * stride + channel..][..S::LANES];
                    for (out, &sum) in out.iter_mut().zip(line) {
                        *out += f64::from(sum);
                    }
                }
            }
        }
    }
}

impl SumImage<'_> {
    /// # Safety
    /// Below `Isa::run` of `S`; pixels and channels must lie in the image.
    #[inline(always)]
    unsafe fn block<S: Simd>(&self, pixels: std::ops::Range<usize>, channel: usize) -> [S::V; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let (mut first, mut second) = (S::splat(0.0), S::splat(0.0));
            for pixel in pixels {
                let at = pixel * self.map.stride + channel;
                let value = S::load(self.image.as_ptr().add(at));
                match self.other {
                    None => {
                        first = S::add(first, value);
                        second = S::mul_add(value, value, second);
                    }
                    Some(normed) => {
                        let scale = S::load(normed.scale.as_ptr().add(channel));
                        let shift = S::load(normed.shift.as_ptr().add(channel));
                        let h = S::mul_add(S::load(normed.x.values.as_ptr().add(at)), scale, shift);
                        let open = S::gate(value, h);
                        first = S::add(first, open);
                        second = S::mul_add(open, h, second);
                    }
                }
            }
            [first, second]
        }
    }
}

/// Turns the gradient with respect to y, in place, into that with respect to x; adds `other` where it is given.
///
/// `sums` are those of [`measure_gradient`].
///
/// # Panics
/// If the lengths of the slices disagree with the shape.
pub fn normalise_gradient(
    isa: Isa,
    gradient: &mut [f32],
    normed: NormRelu<'_>,
    sums: &ChannelSums,
    other: Option<&[f32]>,
) {
    let map = normed.x.map;
    assert!(gradient.len() == map.len() && normed.x.values.len() == map.len(), "a gradient for every pixel");
    assert!(other.is_none_or(|other| other.len() == map.len()), "another for every pixel");
    let count = (map.batch * map.pixels()) as f64;
    let mean = |which: usize| (0..map.stride).map(|c| (sums.total(map, c)[which] / count) as f32).collect::<Vec<_>>();
    let means = [mean(0), mean(1)];
    gradient.par_chunks_exact_mut(map.image_len()).enumerate().for_each(|(number, gradient)| {
        let other = other.map(|other| &other[number * map.image_len()..(number + 1) * map.image_len()]);
        let work = Normalise { gradient, normed: normed.image(number), means: &means, other };
        // SAFETY: `isa` is one of this machine's.
        unsafe { isa.run(work) };
    });
}

struct Normalise<'a> {
    gradient: &'a mut [f32],
    /// One image.
    normed: NormRelu<'a>,
    means: &'a [Vec<f32>; 2],
    other: Option<&'a [f32]>,
}

impl Kernel for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let NormRelu { x: Plain { values: x, map }, scale, shift } = self.normed;
        for pixel in (0..self.gradient.len()).step_by(map.stride) {
            for channel in (0..map.stride).step_by(S::LANES) {
                let at = pixel + channel;
                // SAFETY: below `Isa::run` of `S`; gradient, x and other hold whole pixels, the rest whole strides.
                unsafe {
                    let scale = S::load(scale.as_ptr().add(channel));
                    let shift = S::load(shift.as_ptr().add(channel));
                    let h = S::mul_add(S::load(x.as_ptr().add(at)), scale, shift);
                    let open = S::gate(S::load(self.gradient.as_ptr().add(at)), h);
                    let centred = S::sub(open, S::load(self.means[0].as_ptr().add(channel)));
                    let slope = S::mul(h, S::load(self.means[1].as_ptr().add(channel)));
                    let mut dx = S::mul(scale, S::sub(centred, slope));
                    if let Some(other) = self.other {
                        dx = S::add(dx, S::load(other.as_ptr().add(at)));
                    }
                    S::store(self.gradient.as_mut_ptr().add(at), dx);
                }
            }
        }
    }
}
