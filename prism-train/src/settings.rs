//! Every setting of a run, once: this struct is the command line, the TOML file and the record in the run folder.
//!
//! A value comes from the flag if one was given, else from the `--config` file, else from the defaults here.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches};
use prism_core::Architecture;
use prism_core::artifact::MaskRule;
use prism_core::mixture::MAX_COMPONENTS;
use prism_core::wire::Downlink;
use prism_nn::encoder::Grids;
use prism_nn::generator::Styles;
use prism_nn::{Error, Estimator, Result};
use serde::{Deserialize, Serialize};

use crate::codec_settings::CodecSettings;
use crate::federation::{Regime, TrainingMask};
use crate::partition::Partition;
use crate::privacy::PrivacySettings;
use crate::privacy::settings::Mechanism;

/// Most bytes that a settings file may have.
const MAX_FILE: u64 = 1 << 20;

/// The settings of a training run. In a TOML file the keys are the flags' names, such as `image-size = 32`.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    /// Images to learn from: strokes (embedded), mnist, fashion-mnist, cifar10, or folder (your own)
    #[arg(long, value_name = "NAME", default_value = "strokes", help_heading = "Data")]
    pub dataset: String,
    /// Folder that holds the data set's files
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Use at most this many images
    #[arg(long, value_name = "N", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Side of the images in pixels: a power of two from 8 to 256
    #[arg(long, value_name = "PIXELS", default_value_t = 32, help_heading = "Data")]
    pub image_size: usize,
    /// 1 for grey, 3 for colour; by default what the data set has
    #[arg(long, value_name = "N", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,

    /// Number of clients
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Federation")]
    pub clients: u32,
    /// How images are divided: iid, shards:N, dirichlet:ALPHA or classes:N
    #[arg(long, value_name = "RULE", default_value = "iid", help_heading = "Federation")]
    pub partition: Partition,
    /// Rounds of masks, or one message of moments from each client and a server that trains alone: rounds or one-shot
    #[arg(long, value_name = "RULE", default_value_t = Regime::Rounds, help_heading = "Federation")]
    pub federation: Regime,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Federation")]
    pub rounds: u32,
    /// Steps that a client takes in a round
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Federation")]
    pub local_steps: u64,
    /// Share of the clients that take part in a round, above 0 and at most 1
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, help_heading = "Federation")]
    pub fraction: f64,
    /// Probability that a client of the round never answers, at least 0 and below 1
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Federation")]
    pub dropout: f64,
    /// Mask-aware moving average on the server, the published way: step by the distance of the masks; averages the noise of votes, which --uplink flips does not have
    #[arg(long, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set, help_heading = "Federation")]
    pub mada: bool,
    /// PRISM-alpha: share of the layers, counted from the output, whose scores cross as 32-bit numbers
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Federation")]
    pub alpha: f64,

    /// What crosses the wire, and how.
    #[command(flatten)]
    #[serde(flatten)]
    pub wire: CodecSettings,

    /// Base width of the generator; weights grow with its square
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Model")]
    pub ngf: usize,
    /// Length of the latent vector
    #[arg(long, value_name = "N", default_value_t = 128, help_heading = "Model")]
    pub latent: usize,
    /// Generators that the model is a mixture of, each a mask over frozen weights of its own, trained in turn towards the same moments
    /// (1 to 64; above 1 with --federation one-shot): images vary more, and time and file grow with it
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Model")]
    #[serde(default = "one_component")]
    pub components: usize,
    /// Standard deviation of the initial scores: the larger, the surer the mask, and the less noise the votes of a round bring
    /// in; a learning rate goes with it
    #[arg(long, value_name = "X", default_value_t = 4.0, help_heading = "Model")]
    #[serde(default = "one")]
    pub score_scale: f32,
    /// One generator for all classes, told which to draw; needs labels, so it is ignored where there are none
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, help_heading = "Model")]
    pub conditional: bool,
    /// Size of the one-hot label's entry beside the normal latent
    #[arg(long, value_name = "X", default_value_t = 16.0, help_heading = "Model")]
    pub label_scale: f32,
    /// How the final mask is made from the learned probabilities
    #[arg(long, value_name = "RULE", default_value_t = MaskRule::Threshold, help_heading = "Model")]
    pub mask: MaskRule,

    /// Frozen encoder whose feature moments are matched: public (embedded), vgg19:FILE, file:PATH or random:SEED
    #[arg(long, value_name = "NAME", default_value = "public", help_heading = "Training")]
    pub encoder: String,
    /// Images generated in a local step
    #[arg(long, value_name = "N", default_value_t = 80, help_heading = "Training")]
    pub batch_size: usize,
    /// Classes drawn in a local step of a conditional model, sharing the batch; with --styles, as many styles are drawn of all
    /// classes as so many classes have. Fewer leave each more images, which makes their moments surer
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Training")]
    pub classes_per_step: usize,
    /// Styles of a class (1, 2, 4, 8 or 16), each matched by itself: images then vary more. A step with the unbiased estimator takes
    /// only so many of them that each has four images
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Training")]
    #[serde(default = "one_style")]
    pub styles: usize,
    /// How many times as much each encoder layer counts as the one before it: above 1 for what images show, below 1 for pixels
    #[arg(long, value_name = "X", default_value_t = 1.0, help_heading = "Training")]
    #[serde(default = "evenly")]
    pub layer_growth: f64,
    /// Match features also together: averaged over grids of so many cells a side and mixed across channels by random signs, such
    /// as 1,2,4; or none
    #[arg(long, value_name = "CELLS", default_value = "none", help_heading = "Training")]
    #[serde(default)]
    pub sketches: Grids,
    /// Added to the slope of the last tanh on the way back, such as 0.1, but to push out what is all white or black: such pixels
    /// have none else, and burnt-out patches stay. It falls to 0 over half of --lr-decay-rounds; 0 for the tanh's own slope
    #[arg(long, value_name = "X", default_value_t = 0.0, help_heading = "Training")]
    #[serde(default)]
    pub tanh_leak: f32,
    /// Adam's learning rate on the scores
    #[arg(long, value_name = "RATE", default_value_t = 0.4, help_heading = "Training")]
    pub lr: f64,
    /// How moments of a batch are compared with those to match: unbiased (what chance adds is taken off) or plain, whose images
    /// are more alike and, where moments are noisy (--dp-epsilon 1 or less), clearer
    #[arg(long, value_name = "NAME", default_value_t = Estimator::Unbiased, help_heading = "Training")]
    #[serde(default)]
    pub estimator: Estimator,
    /// Match a moving average of the generated moments (AMA), which Adam moves at this rate, as published: 1e-5. 0 matches those of
    /// each step, which is faster and better
    #[arg(long, value_name = "RATE", default_value_t = 0.0, help_heading = "Training")]
    #[serde(default)]
    pub average_rate: f64,
    /// Rounds over which the learning rate falls to a hundredth, on half a cosine; 0 for a constant rate
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    #[serde(default)]
    pub lr_decay_rounds: u32,
    /// Which weights a local step keeps: drawn (each with its probability), threshold (those above one half, as shipped), or none:
    /// no mask but dense weights, a baseline that is averaged as numbers and has no artifact
    #[arg(long, value_name = "RULE", default_value_t = TrainingMask::Threshold, help_heading = "Training")]
    #[serde(default)]
    pub training_mask: TrainingMask,
    /// Root of every random draw: same settings and seed, same model, byte for byte
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    pub seed: u64,

    /// How clients' images are protected
    #[command(flatten)]
    #[serde(flatten)]
    pub privacy: PrivacySettings,

    /// Where to compute: auto, cpu or cuda:N
    #[arg(long, value_name = "NAME", default_value = "auto", help_heading = "Run")]
    pub device: String,
    /// Threads to use; 0 for one per core
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Run")]
    pub threads: usize,
    /// MiB of memory for clients' states between rounds; what does not fit is read from the run folder
    #[arg(long, value_name = "MIB", default_value_t = 512, help_heading = "Run")]
    #[serde(default = "half_a_gibibyte")]
    pub client_memory: u64,
    /// Save a checkpoint when so many seconds have passed since the last one; 0 for after every round. A run that is killed repeats
    /// the rounds since then, to the same bytes; one that is stopped by Ctrl-C, or ends, saves its last round
    #[arg(long, value_name = "N", default_value_t = 120, help_heading = "Run")]
    #[serde(default = "two_minutes")]
    pub checkpoint_seconds: u64,
    /// Run folder; by default a new one under runs/
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// Draw a grid of samples every N rounds, and after the last; 0 for never
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Run")]
    pub sample_every: u32,
    /// Judge the model every N rounds, and after the last, and keep the best one's checkpoint; 0 for never
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Run")]
    #[serde(default)]
    pub eval_every: u32,
    /// Test images, and as many generated ones, by which a round is judged; not used where privacy is on
    #[arg(long, value_name = "N", default_value_t = EVAL_IMAGES, help_heading = "Run")]
    #[serde(default = "eval_images")]
    pub eval_images: usize,
    /// Which round's model becomes the artifact: last, or best of those judged
    #[arg(long, value_name = "ROUND", default_value = "last", value_parser = ["last", "best"], help_heading = "Run")]
    #[serde(default = "last")]
    pub keep: String,
}

