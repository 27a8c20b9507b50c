//! TSTR, train on synthetic, test on real (Esteban, Hyland and Rätsch 2017): what a class-conditional model is good for.
//!
//! Three classifiers are trained on generated images and the labels that were asked for, and tested on real images that they have
//! never seen. Near the accuracy of the same networks trained on real images, generated ones can stand in for them. One classifier
//! alone flatters: shifted views make up for variety of place that the images lack. So the figure to quote is the lowest.
//!
//! Last features are averaged over the cells of a grid, and not over the whole map: averaged over the whole map, a network learns to
//! classify generated images by faint textures that real images do not have (docs/experiments.md).

use std::num::NonZeroUsize;

use prism_data::Dataset;
use prism_nn::encoder::EncoderLayout;
use prism_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::classifier::{self, DESCENT};
use super::evaluated_model::EvaluatedModel;
use crate::encoder_training::{Descent, Progress, Views};

/// Cells a side of the grid over which the last features are averaged.
const CELLS: usize = 4;

/// The residual network: ten million multiplications for an image of 32x32 pixels.
const RESIDUAL_LAYOUT: &str = "16,16,M,32,32,M,64,64";

/// A classifier of another make for each of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Student {
    /// The small network of [`Classifier`](super::classifier::Classifier), which sees every image a little shifted.
    Shifted,
    /// The same, which sees them as they are.
    Plain,
    /// A residual network, which sees them as they are.
    Residual,
}

/// All of them.
pub const STUDENTS: [Student; 3] = [Student::Shifted, Student::Plain, Student::Residual];

/// What classifiers learned from generated images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TstrFigures {
    /// Generated images that each was trained on, every class as often as the others.
    pub generated_images: usize,
    /// Passes over them.
    pub epochs: usize,
    /// Real images that each was tested on.
    pub real_images: usize,
    /// What each learned.
    pub students: Vec<Learned>,
    /// Real training images by which the same were trained, where that was asked for.
    pub reference_images: Option<usize>,
}

/// What one classifier learned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Which one.
    pub student: Student,
    /// Share of the real test images that it tells right.
    pub accuracy: f64,
    /// The same after as many passes over real training images, where that was asked for.
    pub trained_on_real: Option<f64>,
}

impl TstrFigures {
    /// The lowest accuracy: the figure to quote.
    pub fn lowest(&self) -> f64 {
        self.students.iter().map(|learned| learned.accuracy).fold(1.0, f64::min)
    }

    /// The mean accuracy.
    pub fn mean(&self) -> f64 {
        self.students.iter().map(|learned| learned.accuracy).sum::<f64>() / self.students.len().max(1) as f64
    }
}

impl Student {
    /// What it is, for people.
    pub fn name(self) -> &'static str {
        match self {
            Student::Shifted => "small network, shifted views",
            Student::Plain => "small network, images as they are",
            Student::Residual => "residual network, images as they are",
        }
    }

    /// Trains it on `training` and returns the share of `test` that it tells right; `progress` is called after every step.
    ///
    /// # Errors
    /// If the sets do not fit, or the computation fails.
    pub fn learn(
        self,
        training: &Dataset,
        test: &Dataset,
        epochs: usize,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<f64> {
        classifier::check_sets(training, test)?;
        let layout: EncoderLayout = match self {
            Student::Shifted | Student::Plain => classifier::LAYOUT.parse()?,
            Student::Residual => RESIDUAL_LAYOUT.parse()?,
        };
        let views = if self == Student::Shifted { Views::UPRIGHT } else { Views::PLAIN };
        let residual = self == Student::Residual;
        let descent = Descent { epochs, views, residual, cells: CELLS, ..DESCENT };
        descent.run(&layout, training, progress)?.accuracy(test)
    }
}

/// Refuses a model that cannot be asked for a class, or real images without labels.
///
/// # Errors
/// [`prism_core::Error::Usage`] naming what is missing.
pub fn check(model: &EvaluatedModel, real: &Dataset) -> Result<()> {
    if model.classes() < 2 {
        return Err(Error::usage(format!(
            "--tstr needs a model that is told which of at least 2 classes to draw, and {} has {}; train it on labelled images, or \
             leave --tstr out",
            model.path.display(),
            model.classes()
        )));
    }
    if real.labels().is_none() {
        return Err(Error::usage(format!("--tstr needs real images with labels, and '{}' has none", real.name())));
    }
    Ok(())
}

/// The images to train on: `count`, from seed `seed`, classes in turn.
///
/// # Errors
/// If the images cannot be drawn.
pub fn draw(
    model: &EvaluatedModel,
    count: usize,
    seed: u64,
    threads: NonZeroUsize,
    each: &dyn Fn(u64),
) -> Result<Dataset> {
    let labels: Vec<Option<usize>> = (0..count).map(|k| Some(k % model.classes())).collect();
    model.draw(seed, &labels, threads, each)
}
