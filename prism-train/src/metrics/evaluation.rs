//! One model's evaluation: which images are compared, in whose features, and what was found.

use std::num::NonZeroUsize;
use std::time::Instant;

use prism_core::stream::{Purpose, StreamId};
use prism_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::classifier::{Classifier, ClassifierFigures};
use super::features::{FeatureNetwork, Features};
use super::frechet::{self, Gaussian};
use super::neighbours::{self, Neighbourhood};
use super::subject::Subject;
use super::tstr::TstrFigures;
use crate::data::Dataset;

/// How a model is compared with real images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvaluationOptions {
    /// Images to generate, and the most real ones to compare them with.
    pub images: usize,
    /// Nearest neighbours of precision, recall, density and coverage.
    pub neighbours: usize,
    /// Seed of the generated images' latents, and of the choice among more real images than `images`.
    pub seed: u64,
    /// Threads that draw.
    pub threads: NonZeroUsize,
}

/// What was found. Every figure names what it was computed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The model, as it was given.
    pub model: String,
    /// Rounds of training behind it.
    pub rounds: u32,
    /// Name of the real data set.
    pub dataset: String,
    /// Its split: `test` or `train`.
    pub split: String,
    /// Real images compared.
    pub real_images: usize,
    /// Generated images compared.
    pub generated_images: usize,
    /// Seed of the generated images.
    pub seed: u64,
    /// Nearest neighbours of precision, recall, density and coverage.
    pub neighbours: usize,
    /// One entry a feature network.
    pub features: Vec<FeatureFigures>,
    /// What a classifier of the data set says, where one was given.
    pub classifier: Option<ClassifierFigures>,
    /// Train on synthetic, test on real, where it was asked for.
    pub tstr: Option<TstrFigures>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// Distances in the features of one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureFigures {
    /// Which features.
    pub features: String,
    /// Numbers in a row of them.
    pub width: usize,
    /// Squared Frechet distance; 0 is the same distribution.
    pub frechet_distance: f64,
    /// How the sets lie among each other.
    #[serde(flatten)]
    pub neighbourhood: Neighbourhood,
}

/// The real and the generated images that are compared.
pub struct Pair {
    /// From the data set.
    pub real: Dataset,
    /// From the model; with labels where the model is conditional.
    pub generated: Dataset,
}

impl Pair {
    /// Chooses at most `options.images` of `real` and draws `options.images` by `subject`.
    ///
    /// # Errors
    /// If the real images have another shape or other classes than the model's.
    pub fn new(subject: &Subject, real: &Dataset, options: &EvaluationOptions, each: &dyn Fn(u64)) -> Result<Self> {
        check_shape(subject, real)?;
        let real = choose(real, options.images, options.seed);
        let labels = labels_like(&real, subject.classes(), options.images);
        let generated = subject.draw(options.seed, &labels, options.threads, each)?;
        Ok(Pair { real, generated })
    }

    /// Compares both sets in the features of `network`.
    ///
    /// # Errors
    /// If there are too few images, or a feature is not finite.
    pub fn compare(
        &self,
        network: &dyn FeatureNetwork,
        neighbours: usize,
        each: &dyn Fn(u64),
    ) -> Result<FeatureFigures> {
        let real = Features::of(network, &self.real, each)?;
        let generated = Features::of(network, &self.generated, each)?;
        let distance =
            Gaussian::fit("the real set", &real)?.frechet_distance(&Gaussian::fit("the generated set", &generated)?)?;
        Ok(FeatureFigures {
            features: network.name(),
            width: network.width(),
            frechet_distance: distance,
            neighbourhood: neighbours::compare(&real, &generated, neighbours)?,
        })
    }
}

/// Who judges the images.
pub struct Judges<'a> {
    /// Networks in whose features images are compared.
    pub networks: Vec<&'a dyn FeatureNetwork>,
    /// A classifier of the data set; its features are compared too.
    pub classifier: Option<&'a Classifier>,
}

