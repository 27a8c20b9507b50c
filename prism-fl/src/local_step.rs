//! Local training: E steps of Adam on the scores, against the client's feature moments.
//!
//! ```text
//! repeat E times:   M ~ Bernoulli(sigmoid(s)) or M = [s > 0];   loss = distance of moments(encoder(generator(z; w * M)))
//!                   s <- Adam(s, straight-through gradient)
//! ```
//!
//! Source: PRISM, section 3.2 and algorithm 1.

use candle_core::{Device, Tensor, Var};
use prism_core::Architecture;
use prism_core::stream::{Purpose, StreamId};
use prism_nn::adam::Adam;
use prism_nn::cpu::moments::exact::LEAST_IMAGES;
use prism_nn::encoder::Encoder;
use prism_nn::generator::{Generator, Subclasses, subclass_latents};
use prism_nn::step::{LossAndGradients, StepRule, TrainingStep};
use prism_nn::{Error, Estimator, Result, StepMask};

use crate::baselines::moving_average;
use crate::moments::ClientMoments;
use crate::observer::Observer;
use crate::optimiser::OptimiserState;
use crate::schedule::Schedule;
use crate::settings::{Settings, TrainingMask, TrainingSettings};

/// One client in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRound {
    /// The round, from 1.
    pub round: u32,
    /// The client's number, from 0.
    pub client: u32,
}

impl ClientRound {
    /// The stream of `purpose` for this client in this round.
    pub fn stream(self, seed: u64, purpose: Purpose) -> StreamId {
        StreamId::new(seed, purpose).round(self.round.into()).client(self.client.into())
    }
}

/// The frozen networks, and how scores are trained through them.
pub struct LocalTrainer {
    step: TrainingStep,
    settings: TrainingSettings,
    subclasses: Subclasses,
    local_steps: u64,
    seed: u64,
}

/// What local training came to.
pub struct Trained {
    /// The scores after it, one a layer.
    pub scores: Vec<Var>,
    /// The mean loss over its steps.
    pub loss: f64,
}

impl LocalTrainer {
    /// Training through the generator that `seed` makes of `arch`, and `encoder`.
    ///
    /// # Errors
    /// If the device has no room, or the encoder does not take such images.
    pub fn new(
        settings: &Settings,
        arch: &Architecture,
        seed: u64,
        encoder: &Encoder,
        device: &Device,
    ) -> Result<Self> {
        let generator = Generator::new(arch, seed, device)?;
        Ok(LocalTrainer {
            step: TrainingStep::new(generator, encoder.clone())?,
            settings: settings.training.clone(),
            subclasses: settings.training.subclasses()?,
            local_steps: settings.federation.local_steps,
            seed,
        })
    }

    /// The generator whose scores are trained.
    pub fn generator(&self) -> &Generator {
        self.step.generator()
    }

    /// Takes E steps from the scores `start`.
    ///
    /// # Errors
    /// If the computation fails, or the loss is not finite.
    pub fn train(
        &self,
        turn: ClientRound,
        moments: &ClientMoments,
        state: &mut OptimiserState,
        start: &[Vec<f32>],
        observer: &dyn Observer,
    ) -> Result<Trained> {
        let scores = self.generator().scores_from(start.iter().cloned())?;
        let mut losses = Vec::new();
        for step in 0..self.local_steps {
            losses.push(self.local_step(turn, step, moments, state, &scores)?);
            observer.on_step();
        }
        Ok(Trained { scores, loss: self.mean_loss(turn, &losses)? })
    }

    /// One step; returns the loss before it, which a GPU may still be computing.
    fn local_step(
        &self,
        turn: ClientRound,
        step: u64,
        moments: &ClientMoments,
        state: &mut OptimiserState,
        scores: &[Var],
    ) -> Result<Tensor> {
        let stream = |purpose| turn.stream(self.seed, purpose).index(step);
        let done = step as f64 / self.local_steps as f64;
        let schedule = Schedule { rounds: self.settings.lr_decay_rounds };

        // Which groups of images are matched, and latents for as many images of each.
        let groups = moments.choose_groups(self.groups_per_step(), &mut stream(Purpose::TrainClass).open());
        let (labels, subclasses) = moments.labels(&groups, self.settings.batch_size, self.subclasses);
        let (arch, device) = (self.generator().arch(), self.generator().device());
        let latents = stream(Purpose::TrainLatent);
        let z = subclass_latents(arch, latents, &labels, (self.subclasses, &subclasses), device)?;

        // The mask, the images, their features' moments, and the gradient of the distance to the client's.
        let mask = match self.settings.training_mask {
            TrainingMask::Drawn => StepMask::Drawn(stream(Purpose::TrainMask)),
            TrainingMask::Threshold => StepMask::Threshold,
            TrainingMask::Dense => StepMask::Dense,
        };
        let tanh_grad_bias = (f64::from(self.settings.tanh_grad_bias) * schedule.grad_bias(turn.round, done)) as f32;
        let rule = StepRule { mask, tanh_grad_bias };
        let targets = moments.targets(&groups, self.settings.objective.estimator())?;
        let LossAndGradients { loss, gradients } = match self.settings.objective.average_rate() {
            None => self.step.run(scores, &z, rule, &targets)?,
            Some(rate) => {
                moving_average::check(groups.len(), moments.groups().len())?;
                let average = moving_average::of_state(&mut state.average, &targets)?;
                average.gradients(&self.step, (rate, rule), scores, &z, &targets)?
            }
        };

        let adam = Adam::new(self.settings.lr * schedule.rate(turn.round, done));
        state.step(&adam, scores, &gradients)?;
        Ok(loss)
    }

    /// How many groups share a step's batch: no more than leave each the images that an unbiased estimate takes.
    fn groups_per_step(&self) -> usize {
        let groups = self.settings.classes_per_step * self.subclasses.count();
        let objective = self.settings.objective;
        let exact = objective.estimator() == Estimator::Unbiased && objective.average_rate().is_none();
        if exact { groups.min((self.settings.batch_size / LEAST_IMAGES).max(1)) } else { groups }
    }

    /// The mean of a round's losses. A GPU may still be computing them, and is waited for here, once a round.
    fn mean_loss(&self, turn: ClientRound, losses: &[Tensor]) -> Result<f64> {
        let losses = Tensor::stack(losses, 0)?.to_vec1::<f64>()?;
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        if !loss.is_finite() {
            return Err(Error::usage(format!(
                "the loss of client {} in round {} is {loss}; choose a smaller learning rate (lr) than {}",
                turn.client, turn.round, self.settings.lr
            )));
        }
        Ok(loss)
    }
}
