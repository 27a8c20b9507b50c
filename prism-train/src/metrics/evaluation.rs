//! One model's evaluation: which images are compared, in whose features, and what was found.

use std::num::NonZeroUsize;
use std::time::Instant;

use prism_core::stream::{Purpose, StreamId};
use prism_data::Dataset;
use prism_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::classifier::{Classifier, ClassifierFigures};
use super::evaluated_model::EvaluatedModel;
use super::features::{FeatureNetwork, Features};
use super::frechet::{self, Gaussian};
use super::kernel;
use super::neighbours::{self, Neighbourhood};
use super::tstr::TstrFigures;

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
    /// The images that were compared.
    #[serde(flatten)]
    pub images: ComparedImages,
    /// One entry a feature network.
    pub features: Vec<FeatureFigures>,
    /// The figures of a classifier of the data set, where one was given.
    pub classifier: Option<ClassifierFigures>,
    /// Train on synthetic, test on real, where it was asked for.
    pub tstr: Option<TstrFigures>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// Which images were compared, and by how many neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedImages {
    /// Name of the real data set.
    pub dataset: String,
    /// Its split: `test` or `train`.
    pub split: String,
    /// Real images.
    pub real_images: usize,
    /// Generated images.
    pub generated_images: usize,
    /// Seed of the generated images.
    pub seed: u64,
    /// Nearest neighbours of precision, recall, density and coverage.
    pub neighbours: usize,
}

/// Distances in the features of one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureFigures {
    /// Which features.
    pub features: String,
    /// Numbers in a row of them.
    pub width: usize,
    /// Squared Frechet distance; 0 is the same distribution. None of too few real images for a covariance.
    pub frechet_distance: Option<f64>,
    /// Squared kernel distance, in place of a Frechet distance that there is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_distance: Option<f64>,
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
    /// Chooses at most `options.images` of `real` and draws `options.images` by `model`.
    ///
    /// # Errors
    /// If the real images have another shape or other classes than the model's.
    pub fn new(
        model: &EvaluatedModel,
        real: &Dataset,
        options: &EvaluationOptions,
        each: &dyn Fn(u64),
    ) -> Result<Self> {
        check_shape(model, real)?;
        let real = choose(real, options.images, options.seed);
        let labels = labels_like(&real, model.classes(), options.images);
        let generated = model.draw(options.seed, &labels, options.threads, each)?;
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
        let enough = real.len() > network.width();
        let frechet =
            || Gaussian::fit("the real set", &real)?.frechet_distance(&Gaussian::fit("the generated set", &generated)?);
        Ok(FeatureFigures {
            features: network.name(),
            width: network.width(),
            frechet_distance: enough.then(frechet).transpose()?,
            kernel_distance: (!enough).then(|| kernel::distance(&real, &generated)).transpose()?,
            neighbourhood: neighbours::compare(&real, &generated, neighbours)?,
        })
    }
}

/// What images are evaluated by.
pub struct EvaluationNetworks<'a> {
    /// Networks in whose features images are compared.
    pub features: Vec<&'a dyn FeatureNetwork>,
    /// A classifier of the data set; its features are compared too.
    pub classifier: Option<&'a Classifier>,
}

impl<'a> EvaluationNetworks<'a> {
    /// Every network in whose features images are compared.
    pub fn all(&self) -> Vec<&'a dyn FeatureNetwork> {
        let classifier = self.classifier.map(|classifier| classifier as &dyn FeatureNetwork);
        self.features.iter().copied().chain(classifier).collect()
    }
}

/// Compares models with real images.
pub struct Evaluator<'a> {
    /// Networks in whose features they are compared.
    pub networks: EvaluationNetworks<'a>,
    /// How many images, and which.
    pub options: EvaluationOptions,
}

impl Evaluator<'_> {
    /// The images that [`evaluate`](Self::evaluate) counts: each once when it is drawn, and once for each network that sees it.
    pub fn work(&self, real: &Dataset) -> usize {
        let EvaluationOptions { images, .. } = self.options;
        images + self.networks.all().len() * (images + images.min(real.len()))
    }

    /// Evaluates `model` against the real images `real` of `split`; `each` is called with a number of images, which add up to
    /// [`work`](Self::work).
    ///
    /// # Errors
    /// If model and data do not fit, there are too few images, or a feature is not finite.
    pub fn evaluate(
        &self,
        model: &EvaluatedModel,
        real: &Dataset,
        split: &str,
        each: &dyn Fn(u64),
    ) -> Result<Evaluation> {
        let started = Instant::now();
        self.check(real)?;
        let EvaluationOptions { neighbours, seed, .. } = self.options;
        let pair = Pair::new(model, real, &self.options, each)?;
        let compare = |network: &dyn FeatureNetwork| pair.compare(network, neighbours, each);
        let features = self.networks.all().into_iter().map(compare).collect::<Result<_>>()?;
        let classifier = self.networks.classifier.map(|classifier| classifier.evaluate(&pair.generated)).transpose()?;
        let images = ComparedImages {
            dataset: real.name().to_string(),
            split: split.to_string(),
            real_images: pair.real.len(),
            generated_images: pair.generated.len(),
            seed,
            neighbours,
        };
        Ok(Evaluation {
            model: model.path.display().to_string(),
            rounds: model.description.training.rounds,
            images,
            features,
            classifier,
            tstr: None,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Refuses what would fail only after minutes of work: too few images, or images of another shape.
    fn check(&self, real: &Dataset) -> Result<()> {
        let EvaluationOptions { images, neighbours, .. } = self.options;
        let smaller = images.min(real.len());
        neighbours::check(neighbours, smaller)?;
        // Of few real images other distances are left; of generated ones there can always be more.
        for network in self.networks.all() {
            frechet::check_count("the generated set", images, network.width(), "a larger --n")?;
        }
        self.networks.classifier.map_or(Ok(()), |classifier| classifier.check_fits(real))
    }
}

fn check_shape(model: &EvaluatedModel, real: &Dataset) -> Result<()> {
    let arch = &model.description.architecture;
    if (real.channels(), real.image_size()) != (arch.channels, arch.image_size) {
        return Err(Error::usage(format!(
            "the real images have {} channels and {} pixels a side, the model's {} and {}; load them at the model's size",
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

/// The first `count` of `images`, or all of them where there are fewer.
pub fn first(images: &Dataset, count: usize) -> Dataset {
    images.subset(&(0..images.len().min(count)).collect::<Vec<_>>())
}
