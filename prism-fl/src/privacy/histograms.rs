//! Where classes are divided into subclasses: every client sends histograms, and their sum has the medians.
//!
//! ```text
//! an image's  u = [ onehot(bin of a_0) ... onehot(bin of a_(b-1)) ] / sqrt(b),    a_j from 0 to 1    ([`Coefficients`])
//! y = sum over images of u (x) onehot(label)  +  discrete Gaussian where images are protected      ([`super::release`])
//! threshold of bit j in class c = where the histogram y[c][j] has as much below as above: the class's median of a_j
//! ```
//!
//! `u` has length 1 and is nowhere negative, so the sensitivities of [`super::release`] hold. The subclass of an image then
//! depends on that image and on released numbers alone, and the release of moments per subclass is a second mechanism whose
//! rho adds up with this one's (adaptive composition: [`super::accounting`]).

use prism_nn::Result;
use prism_nn::generator::Subclasses;

use super::gaussian::NoiseSource;
use super::message::{self, MessageSum};
use super::release::{NoisePlan, Sums, add_noise};
use crate::settings::privacy::Trust;
use crate::strata::{ClientData, Coefficients, Thresholds};

/// The part of the budget that goes into them: a median of thousands of images takes little.
pub const SHARE: f64 = 1.0 / 16.0;

/// Bins of a noisy histogram. Coefficients of a class lie within a tenth of their range, so that the noise of their mean, which
/// is that of the whole range, is as wide as they are at epsilon 0.2: the smallest of four subclasses of a digit then had 5% of
/// its images on average, with the histograms' medians 13%, and 18% with the exact ones (simulated on MNIST).
const NOISY_BINS: usize = 64;

/// Bins of a histogram without noise: a few images of a class share one.
const EXACT_BINS: usize = 4096;

/// The histograms that clients of one federation send.
#[derive(Clone, Copy, Debug)]
pub struct Histograms {
    /// Number of classes.
    pub classes: usize,
    /// Subclasses of each.
    pub subclasses: Subclasses,
    /// Images of all clients, at most.
    pub images: usize,
    /// The noise, where images are protected, and who adds it.
    pub noise: Option<(NoisePlan, Trust)>,
}

impl Histograms {
    fn bins(&self) -> usize {
        if self.noise.is_some() { NOISY_BINS } else { EXACT_BINS }
    }

    fn shape(&self) -> (usize, usize) {
        (self.classes, self.subclasses.bits() * self.bins())
    }

    /// What one client sends; where images are protected, noise is drawn.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn message(&self, data: &ClientData) -> Result<Vec<u8>> {
        Ok(self.encode(&self.release_by(NoiseSource::OperatingSystem, data)?))
    }

    /// A client's sums, under the noise of `source` where images are protected.
    pub(super) fn release_by(&self, source: NoiseSource, data: &ClientData) -> Result<Sums> {
        let mut sums = self.exact_sums(data);
        if let Some((plan, _)) = &self.noise {
            add_noise(&mut sums, plan, source)?;
        }
        Ok(sums)
    }

    /// The message that brings them to the server.
    pub(super) fn encode(&self, sums: &Sums) -> Vec<u8> {
        match &self.noise {
            Some((plan, Trust::Local)) => message::encode_noisy(sums, plan.share_sigma),
            Some((plan, Trust::Secagg(_))) => message::encode_ring(sums, plan.ring_bits(self.images)),
            None => message::encode_counts(sums),
        }
    }

    /// The sum of no messages.
    pub fn empty(&self) -> MessageSum {
        match &self.noise {
            Some((_, Trust::Local)) => MessageSum::of_noisy(self.shape()),
            Some((plan, Trust::Secagg(_))) => MessageSum::of_ring(self.shape(), plan.ring_bits(self.images)),
            None => MessageSum::of_counts(self.shape()),
        }
    }

    /// Each class's medians, from the sum of all messages.
    pub fn thresholds(&self, sum: MessageSum) -> Thresholds {
        sum.finish().iter().map(|class| class.chunks_exact(self.bins()).map(median).collect()).collect()
    }

    /// The sums of the vectors of a client's images, `[classes][bits * bins]`, in grid units. **Not protected.**
    pub(super) fn exact_sums(&self, data: &ClientData) -> Sums {
        let coefficients = Coefficients::new(data.dataset.image_size(), self.subclasses);
        // Truncation shortens a vector, so none gets longer than the clip.
        let of_bit = |plan: NoisePlan| (plan.clip_units as f64 / (self.subclasses.bits() as f64).sqrt()) as i64;
        let entry = self.noise.map_or(1, |(plan, _)| of_bit(plan));
        let (classes, width) = self.shape();
        let mut sums = vec![vec![0i64; width]; classes];
        for &image in &data.members {
            let class = &mut sums[data.class_of(image, classes)];
            for (bit, a) in coefficients.of(data.dataset.image(image)).into_iter().enumerate() {
                class[bit * self.bins() + bin(a, self.bins())] += entry;
            }
        }
        sums
    }
}

