//! How the learning rate and the bias on the gradient of the last tanh fall over the rounds of a run.

/// What both are multiplied by, over a number of rounds; without rounds, 1.
///
/// It depends on the round alone, not on how many are still to come, so a run may be prolonged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Rounds over which the rate falls; 0 for constants.
    pub rounds: u32,
}

impl Schedule {
    /// Where the fall of the rate ends.
    pub const END: f64 = 0.01;

    /// The share of the rounds after which the bias is 0: black backgrounds turn black again in those that are left.
    pub const BIAS_ENDS: f64 = 0.5;

    /// What the rate is multiplied by in `round`, counted from 1, after a share `done` (from 0 to 1) of its steps: half a cosine from 1 to
    /// [`Schedule::END`], constant from there.
    /// Source: Loshchilov and Hutter 2017, without restarts.
    pub fn rate(self, round: u32, done: f64) -> f64 {
        let at = self.at(round, done);
        Self::END + (1.0 - Self::END) * 0.5 * (1.0 + (std::f64::consts::PI * at).cos())
    }

    /// What the bias on the tanh's gradient is multiplied by, likewise: a line from 1 to 0 at [`Schedule::BIAS_ENDS`].
    pub fn grad_bias(self, round: u32, done: f64) -> f64 {
        (1.0 - self.at(round, done) / Self::BIAS_ENDS).max(0.0)
    }

    /// The share of the rounds that is over, at most 1; 0 if nothing falls.
    fn at(self, round: u32, done: f64) -> f64 {
        match self.rounds {
            0 => 0.0,
            rounds => ((f64::from(round) - 1.0 + done) / f64::from(rounds)).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_from_one_to_its_end_and_stays_there() {
        let schedule = Schedule { rounds: 4 };
        assert_eq!(schedule.rate(1, 0.0), 1.0);
        assert!((schedule.rate(3, 0.0) - 0.505).abs() < 1e-12);
        assert!((schedule.rate(5, 0.0) - Schedule::END).abs() < 1e-12);
        assert_eq!(schedule.rate(50, 0.5), schedule.rate(5, 0.0));
        let all: Vec<f64> = (0..40).map(|i| schedule.rate(1 + i / 10, f64::from(i % 10) / 10.0)).collect();
        assert!(all.windows(2).all(|pair| pair[1] < pair[0]));
        assert_eq!(Schedule { rounds: 0 }.rate(9, 0.3), 1.0);
    }

    #[test]
    fn the_gradient_has_no_bias_in_the_second_half_of_the_rounds() {
        let schedule = Schedule { rounds: 6 };
        assert_eq!(schedule.grad_bias(1, 0.0), 1.0);
        assert!((schedule.grad_bias(2, 0.5) - 0.5).abs() < 1e-12);
        assert!((schedule.grad_bias(3, 0.5) - 1.0 / 6.0).abs() < 1e-12);
        for (round, done) in [(4, 0.0), (5, 0.5), (6, 0.9), (40, 0.0)] {
            assert_eq!(schedule.grad_bias(round, done), 0.0);
        }
        assert_eq!(Schedule { rounds: 0 }.grad_bias(9, 0.3), 1.0);
    }
}