/// Images by which a round is judged, unless asked otherwise: enough for the covariance of 256 features.
const EVAL_IMAGES: usize = 1000;

fn eval_images() -> usize {
    EVAL_IMAGES
}

/// The score scale of runs that were begun before it could be chosen.
fn one() -> f32 {
    1.0
}

/// The components of runs that were begun before there were any.
fn one_component() -> usize {
    1
}

/// The styles of runs that were begun before there were any.
fn one_style() -> usize {
    1
}

/// How layers counted in runs that were begun before it could be chosen.
fn evenly() -> f64 {
    1.0
}

/// The default of a run that was begun before it could be chosen.
fn half_a_gibibyte() -> u64 {
    512
}

/// The default of a run that was begun before it could be chosen.
fn two_minutes() -> u64 {
    120
}

fn last() -> String {
    "last".into()
}

/// Settings that say how a run is carried out, not what it computes: they may change when it is resumed.
const FREE_ON_RESUME: [&str; 7] =
    ["device", "threads", "client-memory", "checkpoint-seconds", "rounds", "sample-every", "data-dir"];

impl Settings {
    /// The settings that the command line and the file at `config` add up to.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if the file is missing, has an unknown key or a value of the wrong type.
    pub fn resolve(matches: &ArgMatches, config: Option<&Path>) -> Result<Self> {
        let flags = Settings::from_arg_matches(matches).map_err(|e| Error::usage(e.to_string()))?;
        let mut table = to_table(&flags)?;
        let Some(path) = config else { return Ok(flags) };
        table.extend(read_table(path)?);
        table.extend(given(matches, &flags)?);
        from_table(table, path)
    }

