//! Styles: halves of the latent space that stand for halves of a class.
//!
//! ```text
//! the latent's numbers in as many equal parts as there are bits:     t_j = sum of part j / sqrt(its length)  ~  N(0, 1)
//! style = sum over j of 2^j [t_j > 0]                                every style has the same probability
//! ```
//!
//! Moments of a whole class are met by blends of its members; moments of each style are not. A generator is trained to draw the
//! images of a style from that style's latents alone. Nothing else knows of styles: a latent drawn as ever is of one style or
//! another by chance, so artifacts and samplers are the same as without.

use prism_core::{Error, Result};

/// Most bits of a style.
const MAX_BITS: u32 = 4;

/// How many styles there are: a power of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Styles {
    bits: u32,
}

impl Styles {
    /// So many styles.
    ///
    /// # Errors
    /// [`Error::Usage`] if `count` is not 1, 2, 4, 8 or 16.
    pub fn new(count: usize) -> Result<Self> {
        match count.is_power_of_two() && count <= 1 << MAX_BITS {
            true => Ok(Styles { bits: count.ilog2() }),
            false => Err(Error::usage(format!("--styles is {count}; choose 1, 2, 4, 8 or 16"))),
        }
    }

    /// Number of styles.
    pub fn count(self) -> usize {
        1 << self.bits
    }

    /// Binary digits of a style's number.
    pub fn bits(self) -> usize {
        self.bits as usize
    }

    /// The style of a latent of at least [`Styles::bits`] numbers.
    pub fn of(self, latent: &[f32]) -> usize {
        (0..self.bits()).map(|bit| usize::from(self.part(latent, bit).iter().sum::<f32>() > 0.0) << bit).sum()
    }

    /// Mirrors a normal `latent` of at least [`Styles::bits`] numbers into `style`. What was normal is then normal under the
    /// condition of that style.
    pub fn steer(self, latent: &mut [f32], style: usize) {
        let differing = self.of(latent) ^ style;
        for bit in (0..self.bits()).filter(|bit| differing >> bit & 1 == 1) {
            let part = self.part_mut(latent, bit);
            let twice = 2.0 * part.iter().sum::<f32>() / part.len() as f32;
            part.iter_mut().for_each(|z| *z -= twice);
        }
    }

    fn part(self, latent: &[f32], bit: usize) -> &[f32] {
        let len = latent.len() / self.bits();
        &latent[bit * len..][..len]
    }

    fn part_mut(self, latent: &mut [f32], bit: usize) -> &mut [f32] {
        let len = latent.len() / self.bits();
        &mut latent[bit * len..][..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_core::{StreamId, stream::Purpose};

    fn latent(index: u64) -> Vec<f32> {
        let mut latent = vec![0.0; 13];
        StreamId::new(1, Purpose::Test).index(index).open().fill_normal(&mut latent);
        latent
    }

    #[test]
    fn steering_reaches_the_style_and_keeps_the_length() {
        let square = |z: &[f32]| z.iter().map(|z| z * z).sum::<f32>();
        for (index, style) in (0..64).map(|index| (index, index as usize % 8)) {
            let (before, mut after) = (latent(index), latent(index));
            let styles = Styles::new(8).unwrap();
            styles.steer(&mut after, style);
            assert_eq!(styles.of(&after), style);
            assert!((square(&before) - square(&after)).abs() < 1e-4, "a mirror keeps lengths");
        }
    }

    #[test]
    fn latents_fall_into_all_styles_alike() {
        let styles = Styles::new(4).unwrap();
        let mut counts = [0; 4];
        (0..4000).for_each(|index| counts[styles.of(&latent(index))] += 1);
        // Five standard deviations of a count.
        assert!(counts.iter().all(|&n: &i32| (n - 1000).abs() < 137), "{counts:?}");
    }

    #[test]
    fn one_style_is_every_latent_as_it_is() {
        let mut z = latent(0);
        Styles::default().steer(&mut z, 0);
        assert_eq!((Styles::default().of(&z), z), (0, latent(0)));
    }

    #[test]
    fn only_powers_of_two_up_to_sixteen_are_taken() {
        assert!([1, 2, 4, 8, 16].iter().all(|&count| Styles::new(count).unwrap().count() == count));
        assert!([0, 3, 32].iter().all(|&count| Styles::new(count).is_err()));
    }
}
