//! Every operation as a composition of candle's own: correct everywhere, differentiable by candle.

use candle_core::{DType, Result, Tensor};
use prism_core::score;
use prism_core::stream::StreamId;

use crate::cpu::moments::exact::LEAST_IMAGES;
use crate::estimator::Estimator;
use crate::second_moment::SecondMoment;
use crate::step_mask::StepMask;

/// Added to a variance before its root, as in PyTorch's batch norm.
pub const NORM_EPSILON: f64 = 1e-5;

/// Convolution with stride 1 and `kernel / 2` zeros around: `x [B, I, H, W]`, `weight [O, I, k, k]` -> `[B, O, H, W]`.
pub fn conv2d(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.conv2d(weight, weight.dim(2)? / 2, 1, 1, 1)
}

/// `ReLU(conv(x) + bias)` with constant `weight [O, I, 3, 3]` and `bias [O]`; only `x` gets a gradient.
pub fn conv2d_relu_frozen(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    conv2d(x, weight)?.broadcast_add(&bias.reshape((1, (), 1, 1))?)?.relu()
}

/// Transposed 4x4 convolution of a 1x1 map, which is a matrix product: `z [B, I]`, `weight [I, O, 4, 4]` -> `[B, O, 4, 4]`.
pub fn first_layer(z: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (inputs, outputs, height, width) = weight.dims4()?;
    z.matmul(&weight.reshape((inputs, ()))?)?.reshape(((), outputs, height, width))
}

/// `ReLU((x - mean) / sqrt(variance + 1e-5))` with the batch's own mean and (biased) variance per channel.
pub fn batch_norm_relu(x: &Tensor) -> Result<Tensor> {
    let mean = x.mean_keepdim((0, 2, 3))?;
    let centred = x.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;
    centred.broadcast_div(&(variance + NORM_EPSILON)?.sqrt()?)?.relu()
}

/// Nearest-neighbour doubling: `[B, C, H, W]` -> `[B, C, 2H, 2W]`.
pub fn upsample2x(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    x.upsample_nearest2d(2 * height, 2 * width)
}

/// Maximum over disjoint 2x2 squares: `[B, C, H, W]` -> `[B, C, H/2, W/2]`, an odd last row or column left out.
pub fn max_pool2x2(x: &Tensor) -> Result<Tensor> {
    // candle's own `max_pool2d` has a gradient that is four times too small.
    let (batch, channels, height, width) = x.dims4()?;
    let even = x.narrow(2, 0, height / 2 * 2)?.narrow(3, 0, width / 2 * 2)?.contiguous()?;
    even.reshape((batch, channels, height / 2, 2, width / 2, 2))?.max(5)?.max(3)
}

/// `frozen * M` with M chosen by `rule`; the gradient passes straight through M to `sigmoid(scores)`. Without a mask,
/// `frozen * scores`.
///
/// `scores` and `frozen` have the same shape. Draw i takes bytes 4i..4i+4 of the stream ([`score::draw`]).
/// Source: the estimator is Bengio et al. 2013.
pub fn masked_weight(scores: &Tensor, frozen: &Tensor, rule: impl Into<StepMask>) -> Result<Tensor> {
    let mask = match rule.into() {
        StepMask::Drawn(stream) => drawn_mask(scores, stream)?,
        StepMask::Threshold => scores.gt(&scores.zeros_like()?)?.to_dtype(DType::F32)?,
        StepMask::Dense => return scores * frozen,
    };
    let theta = candle_nn::ops::sigmoid(scores)?;
    let straight_through = (&theta + (mask - theta.detach())?)?;
    straight_through * frozen
}

/// M drawn from `Bernoulli(sigmoid(scores))`, as 0 and 1.
fn drawn_mask(scores: &Tensor, stream: StreamId) -> Result<Tensor> {
    let host = scores.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    let mut mask = vec![0f32; host.len()];
    score::draw(host.into_iter().map(score::sigmoid), &mut stream.open(), |i, kept| {
        mask[i] = f32::from(u8::from(kept));
    });
    Tensor::from_vec(mask, scores.shape(), scores.device())
}

/// The feature moments that generated images are to match, for one encoder layer.
///
/// `G` groups (classes; 1 where there are none), `D` features: channels x height x width, or channels x N x N where the
/// features are pooled over the cells of an N x N grid. All pixels of a cell are then samples of one feature.
#[derive(Clone, Debug)]
pub struct MomentTargets {
    /// Mean of each feature, `[G, D]`.
    pub mean: Tensor,
    /// Second moment of each feature, `[G, D]`: unbiased variance or mean square.
    pub second: Tensor,
    /// Which of them.
    pub kind: SecondMoment,
    /// Mean over features of the variance, `[G, 1]`: the unit in which distances count.
    pub scale: Tensor,
    /// How much the term of each mean and of each second moment counts, `[G, D]` each; 1 where there are none.
    pub weights: Option<[Tensor; 2]>,
    /// Cells a side of the grid that features are pooled over (at most one a pixel); none for every pixel by itself.
    pub grid: Option<usize>,
    /// How distances are estimated.
    pub estimator: Estimator,
}

impl MomentTargets {
    /// Targets of features that are not pooled, all of which count alike, for the plain estimator, by their variance: the shapes
    /// are those of the fields.
    pub fn new(mean: Tensor, variance: Tensor, scale: Tensor) -> Self {
        let kind = SecondMoment::Variance;
        MomentTargets { mean, second: variance, kind, scale, weights: None, grid: None, estimator: Estimator::Biased }
    }
}

