//! How good the model is between rounds, and which round is kept as the best.
//!
//! Without differential privacy, some rounds' models are compared with test images, which no client holds. With it, no
//! real image is looked at outside the mechanism that protects it: a round's figure is then its training loss, the
//! distance to moments that were released with noise.

use std::num::NonZeroUsize;
use std::path::Path;

use candle_core::Device;
use prism_export::{Checkpoint, RunFolder};
use prism_fl::{Server, round_metrics};
use prism_nn::Result;

use super::metrics::{RoundEvaluation, RoundMetrics};
use crate::metrics::EvaluatedModel;
use crate::metrics::evaluation::{choose, labels_like};
use crate::metrics::features::{FeatureNetwork, Features, PooledEncoder};
use crate::metrics::frechet::{self, Gaussian};
use crate::metrics::neighbours::{self, NEIGHBOURS};
use crate::settings::Settings;
use prism_data::Dataset;

/// Real images, and as many generated ones, by which a round is evaluated: enough for the covariance of 256 features.
const IMAGES: usize = 1000;

/// Evaluates rounds.
pub struct RoundEvaluator {
    every: u32,
    rounds: u32,
    /// `None` where privacy is on.
    test: Option<Test>,
    best: Option<f64>,
}

/// The real images, measured once.
struct Test {
    network: PooledEncoder,
    real: Dataset,
    features: Features,
    gaussian: Gaussian,
    threads: NonZeroUsize,
}

impl RoundEvaluator {
    /// An evaluator of every `eval-every`-th round and of the last one; of none if that is 0.
    ///
    /// Some real images are chosen from `test`, which is called only where the run is not `protected` by privacy.
    ///
    /// # Errors
    /// If the test images cannot be loaded or measured, or are too few.
    pub fn new(settings: &Settings, protected: bool, test: impl FnOnce() -> Result<Dataset>) -> Result<Self> {
        let (every, rounds) = (settings.run.eval_every, settings.federation.rounds);
        let test = match every > 0 && !protected {
            true => Some(Test::new(test, settings.run.threads)?),
            false => None,
        };
        Ok(RoundEvaluator { every, rounds, test, best: None })
    }

    /// Takes up where a resumed run stopped: the best figure of the rounds in `metrics` that were evaluated. Where the last
    /// finished round is the best, `checkpoint` is saved at `best` again, since the process may have ended between the two.
    ///
    /// A run that was to end earlier evaluated its last round, which is not every so many: its evaluation tells, or that its
    /// checkpoint is the one at `best`.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn resume(&mut self, folder: &RunFolder, checkpoint: &Checkpoint) -> Result<()> {
        let best = folder.best();
        let round_of = |checkpoint: &Checkpoint| checkpoint.description.model.training.rounds;
        let done = round_of(checkpoint);
        let kept = match self.every > 0 && best.exists() {
            true => Some(round_of(&Checkpoint::read(&best)?)),
            false => None,
        };
        let mut of_last = false;
        for line in round_metrics::read::<RoundMetrics>(&folder.metrics())? {
            let round = line.federation.round;
            let evaluated = self.is_due(round) || line.evaluation.is_some() || kept == Some(round);
            if let Some(figure) = self.figure(&line).filter(|figure| evaluated && self.is_better(*figure)) {
                self.best = Some(figure);
                of_last = round == done;
            }
        }
        if of_last {
            checkpoint.write(&best)?;
        }
        Ok(())
    }

    /// Compares the model of `server` with test images, where its round is to be evaluated and may be; calls `begin` first.
    ///
    /// # Errors
    /// If the model cannot be frozen or drawn from, or a feature is not finite.
    pub fn evaluate(&self, server: &Server, begin: impl FnOnce()) -> Result<Option<RoundEvaluation>> {
        let test = self.test.as_ref().filter(|_| self.is_due(server.round()));
        let compare = |test: &Test| {
            begin();
            test.compare(&server.checkpoint())
        };
        test.map(compare).transpose()
    }

    /// Whether the round of `metrics` is the best so far; if so, the next one must be better than this.
    pub fn improves(&mut self, metrics: &RoundMetrics) -> bool {
        let evaluated = self.is_due(metrics.federation.round);
        match self.figure(metrics).filter(|figure| evaluated && self.is_better(*figure)) {
            Some(figure) => {
                self.best = Some(figure);
                true
            }
            None => false,
        }
    }

    fn is_due(&self, round: u32) -> bool {
        self.every > 0 && (round.is_multiple_of(self.every) || round == self.rounds)
    }

    /// What a round is evaluated by; smaller is better.
    fn figure(&self, metrics: &RoundMetrics) -> Option<f64> {
        match &self.test {
            Some(_) => metrics.evaluation.map(|evaluation| evaluation.frechet_distance),
            None => metrics.federation.loss,
        }
    }

    fn is_better(&self, figure: f64) -> bool {
        figure.is_finite() && self.best.is_none_or(|best| figure < best)
    }
}

