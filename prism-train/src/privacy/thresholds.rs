//! Where classes are parted into styles, under differential privacy: a release of its own before that of the moments.
//!
//! ```text
//! an image's  u = [ onehot(bin of a_0) ... onehot(bin of a_(b-1)) ] / sqrt(b),    a_j from 0 to 1 in 64 bins    ([`Coefficients`])
//! y = sum over images of u (x) onehot(label)  +  discrete Gaussian                                            ([`super::release`])
//! threshold of bit j in class c = where the histogram y[c][j] has as much below as above: the class's noisy median of a_j
//! ```
//!
//! `u` has length 1 and is nowhere negative, so the sensitivities of [`super::release`] hold. The style of an image then
//! depends on that image and on released numbers alone, and the release of moments per style is a second mechanism whose rho
//! adds up with this one's (adaptive composition: [`super::accounting`]).

use std::fs;
use std::path::Path;

use prism_core::{Error, file};
use prism_nn::Result;
use prism_nn::generator::Styles;
use serde::{Deserialize, Serialize};

use super::gaussian::NoiseSource;
use super::message;
use super::release::{NoisePlan, Sums, add_noise};
use super::settings::Trust;
use crate::data::Dataset;
use crate::groups::Coefficients;

/// The part of the budget that goes into them: a median of thousands of images takes little.
pub const SHARE: f64 = 1.0 / 16.0;

/// Bins of a histogram. Coefficients of a class lie within a tenth of their range, so that the noise of their mean, which is that of
/// the whole range, is as wide as they are at epsilon 0.2: the smallest of four styles of a digit then had 5% of its images on average,
/// with the histograms' medians 13%, and 18% with the exact ones (simulated on MNIST, outside the program).
const BINS: usize = 64;

/// Most bytes that a file of thresholds may have: room for those of as many classes as a folder may have, several times over.
const MAX_BYTES: u64 = 1 << 20;

/// The thresholds of a run, and what they were drawn for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Digest of the data set and name of the mechanism; thresholds under another key are never used.
    pub key: String,
    /// `[classes][bits]`
    pub values: Vec<Vec<f64>>,
    /// Bytes that clients sent for them.
    pub sent: u64,
}

impl Thresholds {
    /// Those that were drawn before and saved at `path`, if any, for so many classes and styles.
    ///
    /// # Errors
    /// If the file cannot be read, or is not one of this key and shape.
    pub fn load(path: &Path, key: &str, (classes, styles): (usize, Styles)) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let text = file::read_bounded(path, MAX_BYTES)?;
        let refuse = |why: String| Error::corrupt(format!("style thresholds {}", path.display()), why);
        let found: Thresholds = serde_json::from_slice(&text).map_err(|e| refuse(e.to_string()))?;
        let fits = found.values.len() == classes && found.values.iter().all(|class| class.len() == styles.bits());
        if found.key != key || !fits {
            return Err(refuse("they were drawn on other images or under other privacy; start a new run".into()).into());
        }
        Ok(Some(found))
    }

    /// Writes them to `path`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
        }
        Ok(file::write_atomic(path, |out| Ok(serde_json::to_writer_pretty(out, self)?))?)
    }
}

/// Coordinates of a release for so many classes.
pub fn dimensions(classes: usize, styles: Styles) -> usize {
    classes * of_class(styles)
}

/// Coordinates of one class.
fn of_class(styles: Styles) -> usize {
    styles.bits() * BINS
}

/// Draws the thresholds of `classes` classes from the images of all clients, and says how many bytes these sent.
///
/// # Errors
/// If there is no randomness.
pub fn draw(
    data: &Dataset,
    members: &[Vec<usize>],
    (classes, styles): (usize, Styles),
    (noise, trust): (&NoisePlan, Trust),
) -> Result<(Vec<Vec<f64>>, u64)> {
    let images: usize = members.iter().map(Vec::len).sum();
    let ring_bits = noise.ring_bits(images);
    let shape = (classes, of_class(styles));
    let messages = members.iter().map(|members| -> Result<Vec<u8>> {
        let mut sums = exact_sums(data, members, (classes, styles), noise.clip_units);
        add_noise(&mut sums, noise, NoiseSource::OperatingSystem)?;
        Ok(match trust {
            Trust::Local => message::encode_noisy(&sums, noise.share_sigma),
            Trust::Secagg => message::encode_ring(&sums, ring_bits),
        })
    });
    let messages = messages.collect::<Result<Vec<_>>>()?;
    let sums = match trust {
        Trust::Secagg => message::sum_ring(&messages, ring_bits, shape)?,
        Trust::Local => message::sum_noisy(&messages, shape)?,
    };
    Ok((medians(&sums), messages.iter().map(|message| message.len() as u64).sum()))
}