fn bin(a: f64, bins: usize) -> usize {
    // A number that is none goes to the first bin.
    ((a * bins as f64) as usize).min(bins - 1)
}

/// Where a histogram has as much below as above, within its bin as if that were evenly filled. Noise may let the sum cross a
/// half several times: the fullest bin in which it does is taken. Where noise leaves the class no weight, it is the middle of
/// the range.
fn median(histogram: &[i64]) -> f64 {
    // Wider than any count that a message can bring.
    let total: i128 = histogram.iter().map(|&count| i128::from(count)).sum();
    let mut below = 0i128;
    let crossings = histogram.iter().enumerate().filter_map(|(bin, &count)| {
        let missing = total as f64 / 2.0 - below as f64;
        below += i128::from(count);
        (missing >= 0.0 && missing < count as f64).then_some((count, bin as f64 + missing / count as f64))
    });
    let fullest = crossings.max_by_key(|&(count, _)| count).filter(|_| total > 0);
    fullest.map_or(0.5, |(_, place)| place / histogram.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::release::Shares;
    use super::*;
    use crate::privacy::accounting::Budget;
    use crate::settings::privacy::Adjacency;
    use crate::strata::Coefficients;

    /// The halves of 400 strokes, and all of them.
    fn strokes() -> ([ClientData; 2], ClientData) {
        let options = prism_data::LoadOptions {
            image_size: 8,
            channels: Some(1),
            limit: Some(400),
            seed: 1,
            ..Default::default()
        };
        let all = ClientData::whole(prism_data::load(prism_data::Source::Strokes, &options).unwrap());
        let half = |k: usize| ClientData { members: (200 * k..200 * k + 200).collect(), ..all.clone() };
        ([half(0), half(1)], all)
    }

    fn drawn(histograms: &Histograms, clients: &[ClientData]) -> (Thresholds, usize) {
        let mut sum = histograms.empty();
        let messages: Vec<_> = clients.iter().map(|client| histograms.message(client).unwrap()).collect();
        messages.iter().for_each(|message| sum.add(message).unwrap());
        (histograms.thresholds(sum), messages.iter().map(Vec::len).sum())
    }

    #[test]
    fn thresholds_halve_their_classes_up_to_the_noise() {
        let (clients, all) = strokes();
        let subclasses = Subclasses::new(4).unwrap();
        for noise in [Some((Trust::Local, 1)), Some((Trust::SECAGG, 2)), None] {
            // With the usual share of a usual budget forty images of a class would be lost in the noise.
            let budget = Budget::new(100.0, 1e-5).unwrap();
            let noise = noise.map(|(trust, shares)| {
                (NoisePlan::new(budget, Adjacency::REPLACE_ONE, Shares::whole(shares)).unwrap(), trust)
            });
            let histograms = Histograms { classes: 10, subclasses, images: 400, noise };
            let (values, bytes) = drawn(&histograms, &clients);
            assert!(bytes > 0);
            assert_eq!(drawn(&histograms, &clients).0 == values, histograms.noise.is_none(), "noise is drawn anew");
            // Images that the noise of a count stands for; under local noise every client's adds up.
            let deviation = histograms.noise.map_or(0.0, |(plan, trust)| {
                let clients: f64 = if trust == Trust::Local { 2.0 } else { 1.0 };
                (plan.variance() * clients).sqrt() / plan.clip_units as f64 * 2f64.sqrt()
            });
            let bins = histograms.bins() as f64;
            for (class, thresholds) in values.iter().enumerate() {
                let of_class = all.members.iter().filter(|&&image| all.class_of(image, 10) == class);
                let coefficients = Coefficients::new(8, subclasses);
                let rows: Vec<Vec<f64>> = of_class.map(|&image| coefficients.of(all.dataset.image(image))).collect();
                for (bit, threshold) in thresholds.iter().enumerate() {
                    let near = rows.iter().filter(|row| (row[bit] - threshold).abs() < 1.0 / bins).count() as f64;
                    let below = rows.iter().filter(|row| row[bit] <= *threshold).count() as f64;
                    // Five deviations of a sum of counts less half of all counts.
                    let (half, noise) = (rows.len() as f64 / 2.0, 2.5 * deviation * bins.sqrt());
                    assert!((below - half).abs() <= near + noise, "class {class}, bit {bit}: {below} of {half}");
                    assert!(noise < 0.5 * half, "or nearly any threshold would pass");
                }
            }
        }
    }

    #[test]
    fn a_median_is_found_within_its_bin_and_beside_noise() {
        let histogram = |counts: &[(usize, i64)]| {
            let mut bins = vec![0; NOISY_BINS];
            counts.iter().for_each(|&(bin, count)| bins[bin] = count);
            median(&bins) * NOISY_BINS as f64
        };
        assert_eq!(histogram(&[(3, 10), (4, 20), (9, 10)]), 4.5);
        assert_eq!(histogram(&[(3, 10), (4, 40)]), 4.375);
        assert_eq!(histogram(&[(7, 1)]), 7.5);
        // Crossed in bin 3, left again in bin 4, and crossed in bin 5, which is the fullest.
        assert_eq!(histogram(&[(3, 12), (4, -8), (5, 16)]), 5.375);
        for nothing in [&[][..], &[(5, -3)], &[(5, 3), (6, -3)], &[(5, -7), (60, 3)]] {
            assert_eq!(histogram(nothing), NOISY_BINS as f64 / 2.0, "{nothing:?}");
        }
        assert_eq!(histogram(&[(3, i64::MAX), (4, i64::MAX)]), 4.0, "sums of what a message can bring do not overflow");
    }

    #[test]
    fn bins_cover_the_range() {
        assert_eq!([0.0, 0.5, 1.0, f64::NAN, -1.0, 2.0].map(|a| bin(a, 64)), [0, 32, 63, 0, 0, 63]);
    }

    #[test]
    fn where_the_number_of_images_is_private_no_message_tells_it() {
        let (clients, _) = strokes();
        let sent = |adjacency, images| {
            let plan = NoisePlan::new(Budget::new(50.0, 1e-5).unwrap(), adjacency, Shares::whole(2)).unwrap();
            let noise = Some((plan, Trust::SECAGG));
            let histograms = Histograms { classes: 10, subclasses: Subclasses::new(4).unwrap(), images, noise };
            drawn(&histograms, &clients).1
        };
        assert_eq!(sent(Adjacency::ADD_REMOVE, 4), sent(Adjacency::ADD_REMOVE, 400));
        assert!(sent(Adjacency::REPLACE_ONE, 4) < sent(Adjacency::REPLACE_ONE, 400), "it is public there");
    }

    #[test]
    fn no_image_moves_the_sums_by_more_than_the_clip() {
        let (_, all) = strokes();
        let plan = NoisePlan::new(Budget::new(1.0, 1e-5).unwrap(), Adjacency::REPLACE_ONE, Shares::whole(1)).unwrap();
        let (noise, subclasses) = (Some((plan, Trust::Local)), Subclasses::new(8).unwrap());
        let histograms = Histograms { classes: 10, subclasses, images: 1, noise };
        let clip = plan.clip_units * plan.clip_units;
        for image in 0..50 {
            let sums = histograms.exact_sums(&ClientData { members: vec![image], ..all.clone() });
            let square: i64 = sums.iter().flatten().map(|x| x * x).sum();
            assert!(square <= clip && square > clip / 100 * 99, "image {image}: {square}");
            assert!(sums.iter().flatten().all(|&x| x >= 0));
        }
    }
}
