//! `prism-train eval`: how good a model's images are, as a table or as JSON on stdout.

mod print;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use prism_data::{Dataset, FolderLayout, Intensity, LoadOptions, Source, Split};
use prism_nn::inception::Inception;
use prism_nn::{Error, Result, device};

use crate::encoder_training::Progress;
use crate::metrics::classifier::Classifier;
use crate::metrics::evaluation::first;
use crate::metrics::features::{FeatureNetwork, PooledEncoder};
use crate::metrics::neighbours::{self, NEIGHBOURS};
use crate::metrics::tstr::{self, Learned, STUDENTS, Student, TstrFigures};
use crate::metrics::{EvaluatedModel, EvaluationNetworks, EvaluationOptions, Evaluator};
use crate::run::progress::Bar;
use crate::run::{RememberedImages, layout_of};
use crate::settings::check_threads;

/// The fewest and the most images that are generated where nobody says how many.
const USUAL_IMAGES: (usize, usize) = (1_000, 10_000);
/// Most images that may be generated.
const MAX_IMAGES: usize = 1_000_000;

/// Flags of `prism-train eval`.
#[derive(Args)]
pub struct EvalArgs {
    /// Run folder, checkpoint or artifact
    model: PathBuf,
    /// Real images to compare with; by default those that the model was trained on
    #[arg(long, value_name = "NAME")]
    dataset: Option<Source>,
    /// Folder that holds the data set's files; by default the run's
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Pass over image files that cannot be read
    #[arg(long)]
    skip_broken: bool,
    /// Part of the data set: test or train
    #[arg(long, value_name = "NAME", default_value = "test", value_parser = ["test", "train"])]
    split: String,
    /// Images to generate, and the most real ones to compare them with; by default as many as there are real ones, but 1000
    /// to 10000
    #[arg(long, value_name = "N")]
    n: Option<usize>,
    /// Encoder in whose last layer's pooled features images are compared
    #[arg(long, value_name = "NAME", default_value = "public")]
    encoder: String,
    /// Weights of pytorch-fid's Inception-v3 as safetensors, for true FID
    #[arg(long, value_name = "FILE")]
    inception: Option<PathBuf>,
    /// Classifier of the data set, for its figures and features; where there is no such file, it is trained on the training
    /// split and saved there
    #[arg(long, value_name = "FILE")]
    classifier: Option<PathBuf>,
    /// Train on synthetic, test on real: train a classifier on N generated images, test it on the real ones
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "60000")]
    tstr: Option<usize>,
    /// Train the networks of --tstr on as many real training images too, for what generated ones could at best do
    #[arg(long, requires = "tstr")]
    tstr_real: bool,
    /// Passes over the images of which a classifier is trained
    #[arg(long, value_name = "N", default_value_t = 3)]
    epochs: usize,
    /// Nearest neighbours of precision, recall, density and coverage
    #[arg(long, value_name = "K", default_value_t = NEIGHBOURS)]
    neighbours: usize,
    /// Seed of the generated images
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Where the feature network computes: auto, cpu or cuda:N
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Threads to use; 0 for one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Print no progress
    #[arg(long, short)]
    quiet: bool,
    /// Print the figures as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Evaluates and prints; a run folder also gets `evaluation.json`, which its report shows.
pub fn run(args: &EvalArgs) -> Result<ExitCode> {
    args.validate()?;
    super::leave_parallelism_to_kernels();
    crate::memory::keep_buffers();
    let threads = args.set_threads();
    let model = EvaluatedModel::open(&args.model)?;
    let real = args.load(&model, &args.split)?;
    if args.tstr.is_some() {
        tstr::check(&model, &real)?;
    }
    let images = args.n.unwrap_or(real.len().clamp(USUAL_IMAGES.0, USUAL_IMAGES.1));
    neighbours::check(args.neighbours, images.min(real.len()))?;
    let device = device::open(&args.device)?;
    let encoder = PooledEncoder::open(&args.encoder, &device)?;
    let classifier = args.classifier(&model, &real)?;
    let inception = args.inception.as_ref().map(|path| Inception::open(path, &device)).transpose()?;
    let inception = inception.as_ref().map(|network| network as &dyn FeatureNetwork);
    let features = std::iter::once(&encoder as &dyn FeatureNetwork).chain(inception).collect();
    let networks = EvaluationNetworks { features, classifier: classifier.as_ref() };
    let options = EvaluationOptions { images, neighbours: args.neighbours, seed: args.seed, threads };
    let evaluator = Evaluator { networks, options };

    let mut evaluation = {
        let (bar, all) = (Bar::new(args.quiet, "drawing and measuring", "images"), evaluator.work(&real) as u64);
        evaluator.evaluate(&model, &real, &args.split, &|images| {
            bar.add(images, all);
            if bar.is_full() {
                bar.call("comparing");
            }
        })?
    };
    if let Some(count) = args.tstr {
        evaluation.tstr = Some(args.measure_tstr(&model, &real, count, threads)?);
    }
    print::save(&model, &evaluation)?;
    print::print(&evaluation, args.json)?;
    Ok(ExitCode::SUCCESS)
}

