//! A small classifier of the data set's own classes: its features are ones that the generator was never trained to match.
//!
//! ```text
//! image -> (conv 3x3, batch norm, ReLU | max-pool) ... -> mean over pixels [64] -> linear -> class scores
//!                                                          features                          confidence, histogram
//! ```
//!
//! It is trained on the set's real training images, in about two minutes on two cores for 60,000 images of 32x32 pixels. It
//! reads private images, so it may evaluate a model, but never train or select one under differential privacy.

use std::path::Path;

use candle_core::{Device, Tensor};
use prism_core::tensor_file::{self, FileKind, NamedTensor};
use prism_data::Dataset;
use prism_nn::encoder::{ConvWeights, Encoder, EncoderLayout};
use prism_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::features::FeatureNetwork;
use crate::encoder_training::{Descent, Head, Progress, Views, accuracy, class_scores, highest};

const KIND: FileKind = FileKind { name: "classifier", version: 1 };

/// Convolutions and pools: 5.2 million multiplications for an image of 32x32 pixels.
pub(super) const LAYOUT: &str = "16,M,32,M,64,64";

/// Classes that a classifier may have at most.
const MAX_CLASSES: usize = 65_536;

/// How every classifier is trained, apart from the number of epochs.
pub(super) const DESCENT: Descent =
    Descent { epochs: 1, batch_size: 128, lr: 0.2, seed: 0, views: Views::UPRIGHT, residual: false, cells: 1 };

/// What a classifier was trained on, and how accurate it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Name of the training set.
    pub dataset: String,
    /// Images that it was trained on.
    pub images: usize,
    /// Passes over them.
    pub epochs: usize,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Side of the images in pixels.
    pub image_size: usize,
    /// 1 (grey) or 3.
    pub channels: usize,
    /// Share of the set's test images that it classifies correctly.
    pub test_accuracy: f64,
}

/// A trained classifier.
pub struct Classifier {
    card: Card,
    encoder: Encoder,
    head: Head,
    convs: Vec<ConvWeights>,
}

/// What a classifier says of generated images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassifierFigures {
    /// The classifier.
    pub classifier: Card,
    /// Generated images.
    pub images: usize,
    /// Share of the generated images that it puts in each class.
    pub histogram: Vec<f64>,
    /// Mean probability that it gives its choice.
    pub confidence: f64,
    /// Share of the generated images that it puts in the class that was asked for, where one was.
    pub agreement: Option<f64>,
}

/// A network that was trained to classify the images of a set.
pub(super) struct Trained {
    /// Its convolutions, norms folded in.
    convs: Vec<ConvWeights>,
    encoder: Encoder,
    head: Head,
    /// Share of the test images that it classifies correctly.
    pub(super) test_accuracy: f64,
}

/// Trains on `training` as `descent` says, and measures on `test`; `progress` is called after every step.
///
/// # Errors
/// If there are fewer than two classes, the two sets differ in shape or classes, or the computation fails.
pub(super) fn train_network(
    training: &Dataset,
    test: &Dataset,
    descent: Descent,
    progress: &mut dyn FnMut(Progress),
) -> Result<Trained> {
    check_sets(training, test)?;
    let layout: EncoderLayout = LAYOUT.parse()?;
    let network = descent.run(&layout, training, progress)?;
    let (convs, head) = (network.folded()?, network.head());
    let encoder = Encoder::from_weights("classifier", layout, &convs, None, &Device::Cpu)?;
    let test_accuracy = accuracy(test, |images| head.classify(&encoder.last(images)?))?;
    Ok(Trained { convs, encoder, head, test_accuracy })
}

impl Classifier {
    /// Trains on `training` for `epochs` and measures on `test`; `progress` is called after every step.
    ///
    /// # Errors
    /// If there are fewer than two classes, the two sets differ in shape or classes, or the computation fails.
    pub fn train(
        training: &Dataset,
        test: &Dataset,
        epochs: usize,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let trained = train_network(training, test, Descent { epochs, ..DESCENT }, progress)?;
        let card = Card {
            dataset: training.name().to_string(),
            images: training.len(),
            epochs,
            class_names: training.class_names().to_vec(),
            image_size: training.image_size(),
            channels: training.channels(),
            test_accuracy: trained.test_accuracy,
        };
        Ok(Classifier { card, encoder: trained.encoder, head: trained.head, convs: trained.convs })
    }

    fn assemble(card: Card, convs: Vec<ConvWeights>, head: Head) -> Result<Self> {
        let encoder = Encoder::from_weights("classifier", LAYOUT.parse()?, &convs, None, &Device::Cpu)?;
        Ok(Classifier { card, encoder, head, convs })
    }

    /// What it was trained on, and how well it does.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Its figures for `images`, whose labels are the classes that were asked for.
    ///
    /// # Errors
    /// If the images have another shape than its own, or the computation fails.
    pub fn evaluate(&self, images: &Dataset) -> Result<ClassifierFigures> {
        self.check_shape(images)?;
        let rows = class_scores(images, |images| self.head.classify(&self.encoder.last(images)?))?;
        let mut counts = vec![0usize; self.card.class_names.len()];
        let mut confidence = 0.0;
        for row in &rows {
            let class = highest(row);
            counts[class] += 1;
            // exp(0) over the sum of all: the probability of the highest score.
            confidence += 1.0 / row.iter().map(|&x| libm::exp(f64::from(x - row[class]))).sum::<f64>();
        }
        let count = rows.len() as f64;
        let agreement = |labels: &[u16]| {
            rows.iter().zip(labels).filter(|(row, label)| highest(row) == usize::from(**label)).count() as f64 / count
        };
        Ok(ClassifierFigures {
            classifier: self.card.clone(),
            images: rows.len(),
            histogram: counts.iter().map(|&n| n as f64 / count).collect(),
            confidence: confidence / count,
            agreement: images.labels().map(agreement),
        })
    }

