//! Where a convolution's numbers come from and go to: what would be a pass of its own over a feature map happens while a
//! number is in a register anyway.

use prism_core::simd::Simd;

use super::map::Map;
use super::share::Disjoint;

/// A feature map to read.
pub trait Source: Copy + Send + Sync {
    /// A vector of channels from `channel` on of pixel number `pixel` of `image`.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`; the pixel and the vector must exist.
    unsafe fn load<S: Simd>(&self, image: usize, pixel: usize, channel: usize) -> S::V;
}

/// The numbers as they are.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// The map's floats.
    pub values: &'a [f32],
    /// Their shape.
    pub map: Map,
}

impl Plain<'_> {
    #[inline(always)]
    fn at(&self, image: usize, pixel: usize, channel: usize) -> usize {
        image * self.map.image_len() + pixel * self.map.stride + channel
    }
}

impl Source for Plain<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, image: usize, pixel: usize, channel: usize) -> S::V {
        // SAFETY: the caller promises that the vector exists.
        unsafe { S::load(self.values.as_ptr().add(self.at(image, pixel, channel))) }
    }
}

/// `max(0, scale * x + shift)` per channel: a batch norm and its ReLU.
#[derive(Clone, Copy, Debug)]
pub struct NormRelu<'a> {
    /// What is normalised.
    pub x: Plain<'a>,
    /// `1 / sqrt(variance + epsilon)`, one a stored channel.
    pub scale: &'a [f32],
    /// `-mean / sqrt(variance + epsilon)`.
    pub shift: &'a [f32],
}

impl NormRelu<'_> {
    /// One of the images.
    pub fn image(self, number: usize) -> Self {
        let map = self.x.map;
        let values = &self.x.values[number * map.image_len()..(number + 1) * map.image_len()];
        NormRelu { x: Plain { values, map: Map { batch: 1, ..map } }, ..self }
    }
}

impl Source for NormRelu<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, image: usize, pixel: usize, channel: usize) -> S::V {
        // SAFETY: the caller promises that the vector exists; scale and shift have one number a stored channel.
        unsafe {
            let x = self.x.load::<S>(image, pixel, channel);
            let scale = S::load(self.scale.as_ptr().add(channel));
            let shift = S::load(self.shift.as_ptr().add(channel));
            S::max(S::mul_add(x, scale, shift), S::splat(0.0))
        }
    }
}

/// The gradient of a ReLU's input where its output `y` is also a feature of the moment loss:
/// `(upstream + shift + slope * y) [y > 0]`.
#[derive(Clone, Copy, Debug)]
pub struct FeatureGradient<'a> {
    /// The ReLU's output.
    pub y: Plain<'a>,
    /// Gradient from the layers above; absent above the last.
    pub upstream: Option<&'a [f32]>,
    /// The loss's gradient is `shift + slope * y`; `[rows, features of an image]`.
    pub shift: &'a [f32],
    /// See `shift`; none where that is the gradient.
    pub slope: Option<&'a [f32]>,
    /// Each image's row.
    pub rows: &'a [usize],
}

impl Source for FeatureGradient<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, image: usize, pixel: usize, channel: usize) -> S::V {
        // SAFETY: the caller promises that the vector exists; the coefficients have one number a feature of each group.
        unsafe {
            let feature = self.y.at(*self.rows.get_unchecked(image), pixel, channel);
            let y = self.y.load::<S>(image, pixel, channel);
            let mut gradient = S::load(self.shift.as_ptr().add(feature));
            if let Some(slope) = self.slope {
                gradient = S::mul_add(y, S::load(slope.as_ptr().add(feature)), gradient);
            }
            if let Some(upstream) = self.upstream {
                gradient = S::add(gradient, S::load(upstream.as_ptr().add(self.y.at(image, pixel, channel))));
            }
            S::gate(gradient, y)
        }
    }
}

/// A feature map to write.
pub trait Sink: Copy + Send + Sync {
    /// Takes a vector of channels from `channel` on of the pixel at `row`, `column` of `image`.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`; the pixel and the vector must exist, and no other task may write them.
    unsafe fn store<S: Simd>(&self, place: (usize, usize, usize), channel: usize, value: S::V);
}

/// Stores the numbers as they are.
#[derive(Clone, Copy)]
pub struct Store<'a> {
    /// The map's floats.
    pub values: Disjoint<'a, f32>,
    /// Their shape.
    pub map: Map,
}

impl Store<'_> {
    #[inline(always)]
    fn at(&self, (image, row, column): (usize, usize, usize), channel: usize) -> usize {
        ((image * self.map.height + row) * self.map.width + column) * self.map.stride + channel
    }
}

impl Sink for Store<'_> {
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, place: (usize, usize, usize), channel: usize, value: S::V) {
        // SAFETY: the caller's promise.
        unsafe { S::store(self.values.at(self.at(place, channel)), value) }
    }
}

/// Stores `max(0, value + bias)`.
#[derive(Clone, Copy)]
pub struct BiasRelu<'a> {
    /// Where to.
    pub store: Store<'a>,
    /// One number a stored channel.
    pub bias: &'a [f32],
}

impl Sink for BiasRelu<'_> {
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, place: (usize, usize, usize), channel: usize, value: S::V) {
        // SAFETY: the caller's promise; there is a bias for every stored channel.
        unsafe {
            let sum = S::add(value, S::load(self.bias.as_ptr().add(channel)));
            self.store.store::<S>(place, channel, S::max(sum, S::splat(0.0)));
        }
    }
}

/// Stores `value + other`, the other map being half as high and wide: a residual sum with a doubled skip.
#[derive(Clone, Copy)]
pub struct AddDoubled<'a> {
    /// Where to.
    pub store: Store<'a>,
    /// The smaller map's floats, of the same channels.
    pub other: &'a [f32],
}

impl Sink for AddDoubled<'_> {
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, place: (usize, usize, usize), channel: usize, value: S::V) {
        let (image, row, column) = place;
        let Map { height, width, stride, .. } = self.store.map;
        let pixel = (image * (height / 2) + row / 2) * (width / 2) + column / 2;
        // SAFETY: the caller's promise; the smaller map has a pixel for every 2x2 of this one's.
        unsafe {
            let other = S::load(self.other.as_ptr().add(pixel * stride + channel));
            self.store.store::<S>(place, channel, S::add(value, other));
        }
    }
}