impl<'a> Judges<'a> {
    /// Every network in whose features images are compared.
    pub fn all(&self) -> Vec<&'a dyn FeatureNetwork> {
        let classifier = self.classifier.map(|classifier| classifier as &dyn FeatureNetwork);
        self.networks.iter().copied().chain(classifier).collect()
    }

    /// Refuses what would fail only after minutes of work: too few images, or images of another shape.
    fn check(&self, real: &Dataset, options: &EvaluationOptions) -> Result<()> {
        let smaller = options.images.min(real.len());
        neighbours::check(options.neighbours, smaller)?;
        let remedy = "a larger --n, or --split train where the test split is small";
        for network in self.all() {
            frechet::check_count("the generated set", options.images, network.width(), remedy)?;
            frechet::check_count("the real set", smaller, network.width(), remedy)?;
        }
        self.classifier.map_or(Ok(()), |classifier| classifier.check_fits(real))
    }
}

/// Evaluates `subject` against the real images `real` of `split`.
///
/// `each` is called with the number of images drawn or looked at, once for drawing and twice for each feature network.
///
/// # Errors
/// If model and data do not fit, there are too few images, or a feature is not finite.
pub fn evaluate(
    subject: &Subject,
    real: &Dataset,
    split: &str,
    judges: &Judges<'_>,
    options: &EvaluationOptions,
    each: &dyn Fn(u64),
) -> Result<Evaluation> {
    let started = Instant::now();
    judges.check(real, options)?;
    let pair = Pair::new(subject, real, options, each)?;
    let compare = |network: &dyn FeatureNetwork| pair.compare(network, options.neighbours, each);
    let features = judges.all().into_iter().map(compare).collect::<Result<_>>()?;
    let classifier = judges.classifier.map(|classifier| classifier.judge(&pair.generated)).transpose()?;
    Ok(Evaluation {
        model: subject.path.display().to_string(),
        rounds: subject.description.training.rounds,
        dataset: real.name().to_string(),
        split: split.to_string(),
        real_images: pair.real.len(),
        generated_images: pair.generated.len(),
        seed: options.seed,
        neighbours: options.neighbours,
        features,
        classifier,
        tstr: None,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn check_shape(subject: &Subject, real: &Dataset) -> Result<()> {
    let arch = &subject.description.architecture;
    if (real.channels(), real.image_size()) != (arch.channels, arch.image_size) {
        return Err(Error::usage(format!(
            "the real images have {} channels and {} pixels a side, the model's {} and {}; load them as the model's are",
            real.channels(),
            real.image_size(),
            arch.channels,
            arch.image_size
        )));
    }
    if arch.classes > 0 && real.labels().is_some() && real.classes() != arch.classes {
        return Err(Error::usage(format!(
            "data set '{}' has {} classes and the model {}; give the data set that it was trained on",
            real.name(),
            real.classes(),
            arch.classes
        )));
    }
    Ok(())
}

/// What a model of `classes` classes is asked for, `count` times: the classes of the real images in turn, so that both sets
/// hold them in the same proportions; where those have no labels, all classes in turn.
pub fn labels_like(real: &Dataset, classes: usize, count: usize) -> Vec<Option<usize>> {
    let label = |k: usize| match real.labels() {
        _ if classes == 0 => None,
        Some(labels) => Some(usize::from(labels[k % labels.len()])),
        None => Some(k % classes),
    };
    (0..count).map(label).collect()
}

/// All of `images`, or `count` of them that `seed` chooses, in their order.
pub fn choose(images: &Dataset, count: usize, seed: u64) -> Dataset {
    if images.len() <= count {
        return images.clone();
    }
    let mut rows: Vec<usize> = (0..images.len()).collect();
    StreamId::new(seed, Purpose::Evaluation).open().shuffle(&mut rows);
    rows.truncate(count);
    rows.sort_unstable();
    images.subset(&rows)
}
