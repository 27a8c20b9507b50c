//! TSTR, train on synthetic, test on real (Esteban, Hyland and Rätsch 2017): what a class-conditional model is good for.
//!
//! The convolutions of the small [`Classifier`](super::classifier::Classifier) are trained on generated images and the labels that
//! were asked for, and tested on real images that they have never seen. Near the accuracy of the same network trained on real
//! images, generated ones can stand in for them.
//!
//! Their last features are averaged over the cells of a grid, and not over the whole map as in that classifier: averaged over
//! the whole map, a network learns to classify generated images by faint textures that real images do not have. Trained on
//! digits generated under epsilon 0.2 (20,000, at ngf 16), it is right about 68% of the real ones with whole maps and 83% with
//! cells; on clothes without privacy (60,000, at ngf 64), 84.6% and 85.8%.

use std::num::NonZeroUsize;

use prism_data::Dataset;
use prism_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::classifier::{self, DESCENT};
use super::evaluated_model::EvaluatedModel;
use crate::encoder_training::{Descent, Progress};

/// Cells a side of the grid over which the last features are averaged.
const CELLS: usize = 4;

/// What a classifier learned from generated images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TstrFigures {
    /// Generated images that it was trained on, every class as often as the others.
    pub generated_images: usize,
    /// Passes over them.
    pub epochs: usize,
    /// Real images that it was tested on.
    pub real_images: usize,
    /// Share of them that it classifies correctly.
    pub accuracy: f64,
    /// The same network after as many passes over real training images, where that was asked for.
    #[serde(default)]
    pub trained_on_real: Option<Reference>,
}

/// What generated images are to stand in for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Real training images.
    pub images: usize,
    /// Share of the test images that are classified correctly.
    pub accuracy: f64,
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

/// Trains on `generated` and tests on the real images `test`; `progress` is called after every step.
///
/// # Errors
/// If the sets do not fit, or the computation fails.
pub fn measure(
    generated: &Dataset,
    test: &Dataset,
    epochs: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<TstrFigures> {
    let trained = classifier::train_network(generated, test, descent(epochs), progress)?;
    Ok(TstrFigures {
        generated_images: generated.len(),
        epochs,
        real_images: test.len(),
        accuracy: trained.test_accuracy,
        trained_on_real: None,
    })
}

/// The same with the real images `training` in the place of generated ones.
///
/// # Errors
/// As for [`measure`].
pub fn reference(
    training: &Dataset,
    test: &Dataset,
    epochs: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Reference> {
    let trained = classifier::train_network(training, test, descent(epochs), progress)?;
    Ok(Reference { images: training.len(), accuracy: trained.test_accuracy })
}

/// How either network is trained.
fn descent(epochs: usize) -> Descent {
    Descent { epochs, cells: CELLS, ..DESCENT }
}
