//! What an artifact says about itself: the JSON under the metadata key `prism`.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::arch::{Architecture, Layer};
use crate::error::Error;
use crate::mixture::{self, MAX_COMPONENTS};
use crate::prelude::*;
use crate::privacy::Claim;

/// Version of the artifact format of a model that is one generator.
pub const VERSION: u32 = 1;
/// Version of the artifact format of a mixture. A reader accepts these two.
pub const MIXTURE_VERSION: u32 = 2;

/// Most characters of a class name.
const MAX_NAME: usize = 80;
/// Most characters of any other text.
const MAX_TEXT: usize = 1000;
/// How far a written sigma may be from the formula's: the last digits of its decimal form.
const SIGMA_TOLERANCE: f32 = 1e-6;

/// All of an artifact but its tensors. Its fields are written in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// [`VERSION`] of the format, or [`MIXTURE_VERSION`] where there are several components.
    pub version: u32,
    /// SHA-256 over this text, with these 64 digits taken as zeros, and all tensors.
    pub payload_sha256: String,
    /// Where the model comes from.
    pub description: Description,
    /// One entry per masked layer, in the order of the architecture; of a mixture those of every component in turn.
    pub layers: Vec<LayerMeta>,
    /// An image that tells whether a reader rebuilds the generator rightly.
    pub known_answer: KnownAnswer,
}

/// What is said about a model when it is exported; everything else in an artifact follows from the mask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The generator's shape.
    pub architecture: Architecture,
    /// Seed of the frozen weights' signs; [`component_seed`](crate::mixture::component_seed) gives that of a component.
    pub seed: u64,
    /// Generators that the model is a mixture of; 1, which is not written, for a single one.
    #[serde(default = "one", skip_serializing_if = "is_one", deserialize_with = "several")]
    pub components: usize,
    /// The encoder whose features were matched: its name and, where it has weights, their digest.
    pub encoder: String,
    /// Name of the data set.
    pub dataset: String,
    /// One name per class; empty where the classes have none.
    pub class_names: Vec<String>,
    /// How it was trained.
    pub training: Training,
    /// How the bits of the mask follow from the trained probabilities.
    pub mask_rule: MaskRule,
    /// What protects the images that it was trained on, as in `none: no noise was added`.
    pub privacy: String,
}

/// The federation that trained a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Rounds finished.
    pub rounds: u32,
    /// Clients that hold images.
    pub clients: u32,
    /// Steps of each client in each round.
    pub local_steps: u64,
    /// How the images were divided, as in `shards:2`.
    pub partition: String,
    /// Bytes that clients have sent.
    pub uplink_bytes: u64,
    /// Bytes that the server has sent.
    pub downlink_bytes: u64,
    /// What it promises of the images' privacy, in numbers; none where nothing is promised, and in files of programs that did not
    /// write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

/// How the bits of a mask follow from the trained probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskRule {
    /// A weight is kept where its probability is above a half.
    Threshold,
    /// A weight is kept with its probability.
    Sampled,
}

/// One masked layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerMeta {
    /// The layer's name.
    pub name: String,
    /// Shape of its weights, in which the mask's bits run row-major.
    pub shape: [usize; 4],
    /// Magnitude of its weights.
    pub sigma: f32,
    /// Number of kept weights.
    pub ones: usize,
    /// How its mask is written.
    pub encoding: Encoding,
    /// Bytes of its mask tensor.
    pub bytes: usize,
}

/// How a mask is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Eight bits to a byte, from the lowest.
    Raw,
    /// By the [range coder](crate::rangecoder), with the probability that follows from `ones`.
    Range,
}

/// The SHA-256 of an image's bytes, drawn in `f64` by the [reference sampler](crate::sampler::reference); in a mixture
/// every component draws the image, and the hash is over all of them in turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownAnswer {
    /// The sampling seed.
    pub seed: u64,
    /// The image's number.
    pub index: u64,
    /// Its label; none without classes.
    pub label: Option<usize>,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl Description {
    /// Refuses texts that are too long or would play tricks on a terminal, and numbers outside their limits.
    pub(super) fn check(&self) -> Result<(), String> {
        self.architecture.validate().map_err(|e| e.to_string())?;
        mixture::check(&self.architecture, self.components).map_err(|e| e.to_string())?;
        let classes = self.architecture.classes;
        if !self.class_names.is_empty() && self.class_names.len() != classes {
            return Err(format!("it names {} classes and has {classes}", self.class_names.len()));
        }
        let names = self.class_names.iter().map(|name| ("a class name", name, MAX_NAME));
        let texts = [
            ("the encoder's name", &self.encoder),
            ("the data set's name", &self.dataset),
            ("the partition", &self.training.partition),
            ("the privacy statement", &self.privacy),
        ];
        let claimed =
            self.training.claim.as_ref().map(|claim| ("the privacy claim's encoder", &claim.encoder_images, MAX_TEXT));
        for (what, text, limit) in
            texts.map(|(what, text)| (what, text, MAX_TEXT)).into_iter().chain(names).chain(claimed)
        {
            let length = text.chars().count();
            if length > limit {
                return Err(format!("{what} has {length} characters; the most is {limit}"));
            }
            if text.chars().any(char::is_control) {
                return Err(format!("{what} holds a control character"));
            }
        }
        Ok(())
    }
}