    /// The settings of the run saved at `path`, with those flags of this command line that a resumed run may change.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if a given flag contradicts the run.
    pub fn resume(matches: &ArgMatches, path: &Path) -> Result<Self> {
        let mut table = read_table(path)?;
        let flags = Settings::from_arg_matches(matches).map_err(|e| Error::usage(e.to_string()))?;
        for (key, value) in given(matches, &flags)? {
            if !FREE_ON_RESUME.contains(&key.as_str()) && table.get(&key) != Some(&value) {
                return Err(Error::usage(format!(
                    "--{key} {value} contradicts the run being resumed, which has {}; leave the flag out, or start a new run",
                    table.get(&key).map_or("no such setting".into(), ToString::to_string)
                )));
            }
            table.insert(key, value);
        }
        from_table(table, path)
    }

    /// The settings as a TOML file that `--config` accepts.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if a value has no TOML form, such as a seed above `i64::MAX`.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::usage(format!("the settings cannot be written as TOML: {e}")))
    }

    /// Refuses values outside their limits.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] naming the flag, its value and its limit.
    pub fn validate(&self) -> Result<()> {
        self.validate_counts()?;
        self.validate_numbers()?;
        let protected = self.privacy.budget()?.is_some();
        let masked = protected && self.privacy.dp_mechanism == Mechanism::Mask;
        self.validate_sketches(protected && !masked)?;
        self.validate_styles(masked)?;
        self.wire.validate(self.asked(), self.federation)?;
        self.validate_components()?;
        self.validate_dense(masked)?;
        self.validate_judging(masked)?;
        // The data set may still change channels and classes; the rest of the shape is settled here, before it loads.
        Ok(self.architecture(self.channels.unwrap_or(1), 0).validate()?)
    }

    fn validate_counts(&self) -> Result<()> {
        for (flag, count, limit) in [
            ("clients", self.clients.into(), "at least 1"),
            ("rounds", self.rounds.into(), "at least 1"),
            ("local-steps", self.local_steps, "at least 1"),
            ("limit", self.limit.map_or(1, |n| n as u64), "at least 1 image"),
        ] {
            if count == 0 {
                return refuse(flag, count, limit);
            }
        }
        if self.seed > i64::MAX as u64 {
            return refuse("seed", self.seed, "a number up to 9223372036854775807");
        }
        if !(1..=1000).contains(&self.classes_per_step) {
            return refuse("classes-per-step", self.classes_per_step, "1 to 1000, such as 10");
        }
        if !(2..=65536).contains(&self.batch_size) {
            return refuse("batch-size", self.batch_size, "2 to 65536, since a variance needs two images");
        }
        check_threads(self.threads)
    }

    fn validate_numbers(&self) -> Result<()> {
        if !(self.fraction > 0.0 && self.fraction <= 1.0) {
            return refuse("fraction", self.fraction, "a number above 0 and at most 1");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", self.dropout, "a number from 0 to below 1");
        }
        if !(0.0..=1.0).contains(&self.alpha) {
            return refuse("alpha", self.alpha, "a number from 0 to 1");
        }
        if !(self.lr > 0.0 && self.lr <= 100.0) {
            return refuse("lr", self.lr, "a number above 0 and at most 100, such as 0.4");
        }
        if !(0.0..=1.0).contains(&self.average_rate) {
            return refuse("average-rate", self.average_rate, "a number from 0 (no average) to 1, such as 1e-5");
        }
        if !(0.1..=10.0).contains(&self.layer_growth) {
            return refuse("layer-growth", self.layer_growth, "a number from 0.1 to 10, such as 1.4");
        }
        if !(0.0..=1.0).contains(&self.tanh_leak) {
            return refuse("tanh-leak", self.tanh_leak, "a number from 0 to 1, such as 0.1");
        }
        if !(self.score_scale > 0.0 && self.score_scale <= 8.0) {
            return refuse("score-scale", self.score_scale, "a number above 0 and at most 8, such as 4");
        }
        Ok(())
    }

    fn validate_components(&self) -> Result<()> {
        if !(1..=MAX_COMPONENTS).contains(&self.components) {
            return refuse("components", self.components, &format!("1 to {MAX_COMPONENTS}, such as 4"));
        }
        if self.components > 1 && self.federation == Regime::Rounds {
            let why = "1, or --federation one-shot: in rounds a client would train and send a mask for each";
            return refuse("components", self.components, why);
        }
        if self.components > 1 && self.training_mask == TrainingMask::None {
            return refuse(
                "components",
                self.components,
                "1 with --training-mask none, whose weights have no artifact",
            );
        }
        Ok(())
    }

    fn validate_styles(&self, masked: bool) -> Result<()> {
        if self.latent < Styles::new(self.styles)?.bits() {
            return refuse("latent", self.latent, &format!("more for --styles {}, or fewer styles", self.styles));
        }
        if self.styles > 1 && masked {
            return Err(Error::usage(format!(
                "--styles is {}, and where styles part follows from images, which --dp-mechanism mask does not protect; give \
                 --styles 1, or --dp-mechanism moments",
                self.styles
            )));
        }
        Ok(())
    }

    /// Noise in features is averaged out by how many there are, and sketches are few.
    fn validate_sketches(&self, noisy: bool) -> Result<()> {
        if noisy && !self.sketches.is_empty() {
            return Err(Error::usage(format!(
                "--sketches is {}, and noisy sketches make images alike; give --sketches none with --dp-epsilon",
                self.sketches
            )));
        }
        Ok(())
    }

    fn validate_judging(&self, masked: bool) -> Result<()> {
        if self.eval_images > 1_000_000 {
            return refuse("eval-images", self.eval_images, "at most 1000000, such as 1000");
        }
        if !["last", "best"].contains(&self.keep.as_str()) {
            return refuse("keep", &self.keep, "last or best");
        }
        if masked && (self.eval_every > 0 || self.keep == "best") {
            return Err(Error::usage(format!(
                "--eval-every {} with --keep {} would judge rounds by images or losses that --dp-mechanism mask does not protect; \
                 give --eval-every 0 and --keep last, or --dp-mechanism moments",
                self.eval_every, self.keep
            )));
        }
        if self.keep == "best" && self.eval_every == 0 {
            return Err(Error::usage("--keep best needs rounds that are judged; give --eval-every, such as 5"));
        }
        Ok(())
    }

    /// Dense weights cross as numbers and are averaged; everything that is about masks has no meaning for them.
    fn validate_dense(&self, masked: bool) -> Result<()> {
        let in_rounds = self.federation == Regime::Rounds;
        // The default downlink is of a grid, which weights are not on.
        let coded = self.wire.is_coded() || self.wire.downlink != Downlink::Scores || masked;
        let about_masks = in_rounds && (self.alpha < 1.0 || self.mada || coded);
        if self.training_mask == TrainingMask::None && about_masks {
            return Err(Error::usage(
                "--training-mask none has no masks to send, code or protect: give --alpha 1 --downlink f32 --mada false --uplink flips \
                 --kl-weight 0 without --dp-mechanism mask, which is FedAvg of dense weights, or --federation one-shot",
            ));
        }
        Ok(())
    }

    /// Clients asked in a round: a share of all, at least one.
    pub fn asked(&self) -> u32 {
        ((f64::from(self.clients) * self.fraction).round() as u32).clamp(1, self.clients.max(1))
    }

    /// The generator that these settings describe, for a data set with so many channels and classes.
    pub fn architecture(&self, channels: usize, classes: usize) -> Architecture {
        Architecture {
            image_size: self.image_size,
            channels,
            ngf: self.ngf,
            latent: self.latent,
            classes: if self.conditional { classes } else { 0 },
            label_scale: self.label_scale,
        }
    }
}

