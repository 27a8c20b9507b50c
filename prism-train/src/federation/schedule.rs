//! How the learning rate falls over the rounds of a run.

/// Half a cosine from 1 to [`Schedule::END`] over a number of rounds, constant from there; without rounds, constant at 1.
///
/// It depends on the round alone, not on how many are still to come, so a run may be prolonged.
/// Source: Loshchilov and Hutter 2017, without restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Rounds over which the rate falls; 0 for a constant rate.
    pub rounds: u32,
}

impl Schedule {
    /// Where the fall ends.
    pub const END: f64 = 0.01;

    /// What the rate is multiplied by in `round`, counted from 1, after a share `done` (from 0 to 1) of its steps.
    pub fn factor(self, round: u32, done: f64) -> f64 {
        if self.rounds == 0 {
            return 1.0;
        }
        let at = ((f64::from(round) - 1.0 + done) / f64::from(self.rounds)).min(1.0);
        Self::END + (1.0 - Self::END) * 0.5 * (1.0 + (std::f64::consts::PI * at).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_from_one_to_its_end_and_stays_there() {
        let schedule = Schedule { rounds: 4 };
        assert_eq!(schedule.factor(1, 0.0), 1.0);
        assert!((schedule.factor(3, 0.0) - 0.505).abs() < 1e-12);
        assert!((schedule.factor(5, 0.0) - Schedule::END).abs() < 1e-12);
        assert_eq!(schedule.factor(50, 0.5), schedule.factor(5, 0.0));
        let all: Vec<f64> = (0..40).map(|i| schedule.factor(1 + i / 10, f64::from(i % 10) / 10.0)).collect();
        assert!(all.windows(2).all(|pair| pair[1] < pair[0]));
        assert_eq!(Schedule { rounds: 0 }.factor(9, 0.3), 1.0);
    }
}