impl EvalArgs {
    fn validate(&self) -> Result<()> {
        if let Some(n) = self.n.filter(|n| !(2..=MAX_IMAGES).contains(n)) {
            return Err(Error::usage(format!("--n is {n}; choose 2 to {MAX_IMAGES}, such as 10000")));
        }
        if !(1..=1000).contains(&self.epochs) {
            return Err(Error::usage(format!("--epochs is {}; choose 1 to 1000, such as 3", self.epochs)));
        }
        if self.tstr.is_some_and(|images| !(2..=MAX_IMAGES).contains(&images)) {
            let images = self.tstr.unwrap_or_default();
            return Err(Error::usage(format!("--tstr is {images}; choose 2 to {MAX_IMAGES}, such as 60000")));
        }
        if self.tstr_real && self.split == "train" {
            return Err(Error::usage(
                "--tstr-real trains on the training split, and --split train would test on the same images; leave one out",
            ));
        }
        check_threads(self.threads)
    }

    fn set_threads(&self) -> NonZeroUsize {
        // The pool may have been set up already where this runs as a library.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build_global();
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        NonZeroUsize::new(self.threads).unwrap_or_else(all)
    }

    /// The real images at the model's size: of the set that is asked for, else of the run's, else of the artifact's.
    fn load(&self, model: &EvaluatedModel, split: &str) -> Result<Dataset> {
        let description = &model.description;
        let of_run = model.origin.as_ref();
        let source = match (self.dataset, of_run) {
            (Some(source), _) => source,
            (None, Some(run)) => run.data.dataset,
            (None, None) if self.data_dir.is_some() && description.dataset.parse::<Source>().is_err() => Source::Folder,
            (None, None) => description.dataset.parse().map_err(|_| {
                Error::usage(format!(
                    "the model was trained on images of its owner's, '{}'; give them by --data-dir, or another set by --dataset",
                    description.dataset
                ))
            })?,
        };
        let options = LoadOptions {
            data_dir: self.data_dir.clone().or_else(|| of_run.and_then(|run| run.data.data_dir.clone())),
            image_size: description.architecture.image_size,
            channels: Some(description.architecture.channels),
            intensity: of_run.map_or(Intensity::FULL, |run| run.data.intensity),
            skip_broken: self.skip_broken,
            limit: None,
            split: if split == "train" { Split::Train } else { Split::Test },
            seed: of_run.map_or(0, |run| run.federation.seed),
            layout: of_run.map_or_else(FolderLayout::default, |run| layout_of(run, self.data_dir.is_none())),
        };
        let bar = Bar::new(self.quiet, "reading", "files");
        let (images, _) = prism_data::load_surveyed(source, &options, &|all| bar.add(1, all as u64))?;
        drop(bar);
        // Where another set is named, it is the user's wish to compare with that.
        if of_run.is_some() && self.dataset.is_none() {
            let remembered = RememberedImages::read(&self.model)?;
            remembered.map_or(Ok(()), |own| own.check(&images, options.split, source))?;
        }
        Ok(images)
    }

    /// The classifier at `--classifier`, trained and saved if there is none.
    fn classifier(&self, model: &EvaluatedModel, real: &Dataset) -> Result<Option<Classifier>> {
        let Some(path) = &self.classifier else { return Ok(None) };
        if path.exists() {
            let classifier = Classifier::read(path)?;
            classifier.check_fits(real)?;
            return Ok(Some(classifier));
        }
        let (training, test) = (self.load(model, "train")?, self.load(model, "test")?);
        let classifier = self.train("classifier", |each| Classifier::train(&training, &test, self.epochs, each))?;
        classifier.write(path)?;
        if !self.quiet {
            let accuracy = 100.0 * classifier.card().test_accuracy;
            prism_core::errln!("trained {}: {accuracy:.2}% of {} test images right", path.display(), test.len());
        }
        Ok(Some(classifier))
    }

    fn measure_tstr(
        &self,
        model: &EvaluatedModel,
        real: &Dataset,
        count: usize,
        threads: NonZeroUsize,
    ) -> Result<TstrFigures> {
        let bar = Bar::new(self.quiet, "drawing", "images");
        let generated = tstr::draw(model, count, self.seed, threads, &|images| bar.add(images, count as u64))?;
        drop(bar);
        let training = match self.tstr_real {
            true => Some(first(&self.load(model, "train")?, count)),
            false => None,
        };
        let learn = |student: Student, set: &Dataset, what| {
            self.train(what, |each| student.learn(set, real, self.epochs, each))
        };
        let learned = STUDENTS.into_iter().map(|student| {
            let accuracy = learn(student, &generated, "classifier of generated images")?;
            let trained_on_real = training.as_ref().map(|set| learn(student, set, "classifier of real images"));
            Ok(Learned { student, accuracy, trained_on_real: trained_on_real.transpose()? })
        });
        Ok(TstrFigures {
            generated_images: generated.len(),
            epochs: self.epochs,
            real_images: real.len(),
            students: learned.collect::<Result<_>>()?,
            reference_images: training.map(|set| set.len()),
        })
    }

    /// Runs `train` with a bar of its steps.
    fn train<T>(&self, what: &'static str, train: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T>) -> Result<T> {
        let bar = Bar::new(self.quiet, what, "steps");
        train(&mut |p: Progress| bar.to(p.step as u64, p.steps as u64))
    }
}
