//! The public grid of scores: where the scores that everybody holds must agree to the bit, they are small integers.
//!
//! ```text
//! step = 16 / 2^B,    index = round(score / step), halves away from 0, kept within -2^(B-1) ..= 2^(B-1) - 1
//! ```
//!
//! So scores reach from -8 to just below 8, where a probability is within 0.04% of certain.

/// A grid of `2^B` scores from -8 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreGrid {
    bits: u8,
}

impl ScoreGrid {
    /// The grid of every federation whose clients recompute the server's step (downlinks `counts` and `relay`): steps
    /// of 1/256.
    pub const FINE: ScoreGrid = ScoreGrid { bits: 12 };

    /// Bits of an index.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// Distance between neighbours.
    pub fn step(self) -> f32 {
        16.0 / f32::from(1u16 << (self.bits - 1)) / 2.0
    }

    /// The largest index; the smallest is `-largest - 1`.
    pub fn largest(self) -> i32 {
        (1 << (self.bits - 1)) - 1
    }

    /// The index nearest to `score`.
    pub fn index(self, score: f32) -> i32 {
        // The quotient is exact, a power of two; the cast saturates and the clamp brings it home. What is added is just
        // below a half, so that the number before a half does not round up with it.
        let quotient = score / self.step();
        ((quotient + 0.499_999_97_f32.copysign(quotient)) as i32).clamp(-self.largest() - 1, self.largest())
    }

    /// The score of an index.
    pub fn score(self, index: i32) -> f32 {
        index as f32 * self.step()
    }

    /// The nearest score on the grid.
    pub fn round(self, score: f32) -> f32 {
        self.score(self.index(score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_and_changes_nothing_twice() {
        let grid = ScoreGrid::FINE;
        assert_eq!(grid.step(), 1.0 / 256.0);
        for score in [-100.0f32, -8.0, -1.3, -0.01, 0.0, 0.3, 4.595, 7.99, 1e30] {
            let rounded = grid.round(score);
            assert_eq!(grid.round(rounded), rounded);
            let inside = score.clamp(-8.0, 8.0 - grid.step());
            assert!((rounded - inside).abs() <= grid.step() / 2.0, "{score} to {rounded}");
        }
    }

    #[test]
    fn an_index_is_the_nearest_integer_with_halves_away_from_zero() {
        let grid = ScoreGrid::FINE;
        for index in -2047..=2047i32 {
            let quotient = index as f32 + 0.5_f32.copysign(index as f32);
            for quotient in [quotient.next_down(), quotient, quotient.next_up(), index as f32] {
                let nearest = (libm::roundf(quotient) as i32).clamp(-2048, 2047);
                assert_eq!(grid.index(quotient * grid.step()), nearest, "{quotient}");
            }
        }
        assert_eq!(grid.index(f32::NAN), 0);
        assert_eq!((grid.index(f32::INFINITY), grid.index(f32::NEG_INFINITY)), (2047, -2048));
    }
}
