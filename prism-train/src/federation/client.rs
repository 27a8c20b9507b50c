//! The client's half of the algorithm: take the scores, make a few steps, answer with a mask.
//!
//! ```text
//! repeat E times:   M ~ Bernoulli(sigmoid(s));  loss = distance of moments(encoder(generator(z; w * M)));  Adam on s
//! answer:           M_k ~ Bernoulli(sigmoid(s)),   or s itself for PRISM-alpha's last layers
//! ```
//!
//! Source: PRISM, section 3.2 and algorithm 1. A client's images enter through its feature moments only.

use candle_core::{Tensor, Var};
use prism_core::stream::{Purpose, StreamId};
use prism_core::wire::{Broadcast, LayerUpdate, Session, Update};
use prism_nn::Result;
use prism_nn::adam::Adam;
use prism_nn::generator::latents;
use prism_nn::step::{LossAndGradients, TrainingStep};

use super::divergence::kl_bits;
use super::optimiser::OptimiserState;
use super::server::draw_layer;
use crate::moments::ClientMoments;

/// What all clients share: the frozen networks and the settings of local training.
pub struct LocalTraining {
    /// The frozen generator and encoder, and the step that trains through them.
    pub step: TrainingStep,
    /// The optimiser of the scores.
    pub adam: Adam,
    /// Root of every draw.
    pub seed: u64,
    /// Steps per round.
    pub local_steps: u64,
    /// Images per step.
    pub batch_size: usize,
    /// Classes per step, where the model is conditional.
    pub classes_per_step: usize,
    /// What clients and server agreed on: the architecture, the seed, and which layers cross as scores.
    pub session: Session,
}

/// A client's answer, and what it reports about its own training.
pub struct Answer {
    /// The update, as it crosses the wire.
    pub bytes: Vec<u8>,
    /// Mean loss over the local steps.
    pub loss: f64,
    /// Mean over weights of KL(client's theta || broadcast theta), in bits: the least that an update can cost.
    pub kl_bits_per_weight: f64,
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
    fn stream(self, seed: u64, purpose: Purpose) -> StreamId {
        StreamId::new(seed, purpose).round(self.round.into()).client(self.client.into())
    }
}

impl LocalTraining {
    /// Takes a client through its round: from the server's broadcast to its answer. `state` stays with the client.
    ///
    /// # Errors
    /// If the broadcast is not one of this round and architecture, if the computation fails, or if the loss is not finite.
    pub fn local_round(
        &self,
        turn: Turn,
        moments: &ClientMoments,
        state: &mut OptimiserState,
        broadcast: &[u8],
        on_step: &(dyn Fn() + Sync),
    ) -> Result<Answer> {
        let start = Broadcast::decode(broadcast, &self.session, turn.round)?.scores;
        let scores = self.step.generator().scores_from(start.iter().cloned())?;
        let mut losses = Vec::new();
        for step in 0..self.local_steps {
            losses.push(self.local_step(turn, step, moments, state, &scores)?);
            on_step();
        }
        let learned: Vec<Vec<f32>> =
            scores.iter().map(|s| s.flatten_all()?.to_vec1()).collect::<candle_core::Result<_>>()?;
        let update = Update { round: turn.round, client: turn.client, layers: self.answer_layers(turn, &learned) };
        Ok(Answer {
            bytes: update.encode(&self.session),
            loss: self.mean_loss(turn, &losses)?,
            kl_bits_per_weight: kl_bits(&learned, &start),
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

    /// One step of Adam on the scores; returns the loss before it, which a GPU may still be computing.
    fn local_step(
        &self,
        turn: Turn,
        step: u64,
        moments: &ClientMoments,
        state: &mut OptimiserState,
        scores: &[Var],
    ) -> Result<Tensor> {
        let stream = |purpose| turn.stream(self.seed, purpose).index(step);
        let groups = moments.choose_groups(self.classes_per_step, &mut stream(Purpose::TrainClass).open());
        let labels = moments.labels(&groups, self.batch_size);
        let generator = self.step.generator();
        let z = latents(generator.arch(), stream(Purpose::TrainLatent), &labels, generator.device())?;

        let masks = stream(Purpose::TrainMask);
        let LossAndGradients { loss, gradients } = self.step.run(scores, &z, masks, &moments.targets(&groups)?)?;
        state.step(&self.adam, scores, &gradients)?;
        Ok(loss)
    }

    fn answer_layers(&self, turn: Turn, learned: &[Vec<f32>]) -> Vec<LayerUpdate> {
        let id = turn.stream(self.seed, Purpose::UplinkMask);
        let layer = |(i, scores): (usize, &Vec<f32>)| match self.session.is_score_layer(i) {
            false => LayerUpdate::Bits(draw_layer(id.layer(i as u64), scores)),
            true => LayerUpdate::Scores(scores.clone()),
        };
        learned.iter().enumerate().map(layer).collect()
    }
}
