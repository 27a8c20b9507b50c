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
    /// Its rho where `images` images are replaced together.
    ///
    /// * An image that is replaced is taken away and another one added, which moves a sum of nonnegative vectors by sqrt(2) of what
    ///   one of the two does, so that rho doubles.
    /// * Twice as many images move a sum twice as far, which is four times the rho.
    /// * Replacing all of a client's images replaces each of them, and `images` images may be of as many clients, each of whom
    ///   has noise of its own.
    fn rho_of_replacement(&self, images: u32) -> f64 {
        let times = (f64::from(images) / f64::from(self.adjacency.images())).powi(2);
        match (self.unit, self.adjacency) {
            (Unit::Client, _) => f64::from(images) * self.rho,
            (Unit::Image, Adjacency::Replace(_)) => times * self.rho,
            (Unit::Image, Adjacency::AddRemove(_)) => times * 2.0 * self.rho,
        }
    }
}

/// What `draws` on the same images promise together: in the meaning of neighbours that all of them have, otherwise of images in
/// the place of others, of as many together as the draw has that protects most.
pub fn total(draws: &[Draw], delta: f64) -> Total {
    let images = draws.iter().map(|draw| draw.adjacency.images()).max().unwrap_or(1);
    let added = |draw: &Draw| draw.unit == Unit::Image && draw.adjacency == Adjacency::AddRemove(images);
    let (adjacency, rho) = match draws.iter().all(added) {
        true => (Adjacency::AddRemove(images), draws.iter().map(|draw| draw.rho).sum()),
        false => (Adjacency::Replace(images), draws.iter().map(|draw| draw.rho_of_replacement(images)).sum()),
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
        let replace = draw(Unit::Image, Adjacency::REPLACE_ONE, 0.03);
        let add = draw(Unit::Image, Adjacency::ADD_REMOVE, 0.01);
        let client = draw(Unit::Client, Adjacency::REPLACE_ONE, 0.02);
        let of = |draws: &[Draw]| {
            let total = total(draws, 1e-5);
            assert_eq!(total.epsilon, epsilon_of(total.rho, 1e-5));
            (total.adjacency, (total.rho * 1e6).round())
        };
        assert_eq!(of(&[add, add]), (Adjacency::ADD_REMOVE, 20_000.0));
        assert_eq!(of(&[add, replace]), (Adjacency::REPLACE_ONE, 50_000.0));
        assert_eq!(of(&[replace, client]), (Adjacency::REPLACE_ONE, 50_000.0));
        assert_eq!(of(&[add, client]), (Adjacency::REPLACE_ONE, 40_000.0));
        let [five, any_five] = [Adjacency::Replace(5), Adjacency::AddRemove(5)].map(|a| draw(Unit::Image, a, 0.03));
        assert_eq!(of(&[five]), (Adjacency::Replace(5), 30_000.0));
        assert_eq!(of(&[any_five, any_five]), (Adjacency::AddRemove(5), 60_000.0));
        // 25 times 0.03 and of 0.01 twice, and five clients of 0.02.
        assert_eq!(of(&[five, replace]), (Adjacency::Replace(5), 780_000.0));
        assert_eq!(of(&[five, add]), (Adjacency::Replace(5), 530_000.0));
        assert_eq!(of(&[five, client]), (Adjacency::Replace(5), 130_000.0));
    }
}