/// Refuses a value outside its limits, in the words that every flag has for it.
fn refuse(flag: &str, value: impl std::fmt::Display, limit: &str) -> Result<()> {
    Err(Error::usage(format!("--{flag} is {value}; choose {limit}")))
}

/// Refuses more threads than any machine has use for, before the first one is started.
///
/// # Errors
/// [`prism_core::Error::Usage`] naming the limit.
pub fn check_threads(threads: usize) -> Result<()> {
    if threads > 1024 {
        return refuse("threads", threads, "0 (one per core) to 1024");
    }
    Ok(())
}

fn is_given(matches: &ArgMatches, key: &str) -> bool {
    matches.value_source(&key.replace('-', "_")) == Some(ValueSource::CommandLine)
}

fn given(matches: &ArgMatches, flags: &Settings) -> Result<toml::Table> {
    Ok(to_table(flags)?.into_iter().filter(|(key, _)| is_given(matches, key)).collect())
}

fn to_table(settings: &Settings) -> Result<toml::Table> {
    toml::Table::try_from(settings).map_err(|e| Error::usage(format!("the settings have no TOML form: {e}")))
}

fn from_table(table: toml::Table, path: &Path) -> Result<Settings> {
    // serde cannot refuse unknown keys where groups of settings are flattened into one table.
    let known = Settings::augment_args(clap::Command::new(""));
    let is_known = |key: &str| known.get_arguments().any(|flag| flag.get_long() == Some(key));
    if let Some(key) = table.keys().find(|key| !is_known(key)) {
        return Err(Error::usage(format!(
            "{}: there is no setting `{key}`; see `prism-train --help` for every setting",
            path.display()
        )));
    }
    table.try_into().map_err(|e: toml::de::Error| {
        Error::usage(format!("{}: {}; see `prism-train --help` for every setting", path.display(), e.message()))
    })
}

