//! Record and replay: the release of neighbouring data sets under the same randomness (Cebere et al. 2026, arXiv 2602.17454).
//!
//! Two sets of images differ in one, which is another image of another class, so that its two vectors are orthogonal and as long as
//! any; or which is left out. All clients release both by what every run calls, subclasses first, and both times every generator of
//! noise has the same key. What then differs is what one image moved: its length is compared with nothing that the code says of itself.
//! The same set under other keys tells how much noise there was. Both together are the rho that was given away, which must be
//! within that of the claim:
//!
//! ```text
//! sum over releases of  |y(S, key) - y(S', key)|^2 / (2 s^2)  <=  rho(epsilon, delta),     s^2 = var(y(S, key) - y(S, other key)) / 2
//! ```
//!
//! and no run of numbers of the noise may come twice. The second release is replayed with the thresholds that came of the first from
//! one of the sets: what is drawn after a release may hang on it.

use std::collections::HashSet;

use prism_core::stream::{Purpose, StreamId};
use prism_nn::Result;
use prism_nn::encoder::Encoder;
use serde::Serialize;

use super::Subject;
use super::federation::{Audit, Federation, IMAGE_SIZE, held_by_the_first, pairs};
use crate::privacy::gaussian::NoiseSource;
use crate::privacy::release::Sums;
use crate::settings::privacy::Adjacency;
use crate::strata::{ClientData, Thresholds};
use prism_data::{Dataset, LoadOptions, Source};

const CLASSES: usize = 10;
const SUBCLASSES: usize = 4;
/// Cells a side over which features are averaged: as many as make more numbers than one key serves.
const CELLS: usize = 2;
/// Images of a set.
const IMAGES: usize = 40;
/// Releases of histograms, of which one has few numbers.
const KEYS: u64 = 32;
/// Standard deviations of its estimate by which the noise may be above the measured one.
const DOUBT: f64 = 4.0;
/// Numbers in a row by which a part of the noise is known again; two chance runs of noise as wide as the clip never agree.
const RUN: usize = 4;

/// What a replay found.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayFinding {
    /// What was replayed.
    pub subject: Subject,
    /// What one image gave away in all releases together, at least.
    pub rho: f64,
    /// What the claim allows.
    pub allowed: f64,
    /// Some of the noise came twice.
    pub repeated: bool,
    /// `rho` is above what is allowed, or noise came twice.
    pub violation: bool,
}

/// Replays the releases of `subject`.
///
/// # Errors
/// If the computation fails.
pub fn replay(audit: &Audit, encoder: &Encoder, subject: Subject) -> Result<ReplayFinding> {
    let federation = Federation::new(audit, (CLASSES, SUBCLASSES, CELLS), encoder, subject)?;
    let [set, neighbour] = neighbours(audit)?;
    let key = NoiseSource::Seeded;
    let mut recorder = Recorder::default();
    let first = federation.histograms(&set, key(1))?;
    let mut moved = distance(&first, &federation.histograms(&neighbour, key(1))?);
    for number in 1..KEYS {
        let other = federation.histograms(&set, key(2 * number + 1))?;
        recorder.noise(&federation.histograms(&set, key(2 * number))?, &other);
    }
    let mut rho = moved / (2.0 * recorder.variance());

    let thresholds: Thresholds = federation.thresholds(&first)?;
    let release = |clients: &[ClientData], number| federation.moments(clients, &thresholds, key(number));
    let (original, other) = (release(&set, 1)?, release(&set, 2)?);
    moved = distance(&original, &release(&neighbour, 1)?);
    let mut of_moments = Recorder { runs: recorder.runs, ..Recorder::default() };
    of_moments.noise(&original, &other);
    rho += moved / (2.0 * of_moments.variance());
    let (allowed, repeated) = (audit.budget.rho(), of_moments.repeated || recorder.repeated);
    Ok(ReplayFinding { subject, rho, allowed, repeated, violation: repeated || rho > allowed })
}

/// What is known of the noise of a release.
#[derive(Default)]
struct Recorder {
    squares: f64,
    numbers: usize,
    runs: HashSet<[i64; RUN]>,
    repeated: bool,
}

impl Recorder {
    /// Takes the clients' releases of one set under two keys.
    fn noise(&mut self, a: &[Sums], b: &[Sums]) {
        let differences: Vec<Vec<i64>> =
            a.iter().zip(b).map(|(a, b)| pairs(a, b).map(|(a, b)| a.wrapping_sub(b)).collect()).collect();
        for at in 0..differences[0].len() {
            let of_all: i64 = differences.iter().map(|client| client[at]).sum();
            self.squares += (of_all as f64).powi(2);
        }
        self.numbers += differences[0].len();
        for run in differences.iter().flat_map(|client| client.as_chunks().0) {
            // Where no noise is added there is nothing to know again.
            self.repeated |= *run != [0; RUN] && !self.runs.insert(*run);
        }
    }

