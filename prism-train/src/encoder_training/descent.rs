//! The training loop of a small classifier: epochs of random views, stochastic gradient descent, a one-cycle rate.

use prism_core::stream::{Purpose, StreamId};
use prism_data::Dataset;
use prism_nn::encoder::{EncoderLayer, EncoderLayout};
use prism_nn::{Error, Result};

use super::augment::{Augmentation, Views};
use super::network::{HeadShape, Network};
use super::sgd::{OneCycle, Sgd};

/// How a network is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descent {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in a step; all of them where there are fewer.
    pub batch_size: usize,
    /// Highest learning rate of the cycle.
    pub lr: f64,
    /// Root of initial weights, order and views.
    pub seed: u64,
    /// How an image may be shown.
    pub views: Views,
    /// Whether convolutions that keep the width add their input.
    pub residual: bool,
    /// Most cells a side over which the last features are averaged before they are classified; 1 for whole maps.
    pub cells: usize,
}

/// How far training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Steps in one epoch.
    pub steps_per_epoch: usize,
    /// Mean cross-entropy of the last step.
    pub loss: f64,
    /// Share of the last step's images that were classified correctly.
    pub accuracy: f64,
}

impl Descent {
    /// Trains a network of `layout` to classify the images of `training`; `progress` is called after every step.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if the loss is no longer finite; or if the computation fails.
    pub fn run(
        &self,
        layout: &EncoderLayout,
        training: &Dataset,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Network> {
        let labels = training.labels().unwrap_or_default();
        let batch = self.batch_size.min(training.len());
        let steps_per_epoch = training.len() / batch;
        let steps = steps_per_epoch * self.epochs;
        let pools = layout.layers().iter().filter(|&&layer| layer == EncoderLayer::Pool).count();
        let cells = self.cells.min(training.image_size() >> pools).max(1);
        let shape = HeadShape { cells, classes: training.classes() };
        let mut network = Network::new(layout, shape, self.seed)?.with_residuals(self.residual);
        let mut sgd = Sgd::new(network.parameters())?;
        let rates = OneCycle { highest: self.lr, steps };
        let augmentation =
            Augmentation { channels: training.channels(), side: training.image_size(), views: self.views };
        for epoch in 0..self.epochs {
            let stream = StreamId::new(self.seed, Purpose::EncoderTraining).round(epoch as u64);
            let mut order: Vec<usize> = (0..training.len()).collect();
            stream.open().shuffle(&mut order);
            // The last images that do not fill a batch wait for another epoch's order.
            for (index, rows) in order.chunks_exact(batch).enumerate() {
                let images = augmentation.batch(training, rows, &mut stream.index(index as u64 + 1).open());
                let targets: Vec<u16> = rows.iter().map(|&row| labels[row]).collect();
                let step = epoch * steps_per_epoch + index;
                let outcome = network.step(&images, training.channels(), &targets)?;
                sgd.update(network.parameters(), &outcome.gradients, rates.at(step))?;
                let (loss, accuracy) = (outcome.loss, outcome.accuracy);
                if !loss.is_finite() {
                    return Err(Error::usage(format!(
                        "the loss is no longer finite at step {} of {steps}; choose a smaller --lr than {}",
                        step + 1,
                        self.lr
                    )));
                }
                progress(Progress { step: step + 1, steps, steps_per_epoch, loss, accuracy });
            }
        }
        Ok(network)
    }
}
