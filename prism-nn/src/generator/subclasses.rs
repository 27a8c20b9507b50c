//! Subclasses: halves of the latent space that stand for halves of a class.
//!
//! ```text
//! the latent's numbers in as many equal parts as there are bits:     t_j = sum of part j / sqrt(its length)  ~  N(0, 1)
//! subclass = sum over j of 2^j [t_j > 0]                             every subclass has the same probability
//! ```
//!
//! Blends of a class's images can have the moments of the whole class, but not those of each subclass. A generator is trained to draw
//! the images of a subclass from the latents of that subclass alone. Artifacts and samplers know nothing of subclasses: a latent that
//! is drawn as usual belongs to one of them by chance.

use prism_core::{Error, Result};

/// Most bits of a subclass.
const MAX_BITS: u32 = 4;

/// How many subclasses there are: a power of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subclasses {
    bits: u32,
}

impl Subclasses {
    /// So many subclasses.
    ///
    /// # Errors
    /// [`Error::Usage`] if `count` is not 1, 2, 4, 8 or 16.
    pub fn new(count: usize) -> Result<Self> {
        match count.is_power_of_two() && count <= 1 << MAX_BITS {
            true => Ok(Subclasses { bits: count.ilog2() }),
            false => Err(Error::usage(format!("the number of subclasses is {count}; choose 1, 2, 4, 8 or 16"))),
        }
    }

    /// Number of subclasses.
    pub fn count(self) -> usize {
        1 << self.bits
    }

    /// Binary digits of a subclass's number.
    pub fn bits(self) -> usize {
        self.bits as usize
    }

    /// The subclass of a latent of at least [`Subclasses::bits`] numbers.
    pub fn of(self, latent: &[f32]) -> usize {
        (0..self.bits()).map(|bit| usize::from(self.part(latent, bit).iter().sum::<f32>() > 0.0) << bit).sum()
    }

    /// Mirrors a normal `latent` of at least [`Subclasses::bits`] numbers into `subclass`. What was normal is then normal under the
    /// condition of that subclass.
    pub fn steer(self, latent: &mut [f32], subclass: usize) {
        let differing = self.of(latent) ^ subclass;
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
    fn steering_reaches_the_subclass_and_keeps_the_length() {
        let square = |z: &[f32]| z.iter().map(|z| z * z).sum::<f32>();
        for (index, subclass) in (0..64).map(|index| (index, index as usize % 8)) {
            let (before, mut after) = (latent(index), latent(index));
            let subclasses = Subclasses::new(8).unwrap();
            subclasses.steer(&mut after, subclass);
            assert_eq!(subclasses.of(&after), subclass);
            assert!((square(&before) - square(&after)).abs() < 1e-4, "a mirror keeps lengths");
        }
    }

    #[test]
    fn latents_fall_into_all_subclasses_alike() {
        let subclasses = Subclasses::new(4).unwrap();
        let mut counts = [0; 4];
        (0..4000).for_each(|index| counts[subclasses.of(&latent(index))] += 1);
        // Five standard deviations of a count.
        assert!(counts.iter().all(|&n: &i32| (n - 1000).abs() < 137), "{counts:?}");
    }

    #[test]
    fn one_subclass_is_every_latent_as_it_is() {
        let mut z = latent(0);
        Subclasses::default().steer(&mut z, 0);
        assert_eq!((Subclasses::default().of(&z), z), (0, latent(0)));
    }

    #[test]
    fn only_powers_of_two_up_to_sixteen_are_taken() {
        assert!([1, 2, 4, 8, 16].iter().all(|&count| Subclasses::new(count).unwrap().count() == count));
        assert!([0, 3, 32].iter().all(|&count| Subclasses::new(count).is_err()));
    }
}