    /// The variance of the clients' noise together in every number, as large as it may well be.
    fn variance(&self) -> f64 {
        let numbers = self.numbers as f64;
        self.squares / (2.0 * numbers) * (1.0 + DOUBT * (2.0 / numbers).sqrt())
    }
}

/// The squared length of what differs between the sums of all clients' releases.
fn distance(a: &[Sums], b: &[Sums]) -> f64 {
    let mut moved = vec![0i64; a[0].iter().map(Vec::len).sum()];
    for (a, b) in a.iter().zip(b) {
        moved.iter_mut().zip(pairs(a, b)).for_each(|(moved, (a, b))| *moved += a.wrapping_sub(b));
    }
    moved.iter().map(|&x| (x as f64).powi(2)).sum()
}

/// Two sets of clients that differ in the first image of the first.
fn neighbours(audit: &Audit) -> Result<[Vec<ClientData>; 2]> {
    let options = LoadOptions { image_size: IMAGE_SIZE, limit: Some(IMAGES), ..Default::default() };
    let strokes = prism_data::load(Source::Strokes, &options)?;
    let labels = strokes.labels().unwrap_or(&[]).to_vec();
    let set = |first: &[u8], class: u16| -> Result<Vec<ClientData>> {
        let mut pixels = first.to_vec();
        (1..IMAGES).for_each(|image| pixels.extend(strokes.image(image)));
        let labels = [&[class], &labels[1..]].concat();
        let set = Dataset::new("audit", IMAGE_SIZE, 1, pixels)?.with_labels(strokes.class_names().to_vec(), labels)?;
        Ok(held_by_the_first(set, audit.shares))
    };
    let original = set(strokes.image(0), labels[0])?;
    let mut other = vec![0; strokes.pixels_per_image()];
    StreamId::new(1, Purpose::Test).open().fill(&mut other);
    let mut neighbour = set(&other, (labels[0] + 1) % CLASSES as u16)?;
    if audit.adjacency == Adjacency::ADD_REMOVE {
        neighbour.clone_from(&original);
        neighbour[0].members.remove(0);
    }
    Ok([original, neighbour])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::accounting::Budget;
    use candle_core::Device;

    #[test]
    fn a_replay_holds_at_every_epsilon_and_catches_every_planted_fault() {
        let encoder = Encoder::open("public", &Device::Cpu).unwrap();
        for (epsilon, adjacency, shares) in
            [(0.2, Adjacency::REPLACE_ONE, 1), (1.0, Adjacency::ADD_REMOVE, 2), (10.0, Adjacency::REPLACE_ONE, 4)]
        {
            let audit = Audit { budget: Budget::new(epsilon, 1e-6).unwrap(), adjacency, shares };
            for subject in Subject::of(&audit) {
                let found = replay(&audit, &encoder, subject).unwrap();
                assert_eq!(
                    found.violation,
                    subject != Subject::Release,
                    "epsilon {epsilon}, {shares} shares: {found:?}"
                );
                // A replay that measures less than there is would let small faults pass.
                assert!(found.rho > 0.95 * found.allowed, "epsilon {epsilon}, {shares} shares: {found:?}");
            }
        }
    }

    /// Under a secure sum it is of no account who holds which image, so a partition by label needs no proof of its own.
    #[test]
    fn the_sum_of_all_clients_does_not_depend_on_who_holds_what() {
        let encoder = Encoder::open("public", &Device::Cpu).unwrap();
        let budget = Budget::new(1.0, 1e-6).unwrap();
        let audit = Audit { budget, adjacency: Adjacency::REPLACE_ONE, shares: 4 };
        let federation = Federation::new(&audit, (CLASSES, SUBCLASSES, CELLS), &encoder, Subject::Release).unwrap();
        let [together, _] = neighbours(&audit).unwrap();
        let labels = together[0].dataset.labels();
        let parts = "shards:2".parse::<prism_data::partition::Partition>().unwrap();
        let parts = parts.split(labels, IMAGES, CLASSES, 4, 3).unwrap();
        let apart: Vec<ClientData> =
            parts.into_iter().map(|members| ClientData { members, ..together[0].clone() }).collect();
        let key = NoiseSource::Seeded(5);
        let histograms = |clients: &[ClientData]| federation.histograms(clients, key).unwrap();
        assert_eq!(distance(&histograms(&together), &histograms(&apart)), 0.0);
        let thresholds = federation.thresholds(&histograms(&apart)).unwrap();
        let moments = |clients: &[ClientData]| federation.moments(clients, &thresholds, key).unwrap();
        assert_eq!(distance(&moments(&together), &moments(&apart)), 0.0);
    }
}
