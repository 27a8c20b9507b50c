//! Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) from nearest neighbours.
//!
//! ```text
//! B(x)       ball around x that reaches to its k-th nearest neighbour in its own set
//! precision  share of the generated images inside some real B          recall    share of the real ones inside some generated B
//! density    mean over generated images of (real B around it) / k      coverage  share of the real B that hold a generated image
//! ```
//!
//! Exact: all pairs, in `f64`, |a - b|^2 = |a|^2 + |b|^2 - 2ab on centred features. A block of rows is the unit of work, so
//! results do not depend on the number of threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use prism_nn::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::features::Features;

/// Neighbours that a ball reaches to, unless asked otherwise: that of the published figures.
pub const NEIGHBOURS: usize = 5;

/// Rows whose distances to a whole set are in memory at once, for each thread.
const BLOCK: usize = 128;

/// How a set of generated images lies among real ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neighbourhood {
    /// Share of the generated images that look real.
    pub precision: f64,
    /// Share of the real images that could have been generated.
    pub recall: f64,
    /// Precision that counts how many real images are near; above 1 where generated images crowd where real ones do.
    pub density: f64,
    /// Share of the real images near which something is generated.
    pub coverage: f64,
}

/// Refuses `neighbours` that cannot be found among `images` images.
///
/// # Errors
/// [`prism_core::Error::Usage`] naming both numbers.
pub fn check(neighbours: usize, images: usize) -> Result<()> {
    if neighbours > 0 && images > neighbours {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{neighbours} nearest neighbours cannot be found among {images} images; choose --neighbours from 1 to {}, or more images",
        images.saturating_sub(1)
    )))
}

/// Compares `generated` with `real` by `neighbours` nearest neighbours.
///
/// # Errors
/// [`prism_core::Error::Usage`] if a set has no more images than `neighbours`, or the widths differ.
pub fn compare(real: &Features, generated: &Features, neighbours: usize) -> Result<Neighbourhood> {
    real.check_same_width(generated)?;
    check(neighbours, real.len().min(generated.len()))?;
    let centre = real.mean();
    let (real, generated) = (Points::new(real, &centre), Points::new(generated, &centre));
    let real_radii = real.radii(neighbours);
    let generated_radii = generated.radii(neighbours);
    let blocks = real.blocks(&generated, |first, distances| {
        let mut block = Block::new(generated.len());
        for (row, distances) in distances.enumerate() {
            block.add(distances, real_radii[first + row], &generated_radii);
        }
        block
    });
    let total = blocks.into_iter().fold(Block::new(generated.len()), Block::merge);
    let (reals, count) = (real.len() as f64, generated.len() as f64);
    let inside: u64 = total.balls_around.iter().map(|&balls| u64::from(balls)).sum();
    Ok(Neighbourhood {
        precision: total.balls_around.iter().filter(|&&balls| balls > 0).count() as f64 / count,
        recall: total.recalled as f64 / reals,
        density: inside as f64 / (neighbours as f64 * count),
        coverage: total.covered as f64 / reals,
    })
}

/// What a block of real images adds.
struct Block {
    /// For each generated image, real balls that hold it.
    balls_around: Vec<u32>,
    recalled: usize,
    covered: usize,
}

impl Block {
    fn new(generated: usize) -> Self {
        Block { balls_around: vec![0; generated], recalled: 0, covered: 0 }
    }

    /// Adds a real image: its squared distances to every generated one, and its own squared radius.
    fn add(&mut self, distances: &[f64], radius: f64, generated_radii: &[f64]) {
        let (mut covered, mut recalled) = (false, false);
        for ((&distance, &generated_radius), balls) in distances.iter().zip(generated_radii).zip(&mut self.balls_around)
        {
            let inside = distance < radius;
            *balls += u32::from(inside);
            covered |= inside;
            recalled |= distance < generated_radius;
        }
        self.covered += usize::from(covered);
        self.recalled += usize::from(recalled);
    }

    fn merge(mut self, other: Block) -> Self {
        self.balls_around.iter_mut().zip(other.balls_around).for_each(|(a, b)| *a += b);
        self.recalled += other.recalled;
        self.covered += other.covered;
        self
    }
}

