//! The client's half of the algorithm: take the scores, make a few steps, answer with a mask.
//!
//! ```text
//! repeat E times:   M ~ Bernoulli(sigmoid(s)) or M = [s > 0];  loss = distance of moments(encoder(generator(z; w * M)));  Adam on s
//!                   (with a penalty toward the broadcast scores, if `--kl-weight` asks for one)
//! answer:           M_k ~ Bernoulli(sigmoid(s)),   or s itself for PRISM-alpha's last layers
//!                   (under the uplinks `flips` and `sums` drawn with numbers that the server knows too)
//! ```
//!
//! Source: PRISM, section 3.2 and algorithm 1. A client's images enter through its feature moments only.

use std::borrow::Cow;

use candle_core::{Tensor, Var};
use prism_core::codec::{Blind, Blinds, Prior, PrivateSource, Uplink};
use prism_core::stream::{Purpose, StreamId};
use prism_core::wire::{Session, Update};
use prism_nn::adam::Adam;
use prism_nn::cpu::moments::exact::LEAST_IMAGES;
use prism_nn::generator::{Styles, styled_latents};
use prism_nn::ops::MomentTargets;
use prism_nn::step::{LossAndGradients, StepRule, TrainingStep};
use prism_nn::{Error, Estimator, Result, StepMask};

use super::moving_average::{MovingAverage, Objective};
use super::optimiser::OptimiserState;
use super::penalty;
use super::received::Known;
use super::schedule::Schedule;
use crate::flag_values::display_as_value;
use crate::moments::ClientMoments;
use crate::privacy::gaussian::NoiseSource;
use crate::privacy::masks::MaskNoise;
use crate::run::phases::{ClientSeconds, Lap};
use crate::values::values;

/// What all clients share: the frozen networks and the settings of local training.
pub struct LocalTraining {
    /// The frozen generator and encoder, and the step that trains through them.
    pub step: TrainingStep,
    /// The optimiser of the scores.
    pub adam: Adam,
    /// Root of every draw.
    pub seed: u64,
    /// Which weights a step keeps.
    pub training_mask: TrainingMask,
    /// How moments are compared.
    pub estimator: Estimator,
    /// How the moving average of the moments' gaps moves, where that is matched and not each step's own gap.
    pub average: Option<Adam>,
    /// How the learning rate and the leak fall.
    pub schedule: Schedule,
    /// What the slope of the last tanh is greater by on the way back, at first ([`prism_nn::ops::tanh`]).
    pub tanh_leak: f64,
    /// Steps per round.
    pub local_steps: u64,
    /// Images per step.
    pub batch_size: usize,
    /// Classes per step, where the model is conditional.
    pub classes_per_step: usize,
    /// Styles of a class, each matched by itself.
    pub styles: Styles,
    /// How many times as much each encoder layer counts as the one before it.
    pub layer_growth: f64,
    /// What clients and server agreed on: the architecture, the seed, and which layers cross as scores.
    pub session: Session,
    /// Price of a nat of divergence from the broadcast scores, in units of the loss; 0 for none.
    pub kl_weight: f64,
    /// Where a client's choice of its mask comes from.
    pub choice: Choice,
    /// Noise on every answer; none where images are not protected, or by their moments.
    pub mask_noise: Option<MaskNoise>,
}

/// Where the randomness comes from with which a client chooses the mask that it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// From a stream of the seed: the run can be repeated to the byte, and whoever knows the seed knows the choice.
    #[default]
    Seed,
    /// From the operating system, as a real client must: no two runs are alike.
    System,
}

impl Choice {
    fn source(self, turn: Turn, seed: u64) -> Result<PrivateSource> {
        match self {
            Choice::Seed => Ok(PrivateSource::simulated(turn.stream(seed, Purpose::UplinkMask))),
            Choice::System => {
                let mut key = [0; 32];
                getrandom::fill(&mut key).map_err(|e| {
                    let why = std::io::Error::other(format!("{e}; choose --choice seed"));
                    prism_core::Error::io("draw randomness from", "the operating system", why)
                })?;
                Ok(PrivateSource::new(key))
            }
        }
    }
}

/// Which weights a training step keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainingMask {
    /// Each with its probability, drawn anew in every step.
    #[default]
    Drawn,
    /// Those whose probability is above one half: the very mask that ships.
    Threshold,
    /// No mask: scores are dense weights in units of the frozen ones. A baseline, which has no artifact.
    None,
}

display_as_value!(TrainingMask);

/// A client's answer, and what it reports about its own training.
pub struct Answer {
    /// The update, as it crosses the wire.
    pub bytes: Vec<u8>,
    /// Mean loss over the local steps; none where the answer is noised, since the loss is of the very images that the noise
    /// protects.
    pub loss: Option<f64>,
    /// KL(client's theta || broadcast theta) over all layers that cross as masks, in bits: what these cost at least where
    /// client and server share randomness.
    pub kl_bits: f64,
    /// The cross-entropy of the same layers, in bits: what they cost at least where only the prior is shared.
    pub cross_entropy_bits: f64,
    /// Seconds that the round took it.
    pub seconds: ClientSeconds,
}

