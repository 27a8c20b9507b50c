//! From knots to ink: a smooth path through knots, and its rendering by distance.
//!
//! A path is a uniform Catmull-Rom spline through its knots, broken at corners and cut into short segments. A segment is
//! a capsule whose radius changes linearly from end to end; a pixel's ink is `clamp(1/2 - d / EDGE)` of its centre's
//! smallest signed distance d (in pixels) to any capsule.

use super::glyphs::Knot;

/// A point of the pen's path in the unit square, with the pen's radius there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
}

/// Segments between two knots. Seven keep the error of a curve across half a digit below a tenth of a pixel at 32x32.
const SEGMENTS: usize = 7;

/// Width in pixels over which ink fades at a stroke's edge.
const EDGE: f32 = 1.2;

/// The points (x, y) of the smooth path through `knots`, both ends included.
pub(super) fn trace(knots: &[Knot]) -> Vec<(f32, f32)> {
    let mut points = vec![(knots[0].x, knots[0].y)];
    for span in 0..knots.len() - 1 {
        let (from, to) = (knots[span], knots[span + 1]);
        // At a corner, as at an end, the neighbour beyond is the mirror image of the one before: the pen arrives straight.
        let before = if span == 0 || from.corner { mirror(to, from) } else { knots[span - 1] };
        let after = if span + 2 == knots.len() || to.corner { mirror(from, to) } else { knots[span + 2] };
        for step in 1..=SEGMENTS {
            let t = step as f32 / SEGMENTS as f32;
            let at = |p: f32, q: f32, r: f32, s: f32| {
                let linear = r - p;
                let square = 2.0 * p - 5.0 * q + 4.0 * r - s;
                let cube = 3.0 * (q - r) + s - p;
                q + 0.5 * t * (linear + t * (square + t * cube))
            };
            points.push((at(before.x, from.x, to.x, after.x), at(before.y, from.y, to.y, after.y)));
        }
    }
    points
}

/// `point` reflected at `centre`.
fn mirror(point: Knot, centre: Knot) -> Knot {
    Knot { x: 2.0 * centre.x - point.x, y: 2.0 * centre.y - point.y, corner: false }
}

/// Draws `paths` onto a black square of `size * size` bytes, ink white.
pub(super) fn draw(paths: &[Vec<Touch>], size: usize, image: &mut [u8]) {
    let mut distance = vec![f32::MAX; size * size];
    for path in paths {
        for pair in path.windows(2) {
            draw_segment(in_pixels(pair[0], size), in_pixels(pair[1], size), size, &mut distance);
        }
    }
    for (pixel, d) in image.iter_mut().zip(distance) {
        *pixel = ((0.5 - d / EDGE).clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
    }
}

/// `touch` on a canvas of `size` pixels, where the centre of the first pixel is (0, 0).
fn in_pixels(touch: Touch, size: usize) -> Touch {
    let scale = size as f32;
    // A line thinner than a pixel would lose its ink between pixel centres.
    Touch { x: touch.x * scale - 0.5, y: touch.y * scale - 0.5, radius: (touch.radius * scale).max(0.5) }
}

/// Lowers `distance` to that of the capsule from `a` to `b`, wherever it leaves ink.
fn draw_segment(a: Touch, b: Touch, size: usize, distance: &mut [f32]) {
    let reach = a.radius.max(b.radius) + EDGE / 2.0;
    let last = (size - 1) as f32;
    let span = |p: f32, q: f32| {
        let low = (p.min(q) - reach).ceil().clamp(0.0, size as f32) as usize;
        let high = (p.max(q) + reach).floor().clamp(-1.0, last) + 1.0;
        low..high as usize
    };
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let square = dx * dx + dy * dy;
    let inverse = if square > 0.0 { 1.0 / square } else { 0.0 };
    for y in span(a.y, b.y) {
        let py = y as f32 - a.y;
        for x in span(a.x, b.x) {
            let px = x as f32 - a.x;
            let t = ((px * dx + py * dy) * inverse).clamp(0.0, 1.0);
            let (ex, ey) = (px - t * dx, py - t * dy);
            let d = (ex * ex + ey * ey).sqrt() - (a.radius + t * (b.radius - a.radius));
            let pixel = &mut distance[y * size + x];
            *pixel = pixel.min(d);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_passes_its_knots_and_breaks_only_at_corners() {
        let knot = |x, y, corner| Knot { x, y, corner };
        let points = trace(&[knot(0.0, 0.0, false), knot(1.0, 0.0, true), knot(1.0, 1.0, false)]);
        assert_eq!(points.len(), 2 * SEGMENTS + 1);
        assert_eq!(points[SEGMENTS], (1.0, 0.0));
        // Both arms of a corner between ends are straight lines.
        assert!(points[..SEGMENTS].iter().all(|p| p.1.abs() < 1e-6));
        assert!(points[SEGMENTS..].iter().all(|p| (p.0 - 1.0).abs() < 1e-6));
        let smooth = trace(&[knot(0.0, 0.0, false), knot(1.0, 0.0, false), knot(1.0, 1.0, false)]);
        assert!(smooth.iter().any(|p| p.0 > 1.01), "a smooth turn overshoots");
    }

    #[test]
    fn a_horizontal_line_has_its_width_in_ink() {
        let line = |radius| [Touch { x: 0.0, y: 0.5, radius }, Touch { x: 1.0, y: 0.5, radius }].to_vec();
        let mut image = vec![0; 32 * 32];
        draw(&[line(0.0625)], 32, &mut image);
        let column: f64 = (0..32).map(|y| f64::from(image[y * 32 + 16]) / 255.0).sum();
        assert!((column - 4.0).abs() < 0.1, "a line 4 pixels wide has {column} pixels of ink");
    }

    #[test]
    fn ink_outside_the_canvas_is_cut_off() {
        let touch = |x, y| Touch { x, y, radius: 0.1 };
        let mut image = vec![0; 64];
        draw(&[vec![touch(-3.0, -3.0), touch(-2.0, 4.0)], vec![touch(5.0, 0.5), touch(9.0, 0.5)]], 8, &mut image);
        assert!(image.iter().all(|&pixel| pixel == 0));
        draw(&[vec![touch(-1.0, 0.5), touch(2.0, 0.5)]], 8, &mut image);
        assert!(image[3 * 8] > 100 && image[3 * 8 + 7] > 100);
    }
}