/// The components of a model whose description names none.
fn one() -> usize {
    1
}

fn is_one(components: &usize) -> bool {
    *components == 1
}

/// A number of components as it is written: a single one is left out.
fn several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        components if (2..=MAX_COMPONENTS).contains(&components) => Ok(components),
        components => Err(serde::de::Error::custom(format!(
            "it names {components} components; a mixture has 2 to {MAX_COMPONENTS}"
        ))),
    }
}

impl Meta {
    /// The version of the format that a model of so many components is written in.
    pub(super) fn version_for(components: usize) -> u32 {
        if components == 1 { VERSION } else { MIXTURE_VERSION }
    }

    /// Refuses what contradicts the architecture or itself; after this, every number in it is within the limits of the
    /// format.
    pub(super) fn check(&self) -> Result<(), String> {
        self.description.check()?;
        let components = self.description.components;
        if self.version != Self::version_for(components) {
            return Err(format!(
                "it has {components} components, which its format version {} cannot hold",
                self.version
            ));
        }
        let layers = self.description.architecture.layers();
        if layers.len() * components != self.layers.len() {
            return Err(format!(
                "it lists {} layers; its architecture has {}",
                self.layers.len(),
                layers.len() * components
            ));
        }
        self.layers.iter().zip(layers.iter().cycle()).try_for_each(|(meta, layer)| meta.check(layer))?;
        let classes = self.description.architecture.classes;
        if self.known_answer.label.map_or(classes != 0, |label| label >= classes) {
            return Err(format!("its known answer has the label {:?} of {classes} classes", self.known_answer.label));
        }
        let digits = &self.known_answer.sha256;
        if digits.len() != 64 || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            let shown: String = digits.chars().take(65).collect();
            return Err(format!("the hash of its known answer is {shown:?}, not 64 lower-case hexadecimal digits"));
        }
        Ok(())
    }
}

impl LayerMeta {
    fn check(&self, layer: &Layer) -> Result<(), String> {
        let (name, weights) = (&layer.name, layer.weights());
        if self.name != *name {
            return Err(format!("it lists a layer {:?} in place of {name}", self.name));
        }
        if self.shape != layer.shape() {
            return Err(format!("layer {name} has the shape {:?}, not {:?}", self.shape, layer.shape()));
        }
        let sigma = layer.sigma();
        if (self.sigma - sigma).abs() > SIGMA_TOLERANCE * sigma {
            return Err(format!("the sigma of layer {name} is {}; the formula gives {sigma}", self.sigma));
        }
        if self.ones > weights {
            return Err(format!("layer {name} keeps {} of {weights} weights", self.ones));
        }
        let raw = weights.div_ceil(8);
        let expected = match self.encoding {
            Encoding::Raw => raw..=raw,
            Encoding::Range => 4..=raw,
        };
        if !expected.contains(&self.bytes) {
            return Err(format!(
                "the {} mask of layer {name} has {} bytes, not {} to {}",
                self.encoding.name(),
                self.bytes,
                expected.start(),
                expected.end()
            ));
        }
        Ok(())
    }
}

impl Encoding {
    /// The name in the metadata.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Raw => "raw",
            Encoding::Range => "range",
        }
    }
}

impl MaskRule {
    /// The name in the metadata.
    pub fn name(self) -> &'static str {
        match self {
            MaskRule::Threshold => "threshold",
            MaskRule::Sampled => "sampled",
        }
    }
}

impl fmt::Display for MaskRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for MaskRule {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        [MaskRule::Threshold, MaskRule::Sampled]
            .into_iter()
            .find(|rule| rule.name() == name)
            .ok_or_else(|| Error::usage(format!("mask rule '{name}' is unknown; choose threshold or sampled")))
    }
}
