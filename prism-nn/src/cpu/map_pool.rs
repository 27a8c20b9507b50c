//! Maximum pooling of 2x2 squares and sums over them, on channels-last [`Map`]s.

use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use super::map::Map;

/// The shape of `map` after pooling: an odd last row or column is left out.
pub fn halved(map: Map) -> Map {
    Map { height: map.height / 2, width: map.width / 2, ..map }
}

/// Writes the maximum of each 2x2 square of `x`, a `map`, to `y`.
///
/// # Panics
/// If the lengths of the slices disagree with the shape.
pub fn max_pool(isa: Isa, x: &[f32], map: Map, y: &mut [f32]) {
    squares(isa, Task::Maximum, x, map, y);
}

/// Writes the sum of each 2x2 square of `x`, a `map`, to `y`: the gradient of nearest-neighbour doubling.
///
/// # Panics
/// If the lengths of the slices disagree with the shape.
pub fn sum_pool(isa: Isa, x: &[f32], map: Map, y: &mut [f32]) {
    squares(isa, Task::Sum, x, map, y);
}

/// Writes the gradient of [`max_pool`] to `dx`: the first maximum of a square, row by row, receives all of it.
///
/// # Panics
/// If the lengths of the slices disagree with the shape.
pub fn max_pool_gradient(isa: Isa, [x, y, dy]: [&[f32]; 3], map: Map, dx: &mut [f32]) {
    let small = halved(map);
    assert!(x.len() == map.len() && dx.len() == map.len(), "a gradient for every pixel");
    assert!(y.len() == small.len() && dy.len() == small.len(), "a gradient for every square");
    if map.is_empty() {
        return;
    }
    dx.par_chunks_exact_mut(map.image_len()).enumerate().for_each(|(image, dx)| {
        let (from, small_from) = (image * map.image_len(), image * small.image_len());
        let work = PoolGradient {
            x: &x[from..from + map.image_len()],
            y: &y[small_from..small_from + small.image_len()],
            dy: &dy[small_from..small_from + small.image_len()],
            map,
            dx,
        };
        // SAFETY: `isa` is one of this machine's.
        unsafe { isa.run(work) };
    });
}

#[derive(Clone, Copy, PartialEq)]
enum Task {
    Maximum,
    Sum,
}

fn squares(isa: Isa, task: Task, x: &[f32], map: Map, y: &mut [f32]) {
    let small = halved(map);
    assert!(x.len() == map.len() && y.len() == small.len(), "one number for every square");
    if small.is_empty() {
        return;
    }
    y.par_chunks_exact_mut(small.image_len()).zip(x.par_chunks_exact(map.image_len())).for_each(|(y, x)| {
        // SAFETY: `isa` is one of this machine's.
        unsafe { isa.run(Squares { task, x, map, y }) };
    });
}

/// Where the four pixels of a square of `map` begin, row by row.
#[inline(always)]
fn corners(map: Map, row: usize, column: usize) -> [usize; 4] {
    let at = |row: usize, column: usize| (row * map.width + column) * map.stride;
    [at(2 * row, 2 * column), at(2 * row, 2 * column + 1), at(2 * row + 1, 2 * column), at(2 * row + 1, 2 * column + 1)]
}

struct Squares<'a> {
    task: Task,
    x: &'a [f32],
    map: Map,
    y: &'a mut [f32],
}

impl Kernel for Squares<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let small = halved(self.map);
        for (pixel, y) in self.y.chunks_exact_mut(small.stride).enumerate() {
            let corners = corners(self.map, pixel / small.width, pixel % small.width);
            for channel in (0..small.stride).step_by(S::LANES) {
                // SAFETY: below `Isa::run` of `S`; the square lies in the image.
                unsafe {
                    let mut four = [S::splat(0.0); 4];
                    for (x, corner) in four.iter_mut().zip(corners) {
                        *x = S::load(self.x.as_ptr().add(corner + channel));
                    }
                    let result = match self.task {
                        Task::Maximum => S::max(S::max(four[0], four[1]), S::max(four[2], four[3])),
                        Task::Sum => S::add(S::add(four[0], four[1]), S::add(four[2], four[3])),
                    };
                    S::store(y.as_mut_ptr().add(channel), result);
                }
            }
        }
    }
}

struct PoolGradient<'a> {
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    map: Map,
    dx: &'a mut [f32],
}

impl Kernel for PoolGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        let small = halved(self.map);
        if small.height * 2 < self.map.height || small.width * 2 < self.map.width {
            self.dx.fill(0.0);
        }
        for (pixel, (y, dy)) in self.y.chunks_exact(small.stride).zip(self.dy.chunks_exact(small.stride)).enumerate() {
            let corners = corners(self.map, pixel / small.width, pixel % small.width);
            for (channel, (&y, &dy)) in y.iter().zip(dy).enumerate() {
                let mut left = dy;
                for corner in corners {
                    let found = self.x[corner + channel] == y;
                    self.dx[corner + channel] = if found { left } else { 0.0 };
                    left = if found { 0.0 } else { left };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_pooled_and_the_first_maximum_receives_the_gradient() {
        for isa in Isa::available() {
            let map = Map::new(2, (3, 4), 1, isa.lanes());
            let image = [1., 5., 5., 0., 5., 0., 0., 5., 9., 9., 9., 9.];
            let mut x = vec![0.0; map.len()];
            for (pixel, value) in x.chunks_exact_mut(map.stride).zip(image.into_iter().cycle()) {
                pixel[0] = value;
            }
            let small = halved(map);
            let (mut y, mut sums, mut dx) = (vec![7.0; small.len()], vec![7.0; small.len()], vec![7.0; map.len()]);
            max_pool(isa, &x, map, &mut y);
            sum_pool(isa, &x, map, &mut sums);
            let first = |values: &[f32], map: Map| values.iter().step_by(map.stride).copied().collect::<Vec<_>>();
            assert_eq!(first(&y, small), [5., 5., 5., 5.]);
            assert_eq!(first(&sums, small), [11., 10., 11., 10.]);
            let dy: Vec<f32> = (0..small.len()).map(|i| (i / small.stride + 1) as f32).collect();
            max_pool_gradient(isa, [&x, &y, &dy], map, &mut dx);
            let expected = [0., 1., 2., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 3., 4.];
            assert_eq!(first(&dx, map)[..15], expected);
        }
    }
}