/// The sums of the vectors of the images `members`, `[classes][bits * BINS]`, in grid units. **Not protected.**
fn exact_sums(data: &Dataset, members: &[usize], (classes, styles): (usize, Styles), clip_units: i64) -> Sums {
    let labels = data.labels().filter(|_| classes > 1);
    let coefficients = Coefficients::new(data, styles);
    // Truncation shortens a vector, so none gets longer than the clip.
    let entry = (clip_units as f64 / (styles.bits() as f64).sqrt()) as i64;
    let mut sums = vec![vec![0i64; of_class(styles)]; classes];
    for &image in members {
        let class = &mut sums[labels.map_or(0, |labels| usize::from(labels[image]))];
        for (bit, a) in coefficients.of(data.image(image)).into_iter().enumerate() {
            class[bit * BINS + bin(a)] += entry;
        }
    }
    sums
}

fn bin(a: f64) -> usize {
    // A number that is none goes to the first bin.
    ((a * BINS as f64) as usize).min(BINS - 1)
}

/// Each class's noisy medians, `[classes][bits]`.
fn medians(sums: &Sums) -> Vec<Vec<f64>> {
    sums.iter().map(|class| class.chunks_exact(BINS).map(median).collect()).collect()
}

/// Where a noisy histogram has as much below as above, within its bin as if that were evenly filled. Noise may let the sum cross a
/// half several times: the fullest bin in which it does is taken. Where noise leaves the class no weight, it is the middle of the range.
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
    fullest.map_or(0.5, |(_, place)| place / BINS as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::accounting::{Accountant, Budget};
    use crate::privacy::settings::Adjacency;

    fn strokes() -> Dataset {
        let options = crate::data::LoadOptions {
            data_dir: None,
            image_size: 8,
            channels: Some(1),
            limit: Some(400),
            split: crate::data::Split::Train,
            seed: 1,
        };
        crate::data::load("strokes".parse().unwrap(), &options).unwrap()
    }

    #[test]
    fn thresholds_halve_their_classes_up_to_the_noise() {
        let (data, styles) = (strokes(), Styles::new(4).unwrap());
        let classes = data.classes();
        let members: Vec<Vec<usize>> = (0..2).map(|k| (200 * k..200 * k + 200).collect()).collect();
        for (trust, shares) in [(Trust::Local, 1), (Trust::Secagg, 2)] {
            // With the usual share of a usual budget forty images of a class would drown.
            let budget = Budget::new(100.0, 1e-5, Accountant::Gaussian).unwrap();
            let plan = NoisePlan::new(budget, Adjacency::ReplaceOne, shares, dimensions(classes, styles)).unwrap();
            let (values, bytes) = draw(&data, &members, (classes, styles), (&plan, trust)).unwrap();
            assert!(bytes > 0);
            let (again, _) = draw(&data, &members, (classes, styles), (&plan, trust)).unwrap();
            assert_ne!(values, again, "noise is drawn anew");
            // Images that the noise of a count stands for; under local noise every client's adds up.
            let clients = if trust == Trust::Local { members.len() } else { 1 };
            let noise = (plan.variance() * clients as f64).sqrt() / plan.clip_units as f64 * 2f64.sqrt();
            for (class, thresholds) in values.iter().enumerate() {
                let of_class = (0..400).filter(|&i| usize::from(data.labels().unwrap()[i]) == class);
                let rows: Vec<Vec<f64>> =
                    of_class.map(|image| Coefficients::new(&data, styles).of(data.image(image))).collect();
                for (bit, threshold) in thresholds.iter().enumerate() {
                    let near = |a: f64| (a - threshold).abs() < 1.0 / BINS as f64;
                    let (below, near) = (
                        rows.iter().filter(|row| row[bit] <= *threshold).count() as f64,
                        rows.iter().filter(|row| near(row[bit])).count() as f64,
                    );
                    // Five deviations of a sum of counts less half of all counts.
                    let (half, noise) = (rows.len() as f64 / 2.0, 2.5 * noise * (BINS as f64).sqrt());
                    assert!(
                        (below - half).abs() <= near + noise,
                        "class {class}, bit {bit}: {below} below, half is {half}"
                    );
                    assert!(noise < 0.5 * half, "or nearly any threshold would pass");
                }
            }
        }
    }

    #[test]
    fn a_median_is_found_within_its_bin_and_beside_noise() {
        let histogram = |counts: &[(usize, i64)]| {
            let mut bins = vec![0; BINS];
            counts.iter().for_each(|&(bin, count)| bins[bin] = count);
            median(&bins) * BINS as f64
        };
        assert_eq!(histogram(&[(3, 10), (4, 20), (9, 10)]), 4.5);
        assert_eq!(histogram(&[(3, 10), (4, 40)]), 4.375);
        assert_eq!(histogram(&[(7, 1)]), 7.5);
        // Crossed in bin 3, left again in bin 4, and crossed in bin 5, which is the fullest.
        assert_eq!(histogram(&[(3, 12), (4, -8), (5, 16)]), 5.375);
        for nothing in [&[][..], &[(5, -3)], &[(5, 3), (6, -3)], &[(5, -7), (60, 3)]] {
            assert_eq!(histogram(nothing), BINS as f64 / 2.0, "{nothing:?}");
        }
        assert_eq!(histogram(&[(3, i64::MAX), (4, i64::MAX)]), 4.0, "sums of what a message can bring do not overflow");
    }

    #[test]
    fn bins_cover_the_range() {
        assert_eq!([0.0, 0.5, 1.0, f64::NAN, -1.0, 2.0].map(bin), [0, BINS / 2, BINS - 1, 0, 0, BINS - 1]);
    }

    #[test]
    fn where_the_number_of_images_is_private_no_message_tells_it() {
        let (data, styles) = (strokes(), Styles::new(4).unwrap());
        let budget = Budget::new(50.0, 1e-5, Accountant::Gaussian).unwrap();
        let sent = |adjacency, images: usize| {
            let plan = NoisePlan::new(budget, adjacency, 2, dimensions(data.classes(), styles)).unwrap();
            let members: Vec<Vec<usize>> = (0..2).map(|k| (k * images..(k + 1) * images).collect()).collect();
            draw(&data, &members, (data.classes(), styles), (&plan, Trust::Secagg)).unwrap().1
        };
        assert_eq!(sent(Adjacency::AddRemove, 2), sent(Adjacency::AddRemove, 200));
        assert!(sent(Adjacency::ReplaceOne, 2) < sent(Adjacency::ReplaceOne, 200), "it is public there");
    }

    #[test]
    fn no_image_moves_the_sums_by_more_than_the_clip() {
        let (data, styles) = (strokes(), Styles::new(8).unwrap());
        for image in 0..50 {
            let sums = exact_sums(&data, &[image], (data.classes(), styles), 1 << 20);
            let square: i64 = sums.iter().flatten().map(|x| x * x).sum();
            assert!(square <= 1 << 40 && square > (1 << 40) * 99 / 100, "image {image}: {square}");
            assert!(sums.iter().flatten().all(|&x| x >= 0));
        }
    }

    #[test]
    fn saved_thresholds_serve_their_own_run_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shared/styles.json");
        let shape = (1, Styles::new(4).unwrap());
        assert_eq!(Thresholds::load(&path, "a", shape).unwrap(), None);
        let thresholds = Thresholds { key: "a".into(), values: vec![vec![0.25, 0.5]], sent: 7 };
        thresholds.save(&path).unwrap();
        assert_eq!(Thresholds::load(&path, "a", shape).unwrap(), Some(thresholds));
        assert!(Thresholds::load(&path, "a", (2, shape.1)).is_err(), "of other classes");
        assert!(Thresholds::load(&path, "b", shape).unwrap_err().to_string().contains("new run"));
        fs::write(&path, "{").unwrap();
        assert!(Thresholds::load(&path, "a", shape).is_err());
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(Thresholds::load(&path, "a", shape).unwrap_err().to_string().contains("longer than"));
    }
}