/// Centred rows and their squared lengths.
struct Points {
    width: usize,
    rows: Vec<f64>,
    squares: Vec<f64>,
}

impl Points {
    fn new(features: &Features, centre: &[f64]) -> Self {
        let (width, rows) = (features.width(), features.centred(centre));
        let squares = rows.chunks_exact(width).map(|row| row.iter().map(|x| x * x).sum()).collect();
        Points { width, rows, squares }
    }

    fn len(&self) -> usize {
        self.squares.len()
    }

    fn matrix(&self) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.rows, self.len(), self.width)
    }

    /// Calls `work(first row, squared distances of each row to every point of other)` for each block of rows, in parallel.
    fn blocks<T: Send>(
        &self,
        other: &Points,
        work: impl Fn(usize, std::slice::ChunksExact<'_, f64>) -> T + Sync,
    ) -> Vec<T> {
        let firsts: Vec<usize> = (0..self.len()).step_by(BLOCK).collect();
        let block = |&first: &usize| {
            let count = BLOCK.min(self.len() - first);
            let rows = self.matrix().subrows(first, count);
            // Column-major `[other, count]`: each column is one row's distances.
            let mut products = Mat::<f64>::zeros(other.len(), count);
            matmul(&mut products, Accum::Replace, other.matrix(), rows.transpose(), -2.0, Par::Seq);
            let mut distances = Vec::with_capacity(count * other.len());
            for row in 0..count {
                let own = self.squares[first + row];
                let column = products.col(row).iter().zip(&other.squares);
                distances.extend(column.map(|(product, square)| (product + own + square).max(0.0)));
            }
            work(first, distances.chunks_exact(other.len()))
        };
        firsts.par_iter().map(block).collect()
    }

    /// The squared distance from each point to its `neighbours`-th nearest other point.
    fn radii(&self, neighbours: usize) -> Vec<f64> {
        let blocks = self.blocks(self, |first, distances| {
            let radius = |(row, distances): (usize, &[f64])| {
                let mut distances = distances.to_vec();
                // The point itself, whatever rounding made of it, is the nearest.
                distances[first + row] = 0.0;
                *distances.select_nth_unstable_by(neighbours, f64::total_cmp).1
            };
            distances.enumerate().map(radius).collect::<Vec<_>>()
        });
        blocks.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[f64]) -> Features {
        Features::new("line", 1, points.to_vec()).unwrap()
    }

    #[test]
    fn on_a_line_everything_can_be_counted() {
        // Radii with one neighbour: real 1, 1, 8; generated 0.3, 0.3, 90.1.
        let found = compare(&line(&[0.0, 1.0, 9.0]), &line(&[0.6, 0.9, 91.0]), 1).unwrap();
        // Of the real balls (0, 1), (1, 1) and (9, 8), the first two hold 0.6 and 0.9; nothing holds 91.
        assert!((found.precision - 2.0 / 3.0).abs() < 1e-12, "{found:?}");
        assert!((found.density - 4.0 / 3.0).abs() < 1e-12, "{found:?}");
        assert!((found.coverage - 2.0 / 3.0).abs() < 1e-12, "{found:?}");
        // Of the generated balls (0.6, 0.3), (0.9, 0.3) and (91, 90.1), the second holds 1, the third 9; none holds 0.
        assert!((found.recall - 2.0 / 3.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let draw = |count: usize, factor: f64| {
            let value = |i: usize| libm::sin(i as f64 * factor) * 3.0;
            Features::new("x", 5, (0..count * 5).map(value).collect()).unwrap()
        };
        let (real, generated) = (draw(300, 1.37), draw(270, 2.11));
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| compare(&real, &generated, 3).unwrap())
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn too_few_images_are_refused() {
        for neighbours in [0, 3] {
            let error = compare(&line(&[0.0, 1.0, 2.0]), &line(&[0.0; 9]), neighbours).unwrap_err();
            assert!(error.to_string().contains("--neighbours from 1 to 2"), "{error}");
        }
    }
}
