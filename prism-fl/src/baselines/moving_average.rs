//! The adaptive moving average (AMA): instead of a batch's own gap to the real moments, an average over steps is matched.
//!
//! ```text
//! gap   = (mu - mu_real) / sqrt(scale)   and   (var - var_real) / scale            of this step's generated features
//! v     <- one step of Adam on |v - gap|^2, at a rate of its own
//! loss  = 2 mean(v * gap)                                           v is a constant; direct matching has mean(gap^2)
//! ```
//!
//! Source: Generative Feature Matching Networks (dos Santos et al. 2019), section 3.3; PRISM trains so at rate 1e-5. Here it
//! is what direct matching is compared with; it starts at 0 and stays with the client.

use candle_core::{Result, Tensor, Var};
use prism_nn::adam::{Adam, AdamState};
use prism_nn::ops::{self, MomentTargets};
use prism_nn::step::{LossAndGradients, StepRule, TrainingStep};

/// What is averaged in each layer, as files name it.
pub const PARTS: [&str; 2] = ["mean", "variance"];

/// The averages of all encoder layers.
pub struct MovingAverage {
    steps: u64,
    layers: Vec<[Average; 2]>,
}

/// The average of one kind of gap in one layer, `[groups, features]`.
struct Average {
    value: Var,
    moments: AdamState,
}

/// What a step gets of its features.
pub struct Objective {
    /// The scalar to differentiate.
    pub loss: Tensor,
    /// The distance of this step's own moments, which a run reports.
    pub distance: Tensor,
}

impl MovingAverage {
    /// Averages of no steps.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(targets: &[MomentTargets]) -> Result<Self> {
        let average = |like: &Tensor| -> Result<Average> {
            Ok(Average { value: Var::from_tensor(&like.zeros_like()?)?, moments: AdamState::zeros_like(like)? })
        };
        let layer = |targets: &MomentTargets| Ok([average(&targets.mean)?, average(&targets.second)?]);
        Ok(MovingAverage { steps: 0, layers: targets.iter().map(layer).collect::<Result<_>>()? })
    }

    /// The averages that [`MovingAverage::tensors`] gave after `steps` steps, of as many layers as `take` knows.
    ///
    /// # Errors
    /// If a layer has some of its tensors and lacks others, or the computation fails.
    pub fn from_tensors(steps: u64, take: impl Fn(&str) -> Result<Option<Tensor>>) -> Result<Self> {
        let mut layers = Vec::new();
        while take(&name(layers.len(), PARTS[0], "value"))?.is_some() {
            let part = |part: &str, what: &str| {
                let name = name(layers.len(), part, what);
                take(&name)?.ok_or_else(|| candle_core::Error::Msg(format!("there is no tensor {name}")))
            };
            let average = |of: &str| {
                let moments = AdamState { first: part(of, "first")?, second: part(of, "second")? };
                Ok::<_, candle_core::Error>(Average { value: Var::from_tensor(&part(of, "value")?)?, moments })
            };
            layers.push([average(PARTS[0])?, average(PARTS[1])?]);
        }
        Ok(MovingAverage { steps, layers })
    }

    /// Everything that a client must keep, by name.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = Vec::new();
        for (layer, averages) in self.layers.iter().enumerate() {
            for (part, average) in PARTS.iter().zip(averages) {
                let Average { value, moments } = average;
                for (what, tensor) in
                    [("value", value.as_tensor()), ("first", &moments.first), ("second", &moments.second)]
                {
                    tensors.push((name(layer, part, what), tensor.clone()));
                }
            }
        }
        tensors
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether these are averages of the moments that `targets` asks for.
    pub fn fits(&self, targets: &[MomentTargets]) -> bool {
        let fits = |([mean, _], targets): (&[Average; 2], &MomentTargets)| mean.value.dims() == targets.mean.dims();
        self.layers.len() == targets.len() && self.layers.iter().zip(targets).all(fits)
    }

    /// The loss of a training step by `rule` on this objective, whose averages move at `rate`, and its gradients.
    ///
    /// # Errors
    /// If a shape does not fit, or the computation fails.
    pub fn gradients(
        &mut self,
        step: &TrainingStep,
        (rate, rule): (f64, StepRule),
        scores: &[Var],
        z: &Tensor,
        targets: &[MomentTargets],
    ) -> prism_nn::Result<LossAndGradients> {
        step.composed_with(scores, z, rule, targets, |features| {
            let Objective { loss, distance } = self.step(&Adam::new(rate), features, targets)?;
            Ok([loss, distance])
        })
    }

    /// Moves the averages by a step of `adam` towards the gaps of `features`, and says what to minimise.
    ///
    /// # Errors
    /// If a shape does not fit, or the computation fails.
    pub fn step(&mut self, adam: &Adam, features: &[Tensor], targets: &[MomentTargets]) -> Result<Objective> {
        self.steps += 1;
        let (mut losses, mut distances) = (Vec::new(), Vec::new());
        for ((features, targets), averages) in features.iter().zip(targets).zip(&mut self.layers) {
            let [mean, second] = ops::composed::feature_moments(features, targets)?;
            let gaps = [
                (mean - &targets.mean)?.broadcast_div(&targets.scale.sqrt()?)?,
                (second - &targets.second)?.broadcast_div(&targets.scale)?,
            ];
            for (index, (gap, average)) in gaps.iter().zip(averages).enumerate() {
                let gradient = (average.value.as_tensor() - gap.detach())?.detach();
                adam.update(&average.value, &gradient, &mut average.moments, self.steps)?;
                let pull = (gap * average.value.detach())?;
                let pull = targets.weights.as_ref().map_or(Ok(pull.clone()), |weights| pull * &weights[index])?;
                losses.push((pull.mean_all()? * 2.0)?);
            }
            distances.push(ops::moment_loss(&features.detach(), targets)?);
        }
        let sum = |terms: &[Tensor]| Tensor::stack(terms, 0)?.sum_all();
        Ok(Objective { loss: sum(&losses)?, distance: sum(&distances)? })
    }
}

