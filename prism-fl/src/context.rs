//! What a process needs for any number of clients or a server: the frozen networks, and what follows from the agreement.

use std::sync::Arc;

use candle_core::Device;
use prism_core::arch::Architecture;
use prism_core::privacy::{Claim, Total};
use prism_nn::Result;
use prism_nn::encoder::Encoder;

use crate::agreement::Agreement;
use crate::baselines::mask_noise::MaskNoise;
use crate::baselines::moving_average;
use crate::client_state::ReceiveCache;
use crate::codec::Uplink;
use crate::local_step::LocalTrainer;
use crate::moments::coded::layer::LayerShape;
use crate::moments::file::{MomentsSource, RAW};
use crate::moments::message::Form;
use crate::privacy::accounting::Budget;
use crate::privacy::histograms::Histograms;
use crate::privacy::message::MessageSum;
use crate::privacy::{PrivacyGuarantee, PrivacyMechanism, guarantee};
use crate::secagg::{Purpose, Terms};
use crate::settings::privacy::Mechanism;
use crate::settings::{Objective, TrainingMask, TrainingMode};
use crate::strata::{ClientData, Strata, Thresholds};
use crate::wire::Session;

/// Where the randomness comes from with which a client chooses the mask that it sends, where there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Randomness {
    /// From a stream of the seed: the run can be repeated to the byte. For simulations.
    Seed,
    /// From the operating system, as a client needs that shares its seed with others.
    System,
}

/// How images are protected.
pub enum Privacy {
    /// Not at all.
    None,
    /// By noise on moments, once.
    Moments(Box<PrivacyMechanism>),
    /// By noise on every round's mask.
    Masks(MaskNoise, Box<PrivacyGuarantee>),
}

/// The frozen networks, and what follows from the agreement.
pub struct RunContext {
    agreement: Agreement,
    device: Device,
    encoder: Encoder,
    session: Session,
    trainer: LocalTrainer,
    privacy: Privacy,
    randomness: Randomness,
    /// Messages that clients of this process have received.
    pub received: ReceiveCache,
}

impl RunContext {
    /// Opens the encoder, builds the generator and plans the noise.
    ///
    /// # Errors
    /// If the agreement is refused, or the encoder cannot be opened.
    pub fn new(agreement: Agreement, device: Device, randomness: Randomness) -> Result<Arc<Self>> {
        agreement.settings.validate()?;
        agreement.validate()?;
        let settings = &agreement.settings;
        if settings.training.objective == Objective::MovingAverage {
            let (in_step, subclasses) = (settings.training.classes_per_step, settings.training.subclasses);
            moving_average::check(in_step * subclasses, agreement.classes() * subclasses)?;
        }
        let sketches = settings.training.objective.sketches()?;
        let encoder = Encoder::open(&settings.training.encoder, &device)?.with_sketches(&sketches, &device)?;
        encoder.feature_shapes(settings.model.image_size)?;
        check_encoder(&agreement, &encoder)?;
        let trainer =
            LocalTrainer::new(settings, &agreement.architecture(), settings.federation.seed, &encoder, &device)?;
        let privacy = match (Budget::of(&settings.privacy)?, settings.privacy.mechanism) {
            (None, _) => Privacy::None,
            (Some(budget), Mechanism::Moments) => {
                Privacy::Moments(Box::new(PrivacyMechanism::plan(&agreement, budget, &encoder, &device)?))
            }
            (Some(budget), Mechanism::Mask) => {
                let (noise, claim) = MaskNoise::plan(budget, &settings.federation)?;
                Privacy::Masks(noise, Box::new(claim))
            }
        };
        let session = agreement.session()?;
        let received = ReceiveCache::default();
        Ok(Arc::new(RunContext { agreement, device, encoder, session, trainer, privacy, randomness, received }))
    }

    /// What everybody agreed on.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// Where to compute.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The frozen encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// What the messages of rounds rest on.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Local training of the first component.
    pub fn trainer(&self) -> &LocalTrainer {
        &self.trainer
    }

    /// How images are protected.
    pub fn privacy(&self) -> &Privacy {
        &self.privacy
    }

    /// Where clients' own randomness comes from.
    pub fn randomness(&self) -> Randomness {
        self.randomness
    }

    /// The architecture of the generator.
    pub fn architecture(&self) -> Architecture {
        self.agreement.architecture()
    }

    /// Whether the server averages votes by MADA; dense weights are averaged as they are.
    pub fn mada(&self) -> bool {
        let settings = &self.agreement.settings;
        settings.wire.codec.mada() && settings.training.training_mask != TrainingMask::Dense
    }

    /// Whether the server trains alone on moments that clients send once.
    pub fn is_one_shot(&self) -> bool {
        self.agreement.settings.federation.mode == TrainingMode::OneShot
    }

    /// The guarantee, if images are protected.
    pub fn claim(&self) -> Option<&PrivacyGuarantee> {
        match &self.privacy {
            Privacy::None => None,
            Privacy::Moments(mechanism) => Some(mechanism.claim()),
            Privacy::Masks(_, claim) => Some(claim),
        }
    }