    /// Refuses real images that it was not trained for: of another shape, or of classes with other names.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] naming what differs.
    pub fn check_fits(&self, images: &Dataset) -> Result<()> {
        self.check_shape(images)?;
        let card = &self.card;
        // Images without labels name no classes that could differ.
        let pair = |i: usize| (card.class_names.get(i), images.class_names().get(i));
        let classes = card.class_names.len().max(images.classes());
        let Some(odd) = (0..classes).find(|&i| images.classes() > 0 && pair(i).0 != pair(i).1) else { return Ok(()) };
        let name = |name: Option<&String>| name.map_or("missing".to_string(), |name| format!("'{name}'"));
        Err(Error::usage(format!(
            "the classifier is for the classes of {}, whose class {odd} is {}, and class {odd} of '{}' is {}; give another \
             --classifier file, or the name of a new one, to train one for them",
            card.dataset,
            name(pair(odd).0),
            images.name(),
            name(pair(odd).1)
        )))
    }

    fn check_shape(&self, images: &Dataset) -> Result<()> {
        let card = &self.card;
        if (card.channels, card.image_size) == (images.channels(), images.image_size()) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "the classifier reads images of {} channels and {} pixels a side, and these have {} and {}; give another \
             --classifier file, or the name of a new one, to train one for them",
            card.channels,
            card.image_size,
            images.channels(),
            images.image_size()
        )))
    }

    /// Writes it to `path`, atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut tensors = Vec::new();
        for (index, conv) in self.convs.iter().enumerate() {
            let shape = vec![conv.outputs, conv.inputs, 3, 3];
            tensors.push(NamedTensor { name: format!("convs.{index}.weight"), shape, values: (&conv.weight).into() });
            let (name, shape) = (format!("convs.{index}.bias"), vec![conv.outputs]);
            tensors.push(NamedTensor { name, shape, values: (&conv.bias).into() });
        }
        for (name, tensor) in [("head.weight", &self.head.weight), ("head.bias", &self.head.bias)] {
            let values = tensor.flatten_all()?.to_vec1()?.into();
            tensors.push(NamedTensor { name: name.into(), shape: tensor.dims().to_vec(), values });
        }
        Ok(tensor_file::write(path, KIND, &self.card, &tensors)?)
    }

    /// Reads what [`Classifier::write`] wrote.
    ///
    /// # Errors
    /// If there is no such file, or it holds no classifier.
    pub fn read(path: &Path) -> Result<Self> {
        let (card, mut tensors) = tensor_file::read::<Card>(path, KIND)?;
        let refuse = |why: String| Error::corrupt(format!("classifier {}", path.display()), why);
        let classes = card.class_names.len();
        if !(2..=MAX_CLASSES).contains(&classes) {
            return Err(refuse(format!("it has {classes} classes; a classifier has 2 to {MAX_CLASSES}")));
        }
        let mut take = |name: String, shape: &[usize]| -> Result<Vec<f32>> {
            let found = tensors.iter_mut().find(|t| t.name == name && t.shape == shape);
            let values = found.map(|t| std::mem::take(&mut t.values).into_owned());
            values.ok_or_else(|| refuse(format!("it has no tensor {name} of shape {shape:?}")))
        };
        let mut convs = Vec::new();
        let mut width = 0;
        for (index, (inputs, outputs)) in LAYOUT.parse::<EncoderLayout>()?.convs().into_iter().enumerate() {
            let weight = take(format!("convs.{index}.weight"), &[outputs, inputs, 3, 3])?;
            let bias = take(format!("convs.{index}.bias"), &[outputs])?;
            convs.push(ConvWeights { inputs, outputs, weight, bias });
            width = outputs;
        }
        let weight = take("head.weight".into(), &[width, classes])?;
        let weight = Tensor::from_vec(weight, (width, classes), &Device::Cpu)?;
        let bias = Tensor::from_vec(take("head.bias".into(), &[classes])?, classes, &Device::Cpu)?;
        Self::assemble(card, convs, Head { cells: 1, weight, bias })
    }
}

impl FeatureNetwork for Classifier {
    fn name(&self) -> String {
        let Card { dataset, test_accuracy, .. } = &self.card;
        format!(
            "classifier of {dataset} ({:.2}% right on its test images), last layer, mean over pixels",
            100.0 * test_accuracy
        )
    }

    fn width(&self) -> usize {
        self.convs.last().map_or(0, |conv| conv.outputs)
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn rows(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.encoder.last(images)?.mean((2, 3))?)
    }
}

/// Refuses sets that no classifier can be trained or measured on.
pub(super) fn check_sets(training: &Dataset, test: &Dataset) -> Result<()> {
    let refuse =
        |why: String| Err(Error::usage(format!("a classifier of '{}' cannot be trained: {why}", training.name())));
    if training.classes() < 2 {
        return refuse(format!("it has {} classes; give a labelled set with at least 2", training.classes()));
    }
    if training.len() < 2 {
        return refuse("it has a single image; give at least 2".into());
    }
    if test.class_names() != training.class_names() && test.classes() != training.classes() {
        return refuse(format!("it has {} classes and its test images {}", training.classes(), test.classes()));
    }
    if (test.channels(), test.image_size()) != (training.channels(), training.image_size()) {
        return refuse("its training and test images differ in shape; load both alike".into());
    }
    Ok(())
}
