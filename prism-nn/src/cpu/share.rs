//! One output slice written by several tasks, each in places of its own.

use std::marker::PhantomData;

/// A mutable slice that tasks may write to at the same time, as long as no two touch the same element.
#[derive(Clone, Copy)]
pub struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `part`, whose caller promises that parts in use at the same time do not overlap.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Shares `slice` for as long as it is borrowed.
    pub fn new(slice: &'a mut [T]) -> Self {
        Disjoint { start: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// Elements `at..at + len`.
    ///
    /// # Panics
    /// If they are not in the slice.
    ///
    /// # Safety
    /// No two parts in use at the same time may overlap.
    pub unsafe fn part(&self, at: usize, len: usize) -> &'a mut [T] {
        assert!(at <= self.len && len <= self.len - at, "a part must lie inside the shared slice");
        // SAFETY: the range lies in the slice, and nobody else uses it by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }

    /// The address of element `at`, or beyond the slice's end.
    #[inline(always)]
    pub fn at(&self, at: usize) -> *mut T {
        self.start.wrapping_add(at)
    }
}