/// How a round begins for a client.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// What it knows once it has the server's message ([`Global::receive`](super::Global::receive)).
    pub known: &'a Known,
    /// All clients of the round.
    pub asked: &'a [u32],
}

/// One client in one round.
#[derive(Clone, Copy)]
pub struct Turn {
    /// The round, from 1.
    pub round: u32,
    /// The client's number, from 0.
    pub client: u32,
}

impl Turn {
    /// The key that this client and `peer` share in this round under blinded sums. Simulated: real clients agree on it by an
    /// exchange of keys that the server cannot follow.
    pub fn shared_key(self, peer: u32, seed: u64) -> [u8; 32] {
        let (low, high) = (self.client.min(peer), self.client.max(peer));
        let id = StreamId::new(seed, Purpose::SumBlind).round(self.round.into());
        id.client(low.into()).index(high.into()).key()
    }

    fn stream(self, seed: u64, purpose: Purpose) -> StreamId {
        StreamId::new(seed, purpose).round(self.round.into()).client(self.client.into())
    }
}

impl LocalTraining {
    /// `moments` as they count in this training: each convolution by so many times as much as the one before it.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn weigh(&self, moments: ClientMoments) -> Result<ClientMoments> {
        moments.growing(self.layer_growth, self.step.encoder().layout().convs().len())
    }

    /// Takes a client through its round: from what the server told it to its answer. `state` stays with the client.
    ///
    /// # Errors
    /// If the computation fails, or if the loss is not finite.
    pub fn local_round(
        &self,
        turn: Turn,
        moments: &ClientMoments,
        state: &mut OptimiserState,
        opening: Opening<'_>,
        on_step: &(dyn Fn() + Sync),
    ) -> Result<Answer> {
        let mut clock = Lap::start();
        let global = &opening.known.global;
        let (scores, loss) = self.train(turn, moments, state, global.scores(), on_step)?;
        let steps = clock.lap();
        let mut loss = Some(loss);
        // Read where they are: a copy would fetch as much memory again for every client.
        let held: Vec<_> = scores.iter().map(|scores| scores.storage_and_layout()).collect();
        let learned = scores.iter().zip(&held).map(|(scores, (storage, layout))| values(scores, storage, layout));
        let mut learned = learned.collect::<Result<Vec<_>>>()?;
        if let Some(noise) = &self.mask_noise {
            let protected = noise.protect(&learned, global.scores(), NoiseSource::OperatingSystem)?;
            learned = protected.into_iter().map(Cow::Owned).collect();
            loss = None;
        }
        let answer = self.answer(turn, &learned, &global.prior(), &self.blinds(turn, opening.asked), loss)?;
        let seconds = ClientSeconds { steps, answering: clock.lap(), ..ClientSeconds::default() };
        Ok(Answer { seconds, ..answer })
    }

    /// The local steps from the scores `start`: the scores after them, and the mean loss.
    ///
    /// # Errors
    /// If the computation fails, or if the loss is not finite.
    pub fn learn(
        &self,
        turn: Turn,
        moments: &ClientMoments,
        state: &mut OptimiserState,
        start: &[Vec<f32>],
        on_step: &(dyn Fn() + Sync),
    ) -> Result<(Vec<Vec<f32>>, f64)> {
        let (scores, loss) = self.train(turn, moments, state, start, on_step)?;
        let learned = scores.iter().map(|s| s.flatten_all()?.to_vec1()).collect::<candle_core::Result<_>>()?;
        Ok((learned, loss))
    }

    /// The same, with the scores where they were trained.
    fn train(
        &self,
        turn: Turn,
        moments: &ClientMoments,
        state: &mut OptimiserState,
        start: &[Vec<f32>],
        on_step: &(dyn Fn() + Sync),
    ) -> Result<(Vec<Var>, f64)> {
        let scores = self.step.generator().scores_from(start.iter().cloned())?;
        // Only the penalty asks what was known before the first step.
        let copies = scores.iter().filter(|_| self.kl_weight > 0.0).map(|s| s.as_tensor().copy());
        let known = copies.collect::<candle_core::Result<Vec<_>>>()?;
        let mut losses = Vec::new();
        for step in 0..self.local_steps {
            losses.push(self.local_step(turn, step, moments, state, &scores, &known)?);
            on_step();
        }
        Ok((scores, self.mean_loss(turn, &losses)?))
    }

    /// What hides this client's mask in the sum over `asked`, where the session sums.
    fn blinds(&self, turn: Turn, asked: &[u32]) -> Blinds {
        if self.session.uplink() != Uplink::Sums {
            return Blinds::default();
        }
        let peers = asked.iter().filter(|&&peer| peer != turn.client);
        let blind = |&peer: &u32| Blind { key: turn.shared_key(peer, self.seed), added: turn.client < peer };
        Blinds { clients: asked.len(), peers: peers.map(blind).collect() }
    }

    /// The update that `learned` scores make, and what it would cost at least.
    fn answer(
        &self,
        turn: Turn,
        learned: &[Cow<'_, [f32]>],
        prior: &Prior,
        blinds: &Blinds,
        loss: Option<f64>,
    ) -> Result<Answer> {
        let private = self.choice.source(turn, self.seed)?;
        let who = (turn.round, turn.client);
        let masks = &learned[..self.session.mask_layers().len()];
        let [cross_entropy_bits, kl_bits] = prior.costs(masks.iter().map(AsRef::as_ref));
        Ok(Answer {
            bytes: Update::encode(&self.session, who, learned, prior, &private, blinds, rayon::current_num_threads()),
            loss,
            kl_bits,
            cross_entropy_bits,
            seconds: ClientSeconds::default(),
        })
    }

    /// The mean of a round's losses. A GPU may still be computing them, and is waited for here, once a round.
    fn mean_loss(&self, turn: Turn, losses: &[Tensor]) -> Result<f64> {
        let losses = Tensor::stack(losses, 0)?.to_vec1::<f64>()?;
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        if !loss.is_finite() {
            return Err(prism_core::Error::Usage(format!(
                "the loss of client {} in round {} is {loss}; choose a smaller --lr than {}",
                turn.client, turn.round, self.adam.lr
            ))
            .into());
        }
        Ok(loss)
    }

    /// How many groups share a step's batch: so many that each has the images that an unbiased estimate takes.
    fn groups_per_step(&self) -> usize {
        let groups = self.classes_per_step * self.styles.count();
        let exact = self.estimator == Estimator::Unbiased && self.average.is_none();
        if exact { groups.min((self.batch_size / LEAST_IMAGES).max(1)) } else { groups }
    }

    /// One step of Adam on the scores; returns the loss before it, which a GPU may still be computing.
    fn local_step(
        &self,
        turn: Turn,
        step: u64,
        moments: &ClientMoments,
        state: &mut OptimiserState,
        scores: &[Var],
        known: &[Tensor],
    ) -> Result<Tensor> {
        let stream = |purpose| turn.stream(self.seed, purpose).index(step);
        let groups = self.groups_per_step();
        let groups = moments.choose_groups(groups, &mut stream(Purpose::TrainClass).open());
        let (labels, styles) = moments.labels(&groups, self.batch_size, self.styles);
        let generator = self.step.generator();
        let (arch, device) = (generator.arch(), generator.device());
        let z = styled_latents(arch, stream(Purpose::TrainLatent), &labels, (self.styles, &styles), device)?;

        let done = step as f64 / self.local_steps as f64;
        let tanh_leak = (self.tanh_leak * self.schedule.leak(turn.round, done)) as f32;
        let mask = match self.training_mask {
            TrainingMask::Drawn => StepMask::Drawn(stream(Purpose::TrainMask)),
            TrainingMask::Threshold => StepMask::Threshold,
            TrainingMask::None => StepMask::Dense,
        };
        let rule = StepRule { mask, tanh_leak };
        let targets = moments.targets(&groups, self.estimator)?;
        let LossAndGradients { loss, mut gradients } = match &self.average {
            None => self.step.run(scores, &z, rule, &targets)?,
            Some(adam) => {
                let groups = (groups.len(), moments.groups().len());
                let average = averages_of(&mut state.average, groups, &targets)?;
                self.step.composed_with(scores, &z, rule, &targets, |features| {
                    let Objective { loss, distance } = average.step(adam, features, &targets)?;
                    Ok([loss, distance])
                })?
            }
        };
        for ((gradient, score), known) in gradients.iter_mut().zip(scores).zip(known) {
            *gradient = (&*gradient + penalty::gradient(self.kl_weight, score, known)?)?;
        }
        let factor = self.schedule.rate(turn.round, done);
        state.step(&Adam { lr: self.adam.lr * factor, ..self.adam }, scores, &gradients)?;
        Ok(loss)
    }
}

/// Refuses a moving average where a step holds `groups` of the `of` groups that are averaged.
///
/// # Errors
/// [`prism_core::Error::Usage`] if a step does not hold them all.
pub fn check_average(groups: usize, of: usize) -> Result<()> {
    if groups >= of {
        return Ok(());
    }
    Err(Error::usage(format!(
        "a moving average needs every class in every step, and {groups} of {of} are in one; give a larger \
         --classes-per-step, or --average-rate 0"
    )))
}

/// A client's averages, which begin with its first step.
fn averages_of<'a>(
    kept: &'a mut Option<MovingAverage>,
    (groups, of): (usize, usize),
    targets: &[MomentTargets],
) -> Result<&'a mut MovingAverage> {
    check_average(groups, of)?;
    if kept.is_none() {
        *kept = Some(MovingAverage::new(targets)?);
    }
    let kept = kept.as_mut().filter(|average| average.fits(targets));
    kept.ok_or_else(|| Error::usage("the moving average that was kept is one of other moments; start a new run"))
}
