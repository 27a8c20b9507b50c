//! Where classes are parted into styles, under differential privacy: a release of its own before that of the moments.
//!
//! ```text
//! an image's  u = [ a_0 ... a_(b-1), 1 ] / sqrt(b + 1),     every a_j from 0 to 1      ([`Coefficients`])
//! y = sum over images of u (x) onehot(label)  +  discrete Gaussian                      ([`super::release`])
//! threshold of bit j in class c = y[c][j] / y[c][b]: the class's noisy mean of a_j, about its median
//! ```
//!
//! `u` is no longer than 1 and nowhere negative, so the sensitivities of [`super::release`] hold. The style of an image then
//! depends on that image and on released numbers alone, and the release of moments per style is a second mechanism whose
//! concentrated privacy adds up with this one's (adaptive composition, Bun and Steinke 2016, lemma 2.3).

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

/// The part of the budget that goes into them: a mean over thousands of images takes little.
pub const SHARE: f64 = 1.0 / 16.0;

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
    classes * (styles.bits() + 1)
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
    let shape = (classes, styles.bits() + 1);
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
    Ok((means(&sums), messages.iter().map(|message| message.len() as u64).sum()))
}

/// The sums of the vectors of the images `members`, `[classes][bits + 1]`, in grid units. **Not protected.**
fn exact_sums(data: &Dataset, members: &[usize], (classes, styles): (usize, Styles), clip_units: i64) -> Sums {
    let labels = data.labels().filter(|_| classes > 1);
    let coefficients = Coefficients::new(data, styles);
    let entry = clip_units as f64 / ((styles.bits() + 1) as f64).sqrt();
    let mut sums = vec![vec![0i64; styles.bits() + 1]; classes];
    for &image in members {
        let class = &mut sums[labels.map_or(0, |labels| usize::from(labels[image]))];
        let shares = coefficients.of(data.image(image)).into_iter().chain([1.0]);
        // Truncation shortens a vector, so none gets longer than the clip.
        class.iter_mut().zip(shares).for_each(|(sum, share)| *sum += (share.clamp(0.0, 1.0) * entry) as i64);
    }
    sums
}

/// Each class's noisy means; where noise leaves a class no weight, the middle of the range.
fn means(sums: &Sums) -> Vec<Vec<f64>> {
    let of_class = |class: &Vec<i64>| {
        let (weight, values) = class.split_last().map_or((0, &[][..]), |(weight, values)| (*weight, values));
        let mean = |&sum: &i64| if weight > 0 { (sum as f64 / weight as f64).clamp(0.0, 1.0) } else { 0.5 };
        values.iter().map(mean).collect()
    };
    sums.iter().map(of_class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::accounting::Budget;
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
    fn thresholds_are_the_class_means_up_to_the_noise() {
        let (data, styles) = (strokes(), Styles::new(4).unwrap());
        let classes = data.classes();
        let members: Vec<Vec<usize>> = (0..2).map(|k| (200 * k..200 * k + 200).collect()).collect();
        for (trust, shares) in [(Trust::Local, 1), (Trust::Secagg, 2)] {
            let budget = Budget::new(50.0, 1e-5).unwrap();
            let plan =
                NoisePlan::within(budget, SHARE, Adjacency::ReplaceOne, shares, dimensions(classes, styles)).unwrap();
            let (values, bytes) = draw(&data, &members, (classes, styles), (&plan, trust)).unwrap();
            assert!(bytes > 0);
            let (again, _) = draw(&data, &members, (classes, styles), (&plan, trust)).unwrap();
            assert_ne!(values, again, "noise is drawn anew");
            let noise = plan.variance().sqrt() / plan.clip_units as f64 * 3f64.sqrt();
            for (class, thresholds) in values.iter().enumerate() {
                let of_class = (0..400).filter(|&i| usize::from(data.labels().unwrap()[i]) == class);
                let rows: Vec<Vec<f64>> =
                    of_class.map(|image| Coefficients::new(&data, styles).of(data.image(image))).collect();
                for (bit, threshold) in thresholds.iter().enumerate() {
                    let mean = rows.iter().map(|row| row[bit]).sum::<f64>() / rows.len() as f64;
                    // Five deviations of the noise in the sum and of that in the weight.
                    let tolerance = 10.0 * noise / rows.len() as f64;
                    assert!((threshold - mean).abs() < tolerance, "class {class}, bit {bit}: {threshold} for {mean}");
                    assert!(tolerance < 0.4, "or any threshold would pass");
                }
            }
        }
    }

    #[test]
    fn where_the_number_of_images_is_private_no_message_tells_it() {
        let (data, styles) = (strokes(), Styles::new(4).unwrap());
        let budget = Budget::new(50.0, 1e-5).unwrap();
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
            assert!(square <= 1 << 40 && square > 1 << 37, "image {image}: {square}");
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