    /// The same in numbers, with what all draws on the same images promise, as far as it is known.
    pub fn privacy_claim(&self, total: Option<Total>) -> Option<Claim> {
        self.claim().map(|claim| claim.claim(self.encoder.training_set().unwrap_or("none"), total))
    }

    /// What the model may say of its privacy.
    pub fn privacy_statement(&self) -> String {
        self.claim().map_or_else(|| guarantee::NONE.to_string(), PrivacyGuarantee::sentence)
    }

    /// Noise on moments, if that is the mechanism.
    pub fn mechanism(&self) -> Option<&PrivacyMechanism> {
        match &self.privacy {
            Privacy::Moments(mechanism) => Some(mechanism),
            _ => None,
        }
    }

    /// Whether all clients train on the one secure sum of their moments.
    pub fn shares_moments(&self) -> bool {
        !self.is_one_shot() && self.mechanism().is_some_and(|mechanism| mechanism.trust().is_secagg())
    }

    /// What the clients of the secure sums for `purpose` agreed on: before the first round all of them are asked.
    ///
    /// # Errors
    /// If a setting has no JSON form.
    pub fn sum_terms(&self, purpose: Purpose) -> Result<Terms> {
        let (federation, settings) = (self.agreement.digest()?, &self.agreement.settings.federation);
        let asked = if purpose == Purpose::Round { settings.cohort_size() } else { settings.clients };
        let mut terms = Terms { federation, clients: settings.clients, asked, needed: asked as usize };
        if purpose == Purpose::Round {
            // A round's votes carry no noise that others count on.
            terms.needed = terms.threshold();
        }
        Ok(terms)
    }

    /// The secure sum of no messages for `purpose`; none where there is no such sum before the first round.
    pub fn empty_sum(&self, purpose: Purpose) -> Option<MessageSum> {
        match purpose {
            Purpose::Histograms => self.histograms().map(|histograms| histograms.empty()),
            Purpose::Moments => self.mechanism().map(|mechanism| mechanism.empty_sum(self.group_count())),
            Purpose::Round => None,
        }
    }

    /// Whether clients and server exchange secure sums, and so need keys and a list of peers.
    pub fn sums_securely(&self) -> bool {
        let before = self.mechanism().is_some_and(|mechanism| mechanism.trust().is_secagg());
        before || !self.is_one_shot() && self.session.uplink() == Uplink::Sums
    }

    /// The histograms by which classes are divided into subclasses; none where there is one of each.
    pub fn histograms(&self) -> Option<Histograms> {
        let subclasses = self.agreement.settings.training.subclasses().ok().filter(|s| s.bits() > 0)?;
        let noise = self.mechanism().and_then(PrivacyMechanism::histogram_noise);
        let (classes, images) = (self.agreement.classes(), self.agreement.data.images);
        Some(Histograms { classes, subclasses, images, noise })
    }

    /// The groups of a client's images.
    ///
    /// # Errors
    /// If the settings name no subclasses that there are.
    pub fn strata(&self, data: &ClientData, thresholds: &Thresholds) -> Result<Strata> {
        let subclasses = self.agreement.settings.training.subclasses()?;
        Ok(Strata::new(data, self.agreement.classes(), subclasses, thresholds))
    }

    /// One more than the greatest number that a group may have.
    pub fn group_count(&self) -> usize {
        self.agreement.classes() * self.agreement.settings.training.subclasses
    }

    /// The form of a client's message of moments.
    ///
    /// # Errors
    /// If the images are too small for the encoder.
    pub fn moments_form(&self) -> Result<Form> {
        let settings = &self.agreement.settings;
        let layers = LayerShape::all(&self.encoder.feature_shapes(settings.model.image_size)?);
        Ok(Form { groups: self.group_count(), subclasses: settings.training.subclasses as u32, layers })
    }

    /// What moments are kept under that were measured on images of the digest `data`.
    pub fn moments_source(&self, data: String) -> MomentsSource {
        MomentsSource {
            data,
            encoder: self.encoder.digest().to_string(),
            subclasses: self.agreement.settings.training.subclasses,
            privacy: self.mechanism().map_or_else(|| RAW.into(), |mechanism| mechanism.fingerprint().into()),
        }
    }
}

/// Refuses to protect images that the encoder was trained on: its weights are a function of them that no noise covers.
fn check_encoder(agreement: &Agreement, encoder: &Encoder) -> Result<()> {
    let (name, protected) = (&agreement.data.name, agreement.settings.privacy.epsilon.is_some());
    match encoder.training_set() {
        Some(set) if protected && set == name => Err(prism_nn::Error::usage(format!(
            "encoder {} was trained on {set}, so that no `epsilon` protects images of {name}; choose an `encoder` that has not \
             seen them, such as vgg16:FILE",
            encoder.name()
        ))),
        _ => Ok(()),
    }
}
