//! What several draws on the same images promise together.

use prism_core::privacy::{Adjacency, Total, Trust, Unit, epsilon_of};
use serde::{Deserialize, Serialize};

/// What a draw gives away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draw {
    /// What is protected.
    pub unit: Unit,
    /// What two neighbouring data sets differ in.
    pub adjacency: Adjacency,
    /// Whose word it rests on.
    pub trust: Trust,
    /// The guarantee of this draw alone.
    pub epsilon: f64,
    /// See `epsilon`.
    pub delta: f64,
    /// `(sensitivity / deviation)^2 / 2` of the noise.
    pub rho: f64,
}

impl Draw {
    /// Its rho where one image is replaced: that image is taken away and another one added, which moves a sum of nonnegative vectors
    /// by sqrt(2) of what one of the two does, so that rho doubles; and replacing all of a client's images replaces each of them.
    fn rho_of_replacement(&self) -> f64 {
        match (self.unit, self.adjacency) {
            (Unit::Image, Adjacency::AddRemove) => 2.0 * self.rho,
            _ => self.rho,
        }
    }
}

/// What `draws` on the same images promise together, of one image. Of neighbours that differ by an image added or removed, it says
/// something only where all draws do; otherwise it is about one image in the place of another.
pub fn total(draws: &[Draw], delta: f64) -> Total {
    let added = |draw: &Draw| draw.unit == Unit::Image && draw.adjacency == Adjacency::AddRemove;
    let (adjacency, rho) = match draws.iter().all(added) {
        true => (Adjacency::AddRemove, draws.iter().map(|draw| draw.rho).sum()),
        false => (Adjacency::ReplaceOne, draws.iter().map(Draw::rho_of_replacement).sum()),
    };
    Total { draws: draws.len(), adjacency, rho, epsilon: epsilon_of(rho, delta) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(unit: Unit, adjacency: Adjacency, rho: f64) -> Draw {
        Draw { unit, adjacency, trust: Trust::Local, epsilon: 1.0, delta: 1e-5, rho }
    }

    #[test]
    fn draws_add_up_in_one_meaning_of_neighbours() {
        let replace = draw(Unit::Image, Adjacency::ReplaceOne, 0.03);
        let add = draw(Unit::Image, Adjacency::AddRemove, 0.01);
        let client = draw(Unit::Client, Adjacency::ReplaceOne, 0.02);
        let of = |draws: &[Draw]| {
            let total = total(draws, 1e-5);
            assert_eq!(total.epsilon, epsilon_of(total.rho, 1e-5));
            (total.adjacency, (total.rho * 1e6).round())
        };
        assert_eq!(of(&[add, add]), (Adjacency::AddRemove, 20_000.0));
        assert_eq!(of(&[add, replace]), (Adjacency::ReplaceOne, 50_000.0));
        assert_eq!(of(&[replace, client]), (Adjacency::ReplaceOne, 50_000.0));
        assert_eq!(of(&[add, client]), (Adjacency::ReplaceOne, 40_000.0));
    }
}
