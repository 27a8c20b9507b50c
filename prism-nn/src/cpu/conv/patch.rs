//! Squares of pixels in registers: read from a map, spread over the products' matrices, and back.

#![expect(clippy::needless_range_loop, reason = "rows and columns of a patch are numbers first, indices second")]

use prism_core::simd::Simd;

use crate::cpu::factor::Factor;
use crate::cpu::map::Map;
use crate::cpu::scheme::SIDE;
use crate::cpu::source::Source;

/// Reads a `side x side` patch whose first pixel is `(row, column)` of the map, with zeros outside.
///
/// # Safety
/// Below `Isa::run` of `S`; the image and the channels must exist.
#[inline(always)]
pub unsafe fn patch<S: Simd, X: Source>(
    x: &X,
    map: Map,
    (image, row, column): (usize, isize, isize),
    channel: usize,
    side: usize,
) -> [[S::V; SIDE]; SIDE] {
    // SAFETY: only pixels inside the map are read.
    unsafe {
        let mut patch = [[S::splat(0.0); SIDE]; SIDE];
        for i in 0..side {
            let y = row + i as isize;
            if y < 0 || y >= map.height as isize {
                continue;
            }
            for j in 0..side {
                let at = column + j as isize;
                if at >= 0 && at < map.width as isize {
                    patch[i][j] = x.load::<S>(image, y as usize * map.width + at as usize, channel);
                }
            }
        }
        patch
    }
}

/// Stores a transformed patch: one vector in each product's matrix.
///
/// # Safety
/// Below `Isa::run` of `S`; `at` and the vector after it must lie inside every plane.
#[inline(always)]
pub unsafe fn spread<S: Simd, T: Factor>(
    patch: &[[S::V; SIDE]; SIDE],
    side: usize,
    to: *mut T,
    plane: usize,
    at: usize,
) {
    for i in 0..side {
        for j in 0..side {
            // SAFETY: the caller's promise.
            unsafe { T::store::<S>(to.add((i * side + j) * plane + at), patch[i][j]) };
        }
    }
}

/// The opposite of [`spread`], of floats.
///
/// # Safety
/// As for `spread`.
#[inline(always)]
pub unsafe fn collect<S: Simd>(side: usize, from: *const f32, plane: usize, at: usize) -> [[S::V; SIDE]; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut patch = [[S::splat(0.0); SIDE]; SIDE];
        for i in 0..side {
            for j in 0..side {
                patch[i][j] = S::load(from.add((i * side + j) * plane + at));
            }
        }
        patch
    }
}

/// Adds a patch to an image, leaving out what lies outside.
///
/// # Safety
/// Below `Isa::run` of `S`; `image` must be one of `map`, and the channels exist.
#[inline(always)]
pub unsafe fn add_patch<S: Simd>(
    patch: &[[S::V; SIDE]; SIDE],
    side: usize,
    (image, map): (&mut [f32], Map),
    (top, left): (isize, isize),
    channel: usize,
) {
    for i in 0..side {
        let y = top + i as isize;
        if y < 0 || y >= map.height as isize {
            continue;
        }
        for j in 0..side {
            let x = left + j as isize;
            if x >= 0 && x < map.width as isize {
                // SAFETY: the pixel lies in the image.
                unsafe {
                    let at = (y as usize * map.width + x as usize) * map.stride + channel;
                    let p = image.as_mut_ptr().add(at);
                    S::store(p, S::add(S::load(p), patch[i][j]));
                }
            }
        }
    }
}
