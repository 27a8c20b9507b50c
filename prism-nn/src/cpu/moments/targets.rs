//! What features are compared with, and the gradient of the comparison.

use rayon::prelude::*;

use crate::cpu::map::Map;
use crate::estimator::Estimator;
use crate::second_moment::SecondMoment;

/// What generated moments should be.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// `[G, D]`.
    pub mean: &'a [f32],
    /// `[G, D]`.
    pub second: &'a [f32],
    /// What `second` is.
    pub kind: SecondMoment,
    /// `[G]`.
    pub scale: &'a [f32],
    /// How much the term of each mean and of each variance counts, `[G, D]` each; 1 where there are none.
    pub weights: Option<[&'a [f32]; 2]>,
    /// How distances are estimated.
    pub estimator: Estimator,
}

impl<'a> Targets<'a> {
    /// G, D and n, for features of shape `map`.
    pub(super) fn sizes(&self, map: Map) -> (usize, usize, usize) {
        let groups = self.scale.len();
        (groups, self.mean.len() / groups.max(1), map.batch / groups.max(1))
    }

    /// The targets of features `range`, counted over all groups, all of which belong to `group`.
    pub(super) fn part(&self, range: std::ops::Range<usize>, group: usize) -> Targets<'a> {
        Targets {
            mean: &self.mean[range.clone()],
            second: &self.second[range.clone()],
            kind: self.kind,
            scale: &self.scale[group..=group],
            weights: self.weights.map(|weights| weights.map(|w| &w[range.clone()])),
            estimator: self.estimator,
        }
    }
}

/// The gradient, as a linear function of each feature or as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradient {
    /// `[G, D]`, or `[G n, D]` if the function is another for every image.
    pub shift: Vec<f32>,
    /// As `shift`; empty where `shift` is the gradient itself.
    pub slope: Vec<f32>,
    /// Whether it is another for every image.
    pub per_image: bool,
}

impl Gradient {
    /// Turns a function of the features into its values, so that other gradients may be added to them.
    ///
    /// # Panics
    /// If the lengths of the slices disagree with the shapes.
    pub fn evaluate(&mut self, features: &[f32], groups: usize) {
        if self.slope.is_empty() {
            return;
        }
        let mut values = vec![0.0; features.len()];
        self.write(features, groups, 1.0, &mut values);
        (self.shift, self.per_image) = (values, true);
        self.slope.clear();
    }

    /// Writes `scale` times the gradient with respect to `features` to `out`.
    ///
    /// # Panics
    /// If the lengths of the slices disagree with the shapes.
    pub fn write(&self, features: &[f32], groups: usize, scale: f32, out: &mut [f32]) {
        assert_eq!(features.len(), out.len(), "a gradient for every feature");
        if features.is_empty() {
            return;
        }
        let width = self.shift.len() / groups;
        let images = features.len() / self.shift.len();
        if self.slope.is_empty() {
            out.par_iter_mut().zip(&self.shift).for_each(|(out, &gradient)| *out = scale * gradient);
            return;
        }
        out.par_chunks_exact_mut(width).zip(features.par_chunks_exact(width)).enumerate().for_each(
            |(row, (out, features))| {
                let at = row / images * width;
                let (shift, slope) = (&self.shift[at..at + width], &self.slope[at..at + width]);
                for (((out, &f), &shift), &slope) in out.iter_mut().zip(features).zip(shift).zip(slope) {
                    *out = scale * (shift + slope * f);
                }
            },
        );
    }
}