/// Refuses a moving average where a step holds `groups` of the `of` groups that are averaged.
///
/// # Errors
/// [`prism_core::Error::Usage`] if a step does not hold them all.
pub fn check(groups: usize, of: usize) -> prism_nn::Result<()> {
    if groups >= of {
        return Ok(());
    }
    Err(prism_nn::Error::usage(format!(
        "a moving average needs every class in every step, and {groups} of {of} are in one; choose a larger `classes-per-step`, \
         or `objective` moments"
    )))
}

/// A client's averages, which begin with its first step.
///
/// # Errors
/// If they are averages of other moments, or the device has no room.
pub fn of_state<'a>(
    kept: &'a mut Option<MovingAverage>,
    targets: &[MomentTargets],
) -> prism_nn::Result<&'a mut MovingAverage> {
    if kept.is_none() {
        *kept = Some(MovingAverage::new(targets)?);
    }
    let kept = kept.as_mut().filter(|average| average.fits(targets));
    kept.ok_or_else(|| {
        prism_nn::Error::usage("the moving average that was kept is one of other moments; start a new run")
    })
}

fn name(layer: usize, part: &str, what: &str) -> String {
    format!("average.{layer}.{part}.{what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn targets() -> Vec<MomentTargets> {
        let row = |values: [f32; 2]| Tensor::new(&[values], &Device::Cpu).unwrap();
        let scale = Tensor::new(&[[4f32]], &Device::Cpu).unwrap();
        vec![MomentTargets::new(row([1.0, 0.0]), row([2.0, 2.0]), scale)]
    }

    fn features() -> Var {
        Var::new(&[[3f32, 1.0], [5.0, -1.0], [4.0, 0.0]], &Device::Cpu).unwrap()
    }

    #[test]
    fn a_fast_average_pulls_as_direct_matching_does() {
        // Adam's first step is the rate towards the gap; from 0, its sign. At this rate the mean's average is its gap, 1.5.
        let (targets, features) = (targets(), features());
        let mut average = MovingAverage::new(&targets).unwrap();
        let found = average.step(&Adam::new(1.5), &[features.as_tensor().clone()], &targets).unwrap();
        let gradient = |loss: &Tensor| {
            let store = loss.backward().unwrap();
            store.get(&features).unwrap().to_vec2::<f32>().unwrap()
        };
        // Only the first feature's mean has a gap that is not 0; those of its variances, -0.25, are overshot.
        let direct = ops::composed::moment_loss(&features, &targets[0]).unwrap();
        let means = |gradient: Vec<Vec<f32>>| gradient.iter().map(|row| row[0]).sum::<f32>();
        assert!((means(gradient(&found.loss)) - means(gradient(&direct))).abs() < 1e-5);
        let [distance, direct] = [found.distance, direct].map(|t| t.to_scalar::<f32>().unwrap());
        assert!((distance - direct).abs() < 1e-6);
    }

    #[test]
    fn averages_that_were_kept_go_on_as_if_nothing_had_happened() {
        let targets = targets();
        let step = |average: &mut MovingAverage| {
            let objective = average.step(&Adam::new(0.1), &[features().as_tensor().clone()], &targets).unwrap();
            objective.loss.to_scalar::<f32>().unwrap()
        };
        let mut average = MovingAverage::new(&targets).unwrap();
        let first = step(&mut average);
        let kept: Vec<_> = average.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy().unwrap())).collect();
        let take = |name: &str| Ok(kept.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor.clone()));
        let mut restored = MovingAverage::from_tensors(average.steps(), take).unwrap();
        assert!(restored.fits(&targets));
        let second = step(&mut average);
        assert_eq!(step(&mut restored), second);
        assert_ne!(first, second);
        let without = |name: &str| if name.ends_with("second") { Ok(None) } else { take(name) };
        assert!(MovingAverage::from_tensors(1, without).is_err());
    }
}
