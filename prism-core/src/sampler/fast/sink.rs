//! What becomes of a layer's sums: scaling, batch norm, ReLU and skip connection in one pass, while they are in
//! registers.

use crate::sampler::element::Element;
use crate::sampler::maps::{MapView, Position};
use crate::simd::Simd;

/// Takes a layer's outputs, one register of channels at a time.
pub(super) trait Sink<E: Element>: Copy + Send + Sync {
    /// Takes the sums of the channels from `channel` on of the pixel `at`.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`; pixel and channels must be the layer's.
    unsafe fn put<S: Simd>(&self, at: Position, channel: usize, sum: E::Acc<S>);
}

/// `relu(x * scale + shift)` for each channel, as elements.
#[derive(Clone, Copy)]
pub(super) struct Activation<'a, E> {
    pub(super) to: MapView<E>,
    /// For each channel, what the sum is multiplied by, then what is added.
    pub(super) scale: &'a [f32],
    pub(super) shift: &'a [f32],
    /// The largest element.
    pub(super) limit: f32,
}

impl<E: Element> Activation<'_, E> {
    /// # Safety
    /// As for [`Sink::put`].
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, at: Position, channel: usize, x: S::V) {
        debug_assert!(channel + S::LANES <= self.scale.len());
        // SAFETY: the caller's promise; scale and shift are as long as the padded channels.
        unsafe {
            let (scale, shift) = (S::load(self.scale.as_ptr().add(channel)), S::load(self.shift.as_ptr().add(channel)));
            let y = S::max(E::affine::<S>(x, scale, shift), S::splat(0.0));
            E::write::<S>(self.to.pixel(at).add(channel), y, self.limit);
        }
    }
}

/// Inside a block: only the activation goes on.
impl<E: Element> Sink<E> for Activation<'_, E> {
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, at: Position, channel: usize, sum: E::Acc<S>) {
        // SAFETY: the caller's promise.
        unsafe { self.write::<S>(at, channel, E::to_float::<S>(sum)) }
    }
}

/// A value itself, as elements.
#[derive(Clone, Copy)]
pub(super) struct Plain<E> {
    pub(super) to: MapView<E>,
    pub(super) scale: f32,
    pub(super) limit: f32,
}

/// At the end of a block: the skip connection is added; value and activation go on.
#[derive(Clone, Copy)]
pub(super) struct BlockEnd<'a, E> {
    /// What sums are multiplied by.
    pub(super) factor: f32,
    /// The skip connection, at half the side.
    pub(super) skip: MapView<f32>,
    /// For the next block's skip connection, where there is one.
    pub(super) plain: Option<Plain<E>>,
    pub(super) activation: Activation<'a, E>,
}

impl<E: Element> Sink<E> for BlockEnd<'_, E> {
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, at: Position, channel: usize, sum: E::Acc<S>) {
        // SAFETY: the caller's promise; the skip connection has a pixel for each two by two.
        unsafe {
            let skip = S::load(self.skip.pixel(Position { row: at.row / 2, column: at.column / 2, ..at }).add(channel));
            let x = E::affine::<S>(E::to_float::<S>(sum), S::splat(self.factor), skip);
            if let Some(plain) = &self.plain {
                E::write::<S>(plain.to.pixel(at).add(channel), S::mul(x, S::splat(plain.scale)), plain.limit);
            }
            self.activation.write::<S>(at, channel, x);
        }
    }
}

/// After the first layer, whose outputs are the pixels of a map, one after another, for each image.
#[derive(Clone, Copy)]
pub(super) struct FirstEnd<'a, E> {
    /// For each image, what its sums are multiplied by.
    pub(super) factors: &'a [f32],
    pub(super) plain: Plain<E>,
    pub(super) activation: Activation<'a, E>,
}

impl<E: Element> Sink<E> for FirstEnd<'_, E> {
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, Position { image, .. }: Position, column: usize, sum: E::Acc<S>) {
        let shape = self.plain.to.shape;
        let (pixel, channel) = (column / shape.stride, column % shape.stride);
        let at = Position { image, row: pixel / shape.side, column: pixel % shape.side };
        // SAFETY: the caller's promise: as many columns as the map has elements.
        unsafe {
            let x = S::mul(E::to_float::<S>(sum), S::splat(*self.factors.get_unchecked(image)));
            let number = S::mul(x, S::splat(self.plain.scale));
            E::write::<S>(self.plain.to.pixel(at).add(channel), number, self.plain.limit);
            self.activation.write::<S>(at, channel, x);
        }
    }
}

/// The sums, scaled.
#[derive(Clone, Copy)]
pub(super) struct Scaled {
    pub(super) to: MapView<f32>,
    pub(super) factor: f32,
}

impl<E: Element> Sink<E> for Scaled {
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, at: Position, channel: usize, sum: E::Acc<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let x = S::mul(E::to_float::<S>(sum), S::splat(self.factor));
            S::store(self.to.pixel(at).add(channel), x);
        }
    }
}
