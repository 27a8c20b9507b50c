//! The training step on the CPU, written out.

use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor, TensorId, Var};
use prism_core::arch::Architecture;
use prism_core::simd::Isa;

use super::images::Images;
use super::{LossAndGradients, StepRule, encoder};
use crate::cpu::masking::{masked, masked_gradient};
use crate::cpu::moments::Targets;
use crate::encoder::Encoder;
use crate::encoder::layout::INPUTS;
use crate::encoder::packed::PackedEncoder;
use crate::error::Result;
use crate::generator::{Generator, pass};
use crate::ops::MomentTargets;
use crate::ops::storage::{floats_of, with_floats};

/// The encoder's packed weights, and the memory of steps that have ended: never more than steps ran at the same time.
pub struct Fused {
    encoder: encoder::Weights,
    spare: Mutex<Vec<Pass>>,
}

/// Shapes and memory of a step of one batch size.
struct Pass {
    batch: usize,
    generator: pass::Net,
    images: Images,
    encoder: encoder::Net,
    generator_weights: pass::Weights,
    generator_memory: pass::Memory,
    encoder_memory: encoder::Memory,
    /// `tanh(u)`, the encoder's input, the gradient of u.
    tanh: Vec<f32>,
    input: Vec<f32>,
    du: Vec<f32>,
}

impl Fused {
    /// Packs `encoder`.
    ///
    /// # Errors
    /// If it is not in main memory.
    pub fn new(encoder: &Encoder) -> Result<Self> {
        Ok(Fused { encoder: encoder::Weights::new(encoder)?, spare: Mutex::default() })
    }

    /// See [`super::TrainingStep::run`], which has checked the shapes.
    pub fn run(
        &self,
        generator: &Generator,
        scores: &[Var],
        z: &Tensor,
        rule: StepRule,
        targets: &[MomentTargets],
    ) -> Result<LossAndGradients> {
        let mut pass = self.take(generator.arch(), z.dim(0)?);
        let z = z.contiguous()?;
        let result = with_floats([&z], |[z]| pass.run(generator, scores, z, rule, targets))?;
        self.spare().push(pass);
        result
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Pass>> {
        // A pass is only in the list while nobody uses it, so a panic elsewhere cannot have left it half written.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory of an earlier step of this batch size, or new memory.
    fn take(&self, arch: &Architecture, batch: usize) -> Pass {
        let mut spare = self.spare();
        let found = spare.iter().position(|pass| pass.batch == batch);
        if let Some(index) = found {
            return spare.swap_remove(index);
        }
        // Memory of another batch size makes room for this one's, so that sizes do not pile up.
        spare.pop();
        drop(spare);
        let isa = Isa::detect();
        let generator = pass::Net::new(isa, arch, batch);
        let input = generator.output();
        let output = input.with((input.height, input.width), INPUTS, isa.lanes());
        let encoder = encoder::Net::new(&self.encoder, output);
        let PackedEncoder { scale, shift, .. } = *self.encoder.forward;
        Pass {
            batch,
            generator_weights: pass::Weights::default(),
            generator_memory: generator.memory(),
            encoder_memory: encoder.memory(),
            generator,
            images: Images { isa, input, output, scale, shift, tanh_grad_bias: 0.0 },
            encoder,
            tanh: Vec::new(),
            input: Vec::new(),
            du: Vec::new(),
        }
    }
}

impl Pass {
    fn run(
        &mut self,
        generator: &Generator,
        scores: &[Var],
        z: &[f32],
        rule: StepRule,
        targets: &[MomentTargets],
    ) -> Result<LossAndGradients> {
        let isa = Isa::detect();
        let frozen = generator.frozen();
        self.generator.load_weights(&mut self.generator_weights, |index, weight| {
            let mask = rule.mask.layer(index as u64);
            with_floats([&scores[index], &frozen[index]], |[scores, frozen]| {
                masked(isa, scores, frozen, mask, weight);
            })
        })?;
        self.images.tanh_grad_bias = rule.tanh_grad_bias;
        let u = self.generator.forward(&self.generator_weights, &mut self.generator_memory, z);
        self.images.forward(u, &mut self.tanh, &mut self.input);
        self.encoder.forward(&mut self.encoder_memory, &self.input);

        let groups = targets.first().map_or(1, |t| t.scale.elem_count());
        let images = self.batch / groups;
        let groups: Vec<usize> = (0..self.batch).map(|image| image / images).collect();
        let loss = self.loss(targets, &groups)?;
        self.images.backward(self.encoder_memory.of_images(), &self.tanh, &mut self.du);
        let mut gradients: Vec<Option<Tensor>> = vec![None; scores.len()];
        let (weights, memory) = (&self.generator_weights, &mut self.generator_memory);
        self.generator.backward(weights, memory, z, &self.du, |index, gradient| {
            let mut out = vec![0.0; gradient.len()];
            with_floats([&scores[index], &frozen[index]], |[scores, frozen]| {
                masked_gradient(isa, [scores, frozen, gradient], rule.mask, &mut out);
            })?;
            gradients[index] = Some(Tensor::from_vec(out, scores[index].shape(), scores[index].device())?);
            Ok::<_, candle_core::Error>(())
        })?;
        let loss = Tensor::new(loss, &Device::Cpu)?;
        Ok(LossAndGradients { loss, gradients: gradients.into_iter().flatten().collect() })
    }

    /// The moment loss of the encoder's features, whose gradient stays in the encoder's memory.
    fn loss(&mut self, targets: &[MomentTargets], groups: &[usize]) -> Result<f64> {
        let mut tensors = Vec::new();
        for MomentTargets { mean, second, scale, weights, .. } in targets {
            for tensor in [mean, second, scale].into_iter().chain(weights.iter().flatten()) {
                tensors.push(tensor.contiguous()?);
            }
        }
        let held: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
        let floats = held.iter().map(|(storage, layout)| floats_of(storage, layout));
        let floats = floats.collect::<candle_core::Result<Vec<_>>>()?;
        let mut rest = floats.as_slice();
        let targets: Vec<encoder::LayerTargets<'_>> = targets
            .iter()
            .map(|layer| {
                let (own, others) = rest.split_at(if layer.weights.is_some() { 5 } else { 3 });
                rest = others;
                let weights = layer.weights.is_some().then(|| [own[3], own[4]]);
                let (kind, estimator) = (layer.kind, layer.estimator);
                let tensors = identity(layer);
                let targets = Targets { mean: own[0], second: own[1], kind, scale: own[2], weights, estimator };
                encoder::LayerTargets { targets, grid: layer.grid, tensors }
            })
            .collect();
        Ok(self.encoder.loss(&mut self.encoder_memory, &self.input, groups, &targets))
    }
}

/// What the targets of one layer are known by; none if one of them is a variable, whose values may change under its name.
fn identity(layer: &MomentTargets) -> Option<[Option<TensorId>; 4]> {
    let [a, b] = layer.weights.as_ref().map_or([None, None], |[a, b]| [Some(a), Some(b)]);
    let tensors = [Some(&layer.mean), Some(&layer.second), a, b];
    let fixed = tensors.iter().flatten().all(|tensor| !tensor.is_variable());
    fixed.then(|| tensors.map(|tensor| tensor.map(Tensor::id)))
}
