//! What a server and its clients agree on before the first message.
//!
//! Groups are the tables of a settings file, fields its keys. Each default stands here and nowhere else.

pub mod limits;
mod message_size;
pub mod privacy;
mod validate;

use prism_core::arch::Architecture;
use prism_core::{Result, text_enum};
use prism_nn::encoder::Grids;
use prism_nn::generator::Subclasses;
use prism_nn::{Estimator, SecondMoment};
use serde::{Deserialize, Serialize};

pub use self::message_size::MessageSize;
use self::privacy::PrivacySettings;
use crate::codec::Uplink;
use crate::wire::Downlink;

/// Everything that server and clients must have in common, but for what the images say (channels and classes).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Who takes part, and for how long.
    pub federation: FederationSettings,
    /// What crosses the wire.
    pub wire: WireSettings,
    /// The generator.
    pub model: ModelSettings,
    /// Local steps.
    pub training: TrainingSettings,
    /// How clients' images are protected.
    pub privacy: PrivacySettings,
}

/// Who takes part, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct FederationSettings {
    /// Number of clients, K.
    pub clients: u32,
    /// Rounds of masks, or one message of moments.
    pub mode: TrainingMode,
    /// Number of rounds, T.
    pub rounds: u32,
    /// Steps of Adam that a client takes in a round, E.
    pub local_steps: u64,
    /// Share of the clients that are asked in a round, above 0 and at most 1.
    pub fraction: f64,
    /// Root of every random draw.
    pub seed: u64,
}

impl Default for FederationSettings {
    fn default() -> Self {
        let (clients, mode, rounds, local_steps) = (10, TrainingMode::Rounds, 8, 10);
        FederationSettings { clients, mode, rounds, local_steps, fraction: 1.0, seed: 0 }
    }
}

impl FederationSettings {
    /// Clients asked in a round: a share of all, at least one.
    pub fn cohort_size(&self) -> u32 {
        ((f64::from(self.clients) * self.fraction).round() as u32).clamp(1, self.clients.max(1))
    }
}

/// How clients and server share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainingMode {
    /// Rounds of scores down and masks up; clients train.
    Rounds,
    /// Each client sends its moments once in its life; the server trains alone.
    OneShot,
}

text_enum!("the mode", TrainingMode { Rounds = "rounds", OneShot = "one-shot" });

/// What crosses the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct WireSettings {
    /// How masks go up, and with it how scores come down.
    pub codec: UpdateCodec,
    /// PRISM-alpha: share of the layers, counted from the output, whose scores cross as 32-bit numbers.
    pub alpha: f64,
    /// Most bytes of a client's one message of moments without noise.
    pub message_size: MessageSize,
}

impl Default for WireSettings {
    fn default() -> Self {
        WireSettings { codec: UpdateCodec::Flips, alpha: 0.0, message_size: MessageSize::default() }
    }
}

/// How masks go up, and with it how scores come down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateCodec {
    /// Differences from the mask that both sides expect; down come their sums.
    Flips,
    /// PRISM as published: a bit a weight up, a 32-bit score a weight down, MADA on the server.
    Raw,
    /// The thinnest: minimal random coding up, every client's update relayed down, MADA on the server.
    Mrc,
    /// As flips, but the server sees nothing but the sum of all clients.
    Sums,
}

text_enum!("the codec", UpdateCodec { Flips = "flips", Raw = "raw", Mrc = "mrc", Sums = "sums" });

impl UpdateCodec {
    /// How masks go up.
    pub fn uplink(self) -> Uplink {
        match self {
            UpdateCodec::Flips => Uplink::Flips,
            UpdateCodec::Raw => Uplink::Raw,
            UpdateCodec::Mrc => Uplink::Mrc,
            UpdateCodec::Sums => Uplink::Sums,
        }
    }

    /// How the server's state comes down.
    pub fn downlink(self) -> Downlink {
        match self {
            UpdateCodec::Flips | UpdateCodec::Sums => Downlink::Counts,
            UpdateCodec::Raw => Downlink::Scores,
            UpdateCodec::Mrc => Downlink::Relay,
        }
    }

    /// Whether the server averages the noise of votes by MADA; differences have none.
    pub fn mada(self) -> bool {
        matches!(self, UpdateCodec::Raw | UpdateCodec::Mrc)
    }
}

/// The generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModelSettings {
    /// Side of the images in pixels: a power of two from 8 to 256.
    pub image_size: usize,
    /// Base width; weights grow with its square.
    pub ngf: usize,
    /// Length of the latent vector.
    pub latent: usize,
    /// Generators of which the model is a mixture.
    pub components: usize,
    /// Standard deviation of the initial scores.
    pub score_scale: f32,
    /// Size of the one-hot label's entry beside the normal latent.
    pub label_scale: f32,
}