/// `[B, C, H, W]` as samples of features pooled over `grid` cells a side: `[G, B / G * pixels of a cell, C * N * N]`.
pub fn cell_samples(features: &Tensor, groups: usize, grid: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = features.dims4()?;
    let side = grid.min(height);
    let (high, wide) = (height / side.max(1), width / side.max(1));
    if side == 0 || (high * side, wide * side) != (height, width) || batch % groups != 0 {
        candle_core::bail!("a grid of {grid} cells a side does not divide features of shape {:?}", features.shape());
    }
    // candle permutes at most six axes at once, so the batch stays one axis until the end.
    let split = features.reshape((batch * channels, side, high, side, wide))?.permute((0, 2, 4, 1, 3))?.contiguous()?;
    let samples = split.reshape((batch, channels, high * wide, side * side))?.permute((0, 2, 1, 3))?.contiguous()?;
    samples.reshape((groups, batch / groups * high * wide, channels * side * side))
}

/// The features of a batch as samples of each group: `[G, n, D]`.
fn samples(features: &Tensor, targets: &MomentTargets) -> Result<Tensor> {
    let (groups, width) = targets.mean.dims2()?;
    match targets.grid {
        Some(grid) => cell_samples(features, groups, grid),
        None => features.reshape((groups, (), width)),
    }
}

/// Mean and second moment of each group's features, `[G, D]` each, pooled as the targets are and of their kind.
pub fn feature_moments(features: &Tensor, targets: &MomentTargets) -> Result<[Tensor; 2]> {
    let features = samples(features, targets)?;
    Ok([features.mean(1)?, second_moment(&features, targets.kind)?])
}

/// The second moment over samples `[G, S, D]`.
fn second_moment(samples: &Tensor, kind: SecondMoment) -> Result<Tensor> {
    match kind {
        SecondMoment::Variance => samples.var(1),
        SecondMoment::Square => samples.sqr()?.mean(1),
    }
}

/// The variance of the mean of samples `[G, S, D]` that are of `images` images of each group, image after image: pixels of one
/// image are no independent samples, but images are.
fn chance_of_mean(samples: &Tensor, images: usize) -> Result<Tensor> {
    let (groups, _, width) = samples.dims3()?;
    samples.reshape((groups, images, (), width))?.mean(2)?.var(1)? / images as f64
}

/// The squared distance of variances `[G, D]` without what chance adds to it: see `cpu/moments/variance.rs`. `samples [G, S, D]` are
/// of `images` images of each group, image after image.
fn exact_variance_term(samples: &Tensor, images: usize, aim: &Tensor) -> Result<Tensor> {
    let (groups, _, width) = samples.dims3()?;
    let n = images as f64;
    let [n2, n3, n4] = [n * (n - 1.0), n * (n - 1.0) * (n - 2.0), n * (n - 1.0) * (n - 2.0) * (n - 3.0)];
    let centred = samples.broadcast_sub(&samples.mean_keepdim(1)?)?.reshape((groups, images, (), width))?;
    let (m_square, q) = (centred.mean(2)?.sqr()?, centred.sqr()?.mean(2)?);
    let [sum_q, sum_m, sum_q_square, sum_q_m, sum_m_fourth] =
        [q.sum(1)?, m_square.sum(1)?, q.sqr()?.sum(1)?, (&q * &m_square)?.sum(1)?, m_square.sqr()?.sum(1)?];
    let variance = ((&sum_q / n)? + (&sum_m / n2)?)?;
    let of_squares = ((sum_q.sqr()? - sum_q_square)? / n2)?;
    let of_both = (((sum_q_m * 2.0)? - (&sum_q * &sum_m)?)? * (2.0 / n3))?;
    let of_means = (((sum_m.sqr()? * 3.0)? - (sum_m_fourth * 6.0)?)? / n4)?;
    let square = ((of_squares - of_both)? + of_means)?;
    square - ((aim * variance)? * 2.0)? + aim.sqr()?
}

/// How far generated features are from the targets: the mean over groups g of
/// `mean_d(a_d (mu - mu_g)^2) / v_g + mean_d(b_d (var - var_g)^2) / v_g^2`, a scalar, with the weights a and b of the targets.
///
/// `features [G * n, ...]` holds n images of group 0, then n of group 1, and so on; `var` is unbiased, so n >= 2, or it is the mean
/// square.
/// An [`Estimator::Unbiased`] one takes off what chance adds to both squares.
/// Source: PRISM, equation 5 (a linear-kernel MMD with second moments, as in GFMN).
pub fn moment_loss(features: &Tensor, targets: &MomentTargets) -> Result<Tensor> {
    let images = features.dim(0)? / targets.mean.dim(0)?;
    let features = samples(features, targets)?;
    let second = second_moment(&features, targets.kind)?;
    let mut mean_term = (features.mean(1)? - &targets.mean)?.sqr()?;
    let mut second_term = (&second - &targets.second)?.sqr()?;
    if targets.estimator == Estimator::Unbiased {
        mean_term = (mean_term - chance_of_mean(&features, images)?)?;
        let exact = images >= LEAST_IMAGES;
        second_term = match targets.kind {
            SecondMoment::Square => (second_term - chance_of_mean(&features.sqr()?, images)?)?,
            SecondMoment::Variance if exact => exact_variance_term(&features, images, &targets.second)?,
            SecondMoment::Variance => (second_term - (second.sqr()? * (2.0 / (features.dim(1)? as f64 + 1.0)))?)?,
        };
    }
    if let Some([of_mean, of_second]) = &targets.weights {
        mean_term = (mean_term * of_mean)?;
        second_term = (second_term * of_second)?;
    }
    let mean_term = (mean_term.mean_keepdim(1)? / &targets.scale)?;
    let second_term = (second_term.mean_keepdim(1)? / targets.scale.sqr()?)?;
    (mean_term + second_term)?.mean_all()
}
