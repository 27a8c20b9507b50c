//! Feature maps: `[images][rows][columns][channels]`, channels last and padded to whole registers.

use super::element::Element;
use crate::simd::Aligned;

/// Maps of some images, with a border that is always 0, so that a convolution reads past an edge without asking.
pub(super) struct Maps<E> {
    shape: MapShape,
    values: Aligned<E>,
}

/// Sizes of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapShape {
    /// Pixels along each axis.
    pub(super) side: usize,
    /// Zeros on each side.
    pub(super) border: usize,
    /// Elements from a pixel to the next.
    pub(super) stride: usize,
}

impl MapShape {
    /// Elements of one image.
    pub(super) fn image_len(&self) -> usize {
        let pitch = self.side + 2 * self.border;
        pitch * pitch * self.stride
    }
}

/// Channels of a map of `E`, padded to whole registers.
pub(super) fn stride<E: Element>(channels: usize, lanes: usize) -> usize {
    channels.next_multiple_of(lanes * E::PACK)
}

impl<E: Element> Maps<E> {
    /// Maps of zeros.
    pub(super) fn new(images: usize, shape: MapShape) -> Self {
        Maps { shape, values: Aligned::zeros(images * shape.image_len()) }
    }

    /// Where the maps are, to be shared by a team.
    pub(super) fn view(&mut self) -> MapView<E> {
        MapView { base: self.values.as_mut_ptr(), shape: self.shape }
    }
}

/// A pixel of some maps.
#[derive(Clone, Copy)]
pub(super) struct Position {
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// Maps that the threads of a team read and write, never the same place at the same time.
#[derive(Clone, Copy)]
pub(super) struct MapView<E> {
    base: *mut E,
    pub(super) shape: MapShape,
}

// SAFETY: a pointer to elements; who dereferences it answers for what other threads do.
unsafe impl<E: Send> Send for MapView<E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Sync for MapView<E> {}

impl<E: Element> MapView<E> {
    /// The first channel of a pixel; rows and columns count from the border's first.
    ///
    /// # Safety
    /// The pixel must exist.
    #[inline(always)]
    pub(super) unsafe fn bordered(&self, Position { image, row, column }: Position) -> *mut E {
        let pitch = self.shape.side + 2 * self.shape.border;
        // SAFETY: the caller promises that it lies inside the maps.
        unsafe { self.base.add(((image * pitch + row) * pitch + column) * self.shape.stride) }
    }

    /// The first channel of a pixel inside the border.
    ///
    /// # Safety
    /// The pixel must exist.
    #[inline(always)]
    pub(super) unsafe fn pixel(&self, Position { image, row, column }: Position) -> *mut E {
        let (row, column) = (row + self.shape.border, column + self.shape.border);
        // SAFETY: the caller's promise.
        unsafe { self.bordered(Position { image, row, column }) }
    }
}