impl Default for ModelSettings {
    fn default() -> Self {
        let (image_size, ngf, latent, components) = (32, 16, 128, 1);
        ModelSettings { image_size, ngf, latent, components, score_scale: 4.0, label_scale: 16.0 }
    }
}

impl ModelSettings {
    /// The generator of images with so many channels and classes (0 for an unconditional one).
    pub fn architecture(&self, channels: usize, classes: usize) -> Architecture {
        let &ModelSettings { image_size, ngf, latent, label_scale, .. } = self;
        Architecture { image_size, channels, ngf, latent, classes, label_scale }
    }
}

/// Local steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrainingSettings {
    /// Frozen encoder whose feature moments are matched.
    pub encoder: String,
    /// Images generated in a step.
    pub batch_size: usize,
    /// Classes drawn in a step of a conditional model, which share the batch.
    pub classes_per_step: usize,
    /// Parts of a class, each matched by itself: 1, 2, 4, 8 or 16.
    pub subclasses: usize,
    /// What is matched, and how.
    pub objective: Objective,
    /// Added to the slope of the last tanh on the way back, so that saturated pixels can return.
    pub tanh_grad_bias: f32,
    /// Adam's learning rate on the scores.
    pub lr: f64,
    /// Rounds over which the learning rate falls to a hundredth, on half a cosine; 0 for a constant rate.
    pub lr_decay_rounds: u32,
    /// Which weights a step keeps.
    pub training_mask: TrainingMask,
}

impl Default for TrainingSettings {
    fn default() -> Self {
        TrainingSettings {
            encoder: "public".into(),
            batch_size: 80,
            classes_per_step: 10,
            subclasses: 1,
            objective: Objective::Moments,
            tanh_grad_bias: 0.0,
            lr: 0.4,
            lr_decay_rounds: 0,
            training_mask: TrainingMask::Threshold,
        }
    }
}

impl TrainingSettings {
    /// The subclasses of a class.
    ///
    /// # Errors
    /// If there is no such number of them.
    pub fn subclasses(&self) -> Result<Subclasses> {
        Subclasses::new(self.subclasses)
    }
}

/// Which weights a training step keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainingMask {
    /// Each with its probability, drawn anew in every step, as published.
    Drawn,
    /// Those whose probability is above one half: the very mask that ships.
    Threshold,
    /// All of them: scores are dense weights in units of the frozen ones. A baseline, which has no artifact.
    Dense,
}

text_enum!("the training mask", TrainingMask { Drawn = "drawn", Threshold = "threshold", Dense = "dense" });

/// What a local step matches of the features, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Means and variances, without the part of their distance that chance adds in a small batch.
    Moments,
    /// The same with that part, as published: images are more alike.
    MomentsBiased,
    /// Means and variances, and those of random mixtures of channels over whole maps, quarters and sixteenths.
    MomentsSketches,
    /// Means and mean squares: better where variances drown in privacy noise (epsilon below 1).
    MeanSquares,
    /// A moving average of the moments' gaps (AMA), as published: a baseline.
    MovingAverage,
}

text_enum!(
    "the objective",
    Objective {
        Moments = "moments",
        MomentsBiased = "moments-biased",
        MomentsSketches = "moments-sketches",
        MeanSquares = "mean-squares",
        MovingAverage = "moving-average",
    }
);

/// Cells a side of the grids over which [`Objective::MomentsSketches`] averages.
const SKETCH_GRIDS: &str = "1,2,4";
/// The rate at which [`Objective::MovingAverage`] moves. Source: GFMN (dos Santos et al. 2019), section 3.3, and PRISM.
const AVERAGE_RATE: f64 = 1e-5;

impl Objective {
    /// How a batch's moments are compared with those to match.
    pub fn estimator(self) -> Estimator {
        match self {
            Objective::MomentsBiased => Estimator::Biased,
            _ => Estimator::Unbiased,
        }
    }

    /// The second moment that is matched where moments are noisy.
    pub fn second(self) -> SecondMoment {
        match self {
            Objective::MeanSquares => SecondMoment::Square,
            _ => SecondMoment::Variance,
        }
    }

    /// The grids of the sketches; none where there are none.
    ///
    /// # Errors
    /// Never: the grids are known.
    pub fn sketches(self) -> Result<Grids> {
        match self {
            Objective::MomentsSketches => SKETCH_GRIDS.parse(),
            _ => Ok(Grids::default()),
        }
    }

    /// The rate of the moving average; none where each step's own gap is matched.
    pub fn average_rate(self) -> Option<f64> {
        (self == Objective::MovingAverage).then_some(AVERAGE_RATE)
    }
}
