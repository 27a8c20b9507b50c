//! Exponentials of whole slices at a time, a few units in the last place from exact.

/// Numbers worked on together: a multiple of every register.
pub const BLOCK: usize = 16;

/// `exp(x)` for x from -87 to 88; others are taken to the nearer end.
///
/// With n the integer nearest `x / ln 2` and r the rest, `exp(x) = 2^n exp(r)`, and a polynomial gives `exp(r)` for
/// |r| <= ln(2) / 2 to 2e-8.
#[inline(always)]
pub fn exp(x: [f32; BLOCK]) -> [f32; BLOCK] {
    // Adding this leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, of which the first has few bits, so that n times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let mut y = [0.0; BLOCK];
    for (y, x) in y.iter_mut().zip(x) {
        let x = x.clamp(-87.0, 88.0);
        let shifted = x * core::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (x - n * LN2_HIGH) - n * LN2_LOW;
        let p = 1.0 / 5040.0;
        let p = p * r + 1.0 / 720.0;
        let p = p * r + 1.0 / 120.0;
        let p = p * r + 1.0 / 24.0;
        let p = p * r + 1.0 / 6.0;
        let p = p * r + 0.5;
        let p = p * r + 1.0;
        let p = p * r + 1.0;
        // The exponent's bits, shifted out of `shifted`'s lowest ones.
        let scale = f32::from_bits(shifted.to_bits().wrapping_add(127).wrapping_shl(23));
        *y = p * scale;
    }
    y
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid(x: [f32; BLOCK]) -> [f32; BLOCK] {
    let mut y = exp(x.map(|x| -x));
    for y in &mut y {
        *y = 1.0 / (1.0 + *y);
    }
    y
}

/// `tanh(x)`, to 2e-7 absolutely.
#[inline(always)]
pub fn tanh(x: [f32; BLOCK]) -> [f32; BLOCK] {
    let mut y = exp(x.map(|x| 2.0 * x));
    for y in &mut y {
        *y = 1.0 - 2.0 / (1.0 + *y);
    }
    y
}

/// `ln(1 + x)` for x from 0 to 1, to 3e-7 absolutely.
///
/// With s = x / (2 + x), at most 1/3, it is twice the series `s + s^3 / 3 + s^5 / 5 + ...` of the inverse hyperbolic
/// tangent.
#[inline(always)]
pub fn ln_1p(x: [f32; BLOCK]) -> [f32; BLOCK] {
    let mut y = x;
    for y in &mut y {
        let s = *y / (2.0 + *y);
        let t = s * s;
        let p = 1.0 / 11.0;
        let p = p * t + 1.0 / 9.0;
        let p = p * t + 1.0 / 7.0;
        let p = p * t + 1.0 / 5.0;
        let p = p * t + 1.0 / 3.0;
        *y = 2.0 * (s + s * t * p);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(range: std::ops::Range<i32>, scale: f32, mut check: impl FnMut(f32, [f32; 3])) {
        for i in range {
            let x = i as f32 * scale;
            check(x, [exp([x; BLOCK])[3], sigmoid([x; BLOCK])[5], tanh([x; BLOCK])[9]]);
        }
    }

    #[test]
    fn exponentials_are_within_a_few_units_in_the_last_place() {
        each(-8600..8700, 0.01, |x, [e, _, _]| {
            let exact = f64::from(x).exp();
            assert!((f64::from(e) - exact).abs() < 2.5e-7 * exact, "{x}: {e}");
        });
    }

    #[test]
    fn logarithms_follow() {
        for i in 0..=1000 {
            let x = i as f32 / 1000.0;
            let (found, exact) = (ln_1p([x; BLOCK])[7], f64::from(x).ln_1p());
            assert!((f64::from(found) - exact).abs() < 3e-7, "{x}: {found}");
        }
    }

    #[test]
    fn sigmoids_and_hyperbolic_tangents_follow() {
        each(-3000..3000, 0.01, |x, [_, s, t]| {
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(s) - exact).abs() < 3e-7 * exact, "{x}: {s}");
            assert!((f64::from(t) - f64::from(x).tanh()).abs() < 2e-7, "{x}: {t}");
        });
        each(-2..3, 1e9, |x, [_, s, t]| {
            assert_eq!(t, if x == 0.0 { 0.0 } else { x.signum() });
            assert!((0.0..=1.0).contains(&s));
        });
    }
}