fn read_table(path: &Path) -> Result<toml::Table> {
    let bytes = prism_core::file::read_bounded(path, MAX_FILE)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::usage(format!("{} is not a text file; give a TOML file of settings", path.display())))?;
    text.parse().map_err(|e: toml::de::Error| Error::usage(format!("{}: {}", path.display(), e.message())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::accounting::Accountant;
    use clap::Command;
    use prism_nn::SecondMoment;

    fn parse(arguments: &[&str]) -> ArgMatches {
        let command = Settings::augment_args(Command::new("prism-train"));
        command.try_get_matches_from(std::iter::once("prism-train").chain(arguments.iter().copied())).unwrap()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let config = file("clients = 5\nngf = 8\ndata-dir = \"a\"");
        let settings = Settings::resolve(&parse(&["--clients", "10"]), Some(config.path())).unwrap();
        assert_eq!((settings.clients, settings.ngf, settings.rounds), (10, 8, 8));
        assert_eq!(settings.data_dir, Some("a".into()));
        // A flag wins also where it says what saved settings may leave unsaid.
        let config = file("dp-epsilon = 1.0\ndp-second = \"square\"\ndp-accountant = \"gaussian\"");
        let flags = parse(&["--dp-second", "variance", "--dp-accountant", "zcdp"]);
        let privacy = Settings::resolve(&flags, Some(config.path())).unwrap().privacy;
        assert_eq!((privacy.dp_second, privacy.dp_accountant), (SecondMoment::Variance, Accountant::Zcdp));
    }

    #[test]
    fn unknown_keys_are_errors_that_name_the_key() {
        let config = file("klients = 5");
        let error = Settings::resolve(&parse(&[]), Some(config.path())).unwrap_err();
        assert!(error.to_string().contains("klients"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn saved_settings_read_back_the_same() {
        let settings = Settings::resolve(&parse(&["--partition", "dirichlet:0.3", "--seed", "9"]), None).unwrap();
        let saved = file(&settings.to_toml().unwrap());
        assert_eq!(from_table(read_table(saved.path()).unwrap(), saved.path()).unwrap(), settings);
    }

    #[test]
    fn a_resumed_run_may_go_on_longer_but_not_change_its_width() {
        let saved = file(&Settings::resolve(&parse(&[]), None).unwrap().to_toml().unwrap());
        let longer = Settings::resume(&parse(&["--rounds", "40", "--threads", "1"]), saved.path()).unwrap();
        assert_eq!((longer.rounds, longer.threads), (40, 1));
        assert!(Settings::resume(&parse(&["--ngf", "16"]), saved.path()).is_ok());
        // A run of before there was the setting takes its default.
        let older = file(&std::fs::read_to_string(saved.path()).unwrap().replace("checkpoint-seconds = 120\n", ""));
        assert_eq!(Settings::resume(&parse(&[]), older.path()).unwrap().checkpoint_seconds, 120);
        let seldom = Settings::resume(&parse(&["--checkpoint-seconds", "600"]), saved.path()).unwrap();
        assert_eq!(seldom.checkpoint_seconds, 600);
        let error = Settings::resume(&parse(&["--ngf", "8"]), saved.path()).unwrap_err();
        assert!(error.to_string().contains("--ngf 8"), "{error}");
    }

    #[test]
    fn every_recipe_is_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let recipes: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
        assert!(!recipes.is_empty());
        for recipe in recipes {
            let settings = Settings::resolve(&parse(&[]), Some(&recipe)).unwrap();
            settings.validate().unwrap();
            let named_after = recipe.file_stem().unwrap().to_str().unwrap();
            assert!(named_after.starts_with(&settings.dataset), "{named_after} trains on {}", settings.dataset);
        }
    }

    #[test]
    fn values_outside_their_limits_are_refused() {
        let noisy = parse(&["--dp-epsilon=1", "--sketches=1,2"]);
        let refused = Settings::resolve(&noisy, None).and_then(|settings| settings.validate()).unwrap_err();
        assert!(refused.to_string().contains("--sketches none") && refused.exit_code() == 2, "{refused}");
        let one_shot = parse(&["--federation=one-shot", "--uplink=mrc"]);
        let refused = Settings::resolve(&one_shot, None).and_then(|settings| settings.validate());
        assert_eq!(refused.unwrap_err().exit_code(), 2);
        for judged in ["--eval-every=1", "--keep=best"] {
            let mask = parse(&["--dp-epsilon=1", "--dp-mechanism=mask", judged]);
            let refused = Settings::resolve(&mask, None).and_then(|settings| settings.validate()).unwrap_err();
            assert!(refused.to_string().contains("does not protect") && refused.exit_code() == 2, "{refused}");
        }
        for flags in [
            ["--clients", "0"],
            ["--rounds", "0"],
            ["--local-steps", "0"],
            ["--batch-size", "1"],
            ["--fraction", "0"],
            ["--fraction", "NaN"],
            ["--dropout", "1"],
            ["--alpha", "2"],
            ["--lr", "-1"],
            ["--image-size", "33"],
            ["--ngf", "0"],
            ["--channels", "2"],
            ["--kl-weight", "-1"],
            ["--score-scale", "0"],
            ["--styles", "5"],
            ["--components", "0"],
            ["--components", "2"],
            ["--components", "65"],
            ["--layer-growth", "0"],
            ["--tanh-leak", "-1"],
            ["--tanh-leak", "NaN"],
            ["--average-rate", "2"],
            ["--classes-per-step", "0"],
            ["--classes-per-step", "1152921504606846976"],
            ["--threads", "1025"],
            ["--training-mask", "none"],
            ["--seed", "18446744073709551615"],
        ] {
            let refused = Settings::resolve(&parse(&[&flags.join("=")]), None).and_then(|settings| settings.validate());
            assert_eq!(refused.expect_err(&format!("{flags:?}")).exit_code(), 2);
        }
    }
}