impl Test {
    fn new(test: impl FnOnce() -> Result<Dataset>, threads: usize) -> Result<Self> {
        let network = PooledEncoder::open("public", &Device::Cpu)?;
        let real = choose(&test()?, IMAGES, 0);
        frechet::check_count(
            "the test split",
            real.len(),
            network.width(),
            "in a larger data set, or evaluate no round by eval-every 0",
        )?;
        let features = Features::of(&network, &real, &|_| ())?;
        let gaussian = Gaussian::fit("the test split", &features)?;
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = NonZeroUsize::new(threads).unwrap_or_else(all);
        Ok(Test { network, real, features, gaussian, threads })
    }

    fn compare(&self, checkpoint: &Checkpoint) -> Result<RoundEvaluation> {
        let model = EvaluatedModel::trained(Path::new("the run"), checkpoint)?;
        let labels = labels_like(&self.real, model.classes(), IMAGES);
        let generated = model.draw(0, &labels, self.threads, &|_| ())?;
        let features = Features::of(&self.network, &generated, &|_| ())?;
        let gaussian = Gaussian::fit("the generated set", &features)?;
        Ok(RoundEvaluation {
            real_images: self.real.len(),
            generated_images: generated.len(),
            frechet_distance: self.gaussian.frechet_distance(&gaussian)?,
            neighbourhood: neighbours::compare(&self.features, &features, NEIGHBOURS)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::neighbours::Neighbourhood;
    use crate::run::metrics::tests::metrics as line;
    use prism_core::Architecture;
    use prism_core::artifact::{Description, MaskRule, Training};

    /// Five rounds, every `every`-th of which is evaluated.
    fn settings(every: u32) -> Settings {
        let mut settings = Settings::default();
        (settings.federation.rounds, settings.run.eval_every) = (5, every);
        settings
    }

    /// A checkpoint after `rounds` rounds.
    fn checkpoint(rounds: u32) -> Checkpoint {
        let architecture = Architecture { image_size: 8, channels: 1, ngf: 2, latent: 4, classes: 0, label_scale: 3.0 };
        let initial = |(i, l)| prism_core::score::initial_scores(1, i, l, 1.0);
        let scores = architecture.layers().iter().enumerate().map(initial).collect();
        let model = Description {
            architecture,
            seed: 1,
            components: 1,
            encoder: "random:1".into(),
            dataset: "strokes".into(),
            class_names: Vec::new(),
            training: Training { rounds, ..Training::default() },
            mask_rule: MaskRule::Threshold,
            privacy: "some".into(),
        };
        let description =
            prism_export::checkpoint::Description { model, client_rounds: Vec::new(), dense: false, best_round: None };
        Checkpoint { description, scores }
    }

    #[test]
    fn a_prolonged_run_remembers_that_its_old_last_round_was_evaluated() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        let (metrics, best) = (run.metrics(), run.best());
        let evaluated = Neighbourhood { precision: 0.5, recall: 0.5, density: 1.0, coverage: 0.5 };
        let evaluation =
            RoundEvaluation { real_images: 9, generated_images: 9, frechet_distance: 1.0, neighbourhood: evaluated };
        // Of three rounds, every second and the last were evaluated; the last was the best.
        for evaluated in [false, true] {
            let last = RoundMetrics { evaluation: evaluated.then_some(evaluation), ..line(3, 1.0) };
            let _ = std::fs::remove_file(&metrics);
            [line(1, 0.1), line(2, 2.0), last].iter().for_each(|line| round_metrics::append(&metrics, line).unwrap());
            match evaluated {
                true => drop(std::fs::remove_file(&best)),
                false => checkpoint(3).write(&best).unwrap(),
            }
            let mut evaluator = RoundEvaluator::new(&settings(2), true, || panic!("no image is read")).unwrap();
            evaluator.resume(&run, &checkpoint(3)).unwrap();
            assert!(!evaluator.improves(&line(4, 1.5)), "round 4 is worse than round 3");
            assert!(evaluator.improves(&line(5, 0.9)));
        }
    }

    #[test]
    fn with_privacy_no_test_image_is_read_and_the_loss_decides() {
        let untouched = || panic!("the test images were read");
        let mut evaluator = RoundEvaluator::new(&settings(2), true, untouched).unwrap();
        assert!(!evaluator.improves(&line(1, 0.1)), "round 1 is not evaluated");
        assert!(evaluator.improves(&line(2, 3.0)));
        assert!(!evaluator.improves(&line(4, 3.5)));
        assert!(evaluator.improves(&line(5, 2.0)), "the last round is always evaluated");
        assert!(!evaluator.improves(&line(5, f64::NAN)));
    }

    #[test]
    fn without_privacy_too_few_test_images_are_refused() {
        let test = || Ok(Dataset::new("few", 8, 1, vec![0; 64 * 20])?);
        let error = RoundEvaluator::new(&settings(1), false, test).err().unwrap().to_string();
        assert!(error.contains("the test split has 20 images"), "{error}");
        let unread = || panic!("the test images were read");
        assert!(RoundEvaluator::new(&settings(0), false, unread).is_ok(), "nothing is evaluated, so nothing is read");
    }
}
