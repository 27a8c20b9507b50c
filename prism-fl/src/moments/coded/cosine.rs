//! The orthonormal discrete cosine transform (type II) of square maps: neighbours are alike, so that most coefficients are small.
//!
//! ```text
//! y(v, u) = sum over rows r and columns c of  B(v, r) B(u, c) x(r, c)
//! B(0, r) = sqrt(1 / S),     B(v, r) = sqrt(2 / S) cos(pi v (2 r + 1) / (2 S))
//! ```

use std::f64::consts::PI;

/// The transform of maps of one size.
#[derive(Clone, Debug)]
pub struct Cosines {
    side: usize,
    /// `B(v, r)`, row-major.
    basis: Vec<f64>,
    /// Its transpose.
    transposed: Vec<f64>,
}

impl Cosines {
    /// The transform of maps of `side` rows and columns.
    pub fn new(side: usize) -> Self {
        // Not the system's cosine: clients and server must agree to the last bit.
        let entry = |v: usize, r: usize| match v {
            0 => (1.0 / side as f64).sqrt(),
            _ => (2.0 / side as f64).sqrt() * libm::cos(PI * (v * (2 * r + 1)) as f64 / (2 * side) as f64),
        };
        let square =
            |at: &dyn Fn(usize, usize) -> f64| (0..side * side).map(|i| at(i / side, i % side)).collect::<Vec<f64>>();
        Cosines { side, basis: square(&entry), transposed: square(&|r, v| entry(v, r)) }
    }

    /// Puts the coefficients of `map` in its place.
    pub fn forward(&self, map: &mut [f64], scratch: &mut [f64]) {
        self.both_ways(map, scratch, (&self.basis, &self.transposed));
    }

    /// Puts the map of the coefficients in their place.
    pub fn inverse(&self, map: &mut [f64], scratch: &mut [f64]) {
        self.both_ways(map, scratch, (&self.transposed, &self.basis));
    }

    fn both_ways(&self, map: &mut [f64], scratch: &mut [f64], (left, right): (&[f64], &[f64])) {
        product(left, map, &mut scratch[..map.len()], self.side);
        product(&scratch[..map.len()], right, map, self.side);
    }
}

/// `out = a b` for square matrices.
fn product(a: &[f64], b: &[f64], out: &mut [f64], side: usize) {
    for (row, out) in a.chunks_exact(side).zip(out.chunks_exact_mut(side)) {
        out.fill(0.0);
        for (&factor, line) in row.iter().zip(b.chunks_exact(side)) {
            out.iter_mut().zip(line).for_each(|(sum, x)| *sum += factor * x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_comes_back_and_its_squares_are_kept() {
        for side in [1, 2, 4, 8, 32] {
            let map: Vec<f64> = (0..side * side).map(|i| ((i * 29 + 7) % 53) as f64 - 20.0).collect();
            let (mut coefficients, mut scratch) = (map.clone(), vec![0.0; side * side]);
            let cosines = Cosines::new(side);
            cosines.forward(&mut coefficients, &mut scratch);
            let squares = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>();
            assert!((squares(&map) - squares(&coefficients)).abs() < 1e-9 * squares(&map).max(1.0));
            let mean = map.iter().sum::<f64>() / (side * side) as f64;
            assert!((coefficients[0] - mean * side as f64).abs() < 1e-9, "the first is the mean times the side");
            cosines.inverse(&mut coefficients, &mut scratch);
            assert!(coefficients.iter().zip(&map).all(|(a, b)| (a - b).abs() < 1e-9), "side {side}");
        }
    }

    #[test]
    fn a_wave_has_one_coefficient() {
        let side = 8;
        let wave = |i: usize| (PI * 3.0 * (2 * (i % side) + 1) as f64 / 16.0).cos();
        let mut map: Vec<f64> = (0..64).map(wave).collect();
        Cosines::new(side).forward(&mut map, &mut [0.0; 64]);
        let large: Vec<usize> = (0..64).filter(|&i| map[i].abs() > 1e-9).collect();
        assert_eq!(large, [3], "row frequency 0, column frequency 3");
    }
}
