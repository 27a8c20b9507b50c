//! Memory for vector registers: numbers that begin on a cache line.
//!
//! A register that lies across two lines is read and written in two steps.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::prelude::*;

/// Bytes of a cache line, which the registers of every instruction set divide.
const LINE: usize = 64;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read and written as numbers")] [u8; LINE]);

/// A type of number of which every pattern of bits is a value.
///
/// # Safety
/// Every pattern of bits must be a value, and the size must divide a cache line.
pub unsafe trait Plain: Copy {}

// SAFETY: every pattern of bits is a value, and the size divides 64.
unsafe impl Plain for f32 {}
// SAFETY: every pattern of bits is a value, and the size divides 64.
unsafe impl Plain for i32 {}
// SAFETY: every pattern of bits is a value, and the size divides 64.
unsafe impl Plain for i16 {}

/// Numbers that begin on a cache line.
pub struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    numbers: PhantomData<T>,
}

impl<T: Plain> Aligned<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Aligned { lines: vec![Line([0; LINE]); len.div_ceil(LINE / size_of::<T>())], len, numbers: PhantomData }
    }
}

impl<T: Plain> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold at least `len` numbers, whose bytes may be any.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Plain + PartialEq + std::fmt::Debug>(zero: T, one: T) {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut numbers = Aligned::<T>::zeros(len);
            assert_eq!((numbers.as_ptr() as usize % LINE, &numbers[..]), (0, &vec![zero; len][..]));
            numbers.fill(one);
            assert!(numbers.iter().all(|&number| number == one));
        }
    }

    #[test]
    fn numbers_begin_on_a_cache_line() {
        check(0f32, 1.0);
        check(0i32, 1);
        check(0i16, 1);
    }
}
