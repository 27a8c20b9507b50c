//! The network that is trained: `(conv 3x3, batch norm, ReLU | max-pool) ... -> mean over the pixels of a cell -> linear`.
//!
//! In a residual one, a convolution that keeps the width adds its input to its output (He et al. 2016).

use candle_core::{Device, Result as TensorResult, Tensor, Var};
use prism_core::stream::{Purpose, StreamId};
use prism_data::Dataset;
use prism_nn::encoder::weights::BatchNorm;
use prism_nn::encoder::{ConvWeights, EncoderLayer, EncoderLayout, random};
use prism_nn::{Result, ops};

use super::evaluate;
use super::norm::{self, ChannelStatistics};

/// Share of the newest batch in the running statistics.
const RUNNING: f32 = 0.1;

/// Probability that is spread evenly over all classes (Szegedy et al. 2016).
const SMOOTHING: f64 = 0.1;

/// Parameters of one layer: convolution, gain, shift.
const PER_CONV: usize = 3;

/// The network's parameters and running statistics.
pub struct Network {
    layout: EncoderLayout,
    /// Weight, gain and shift of each convolution, then the classifier's weight and bias.
    parameters: Vec<Var>,
    running: Vec<Vec<ChannelStatistics>>,
    shape: HeadShape,
    residual: bool,
}

/// The size of a classifier on top of the convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Cells a side that a map is divided into; 1 for the whole of it.
    pub cells: usize,
    /// Classes that it tells apart.
    pub classes: usize,
}

/// A linear classifier of features that are averaged over the pixels of each cell.
#[derive(Clone, Debug)]
pub struct Head {
    /// Cells a side that a map is divided into; 1 for the whole of it.
    pub cells: usize,
    /// `[features * cells * cells, classes]`.
    pub weight: Tensor,
    /// `[classes]`.
    pub bias: Tensor,
}

impl Head {
    /// Class scores `[B, classes]` of the last convolution's output `[B, features, H, W]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn classify(&self, features: &Tensor) -> Result<Tensor> {
        let pooled = match self.cells {
            // The sums of the general case may come in another order, and the bits of the embedded encoder rest on these.
            1 => features.mean((2, 3))?,
            cells => {
                let (images, channels, height, width) = features.dims4()?;
                let divided = (images, channels, cells, height / cells, cells, width / cells);
                let sums = features.reshape(divided)?.sum(5)?.sum(3)?.flatten_from(1)?;
                (sums * ((cells * cells) as f64 / (height * width) as f64))?
            }
        };
        Ok(pooled.matmul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}

/// What one step gave.
pub struct Outcome {
    /// In the order of [`Network::parameters`].
    pub gradients: Vec<Tensor>,
    /// Mean cross-entropy, with label smoothing.
    pub loss: f64,
    /// Share of the batch that is classified correctly.
    pub accuracy: f64,
}

impl Network {
    /// Kaiming normal convolutions, and a classifier of their last map.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn new(layout: &EncoderLayout, shape: HeadShape, seed: u64) -> Result<Self> {
        let HeadShape { cells, classes } = shape;
        let mut parameters = Vec::new();
        let mut running = Vec::new();
        let mut width = 0;
        for conv in random::kaiming(layout, seed) {
            width = conv.outputs;
            parameters.push(var(conv.weight, &[width, conv.inputs, 3, 3])?);
            parameters.push(var(vec![1.0; width], &[width])?);
            parameters.push(var(vec![0.0; width], &[width])?);
            running.push(vec![ChannelStatistics { mean: 0.0, variance: 1.0 }; width]);
        }
        let inputs = width * cells * cells;
        parameters.push(var(classifier(inputs, classes, layout, seed), &[inputs, classes])?);
        parameters.push(var(vec![0.0; classes], &[classes])?);
        Ok(Network { layout: layout.clone(), parameters, running, shape, residual: false })
    }

    /// The same network, residual or not.
    pub fn with_residuals(mut self, residual: bool) -> Self {
        self.residual = residual;
        self
    }

    /// Everything that is learned.
    pub fn parameters(&self) -> &[Var] {
        &self.parameters
    }

    /// The device that it computes on.
    pub fn device(&self) -> &Device {
        &Device::Cpu
    }

    /// Gradients of the smoothed cross-entropy for a batch `[B, channels, S, S]`, and the running statistics brought up to
    /// date. Grey images are shown as three equal colours.
    pub fn step(&mut self, images: &[f32], channels: usize, labels: &[u16]) -> Result<Outcome> {
        let side = (images.len() / labels.len() / channels).isqrt();
        let x = Tensor::from_slice(images, (labels.len(), channels, side, side), self.device())?;
        let x = if channels == 1 { x.repeat((1, 3, 1, 1))? } else { x };
        let features = self.features(&x)?;
        let logits = self.head().classify(&features)?;
        let rows = logits.to_vec2::<f32>()?;
        let (loss, accuracy, slopes) = cross_entropy(&rows, labels);
        // The gradient at the logits is known, so a linear function with that slope has the loss's gradient.
        let slopes = Tensor::from_vec(slopes, (labels.len(), self.shape.classes), self.device())?;
        let store = (logits * slopes)?.sum_all()?.backward()?;
        let gradient = |p: &Var| store.get(p).cloned().map_or_else(|| p.zeros_like(), Ok);
        let gradients = self.parameters.iter().map(gradient).collect::<TensorResult<_>>()?;
        Ok(Outcome { gradients, loss, accuracy })
    }

    /// The classifier on top of the convolutions, as it is now.
    pub fn head(&self) -> Head {
        let head = &self.parameters[self.parameters.len() - 2..];
        Head { cells: self.shape.cells, weight: head[0].as_tensor().clone(), bias: head[1].as_tensor().clone() }
    }

    fn features(&mut self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        let mut layers = self.parameters.chunks_exact(PER_CONV).zip(&mut self.running);
        for step in self.layout.layers() {
            match step {
                EncoderLayer::Pool => x = ops::max_pool2x2(&x)?,
                EncoderLayer::Conv(_) => {
                    // `new` has made one layer for each convolution of the layout.
                    let Some((layer, running)) = layers.next() else { break };
                    let (y, statistics) = norm::norm_relu(&ops::conv2d(&x, &layer[0])?, &layer[1], &layer[2])?;
                    for (running, new) in running.iter_mut().zip(statistics) {
                        running.mean += RUNNING * (new.mean - running.mean);
                        running.variance += RUNNING * (new.variance - running.variance);
                    }
                    x = joined(&x, y, self.residual)?;
                }
            }
        }
        Ok(x)
    }

    /// Share of the images `test` that it classifies correctly, by the running statistics.
    ///
    /// # Errors
    /// If the images do not fit, or the computation fails.
    pub fn accuracy(&self, test: &Dataset) -> Result<f64> {
        let convs = self.folded()?.iter().map(|conv| conv.freeze(self.device())).collect::<Result<Vec<_>>>()?;
        let head = self.head();
        evaluate::accuracy(test, |images| {
            let mut x = if test.channels() == 1 { images.repeat((1, 3, 1, 1))? } else { images.clone() };
            let mut convs = convs.iter();
            for step in self.layout.layers() {
                x = match step {
                    EncoderLayer::Pool => ops::max_pool2x2(&x)?,
                    EncoderLayer::Conv(_) => {
                        let Some(conv) = convs.next() else { break };
                        joined(&x, ops::conv2d_relu_frozen(&x, conv)?, self.residual)?
                    }
                };
            }
            head.classify(&x)
        })
    }

    /// The convolutions with their batch norms folded in, by the running statistics.
    pub fn folded(&self) -> Result<Vec<ConvWeights>> {
        let layers = self.parameters.chunks_exact(PER_CONV).zip(&self.running).zip(self.layout.convs());
        let mut folded = Vec::new();
        for ((layer, running), (inputs, outputs)) in layers {
            let weight = layer[0].flatten_all()?.to_vec1::<f32>()?;
            let norm = BatchNorm {
                scale: layer[1].to_vec1::<f32>()?,
                shift: layer[2].to_vec1::<f32>()?,
                mean: running.iter().map(|s| s.mean).collect(),
                variance: running.iter().map(|s| s.variance).collect(),
                epsilon: norm::EPSILON,
            };
            folded.push(ConvWeights { inputs, outputs, weight, bias: vec![0.0; outputs] }.folded(&norm));
        }
        Ok(folded)
    }
}

/// What goes on after a convolution of `x` that gave `y`: both together where a residual network may add them.
fn joined(x: &Tensor, y: Tensor, residual: bool) -> TensorResult<Tensor> {
    if residual && x.dims() == y.dims() { x + y } else { Ok(y) }
}

fn var(values: Vec<f32>, shape: &[usize]) -> TensorResult<Var> {
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Initial classifier weights, `N(0, 1 / width)`, from the stream after the last convolution's.
fn classifier(width: usize, classes: usize, layout: &EncoderLayout, seed: u64) -> Vec<f32> {
    let mut stream = StreamId::new(seed, Purpose::EncoderWeight).layer(layout.convs().len() as u64).open();
    let deviation = libm::sqrt(1.0 / width as f64);
    (0..width * classes).map(|_| (stream.normal() * deviation) as f32).collect()
}

/// Mean smoothed cross-entropy, share classified correctly, and the gradient at the logits.
fn cross_entropy(logits: &[Vec<f32>], labels: &[u16]) -> (f64, f64, Vec<f32>) {
    let (mut loss, mut right, mut slopes) = (0.0, 0usize, Vec::new());
    let count = labels.len() as f64;
    for (row, &label) in logits.iter().zip(labels) {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials: Vec<f64> = row.iter().map(|&x| libm::exp(f64::from(x - highest))).collect();
        let total: f64 = exponentials.iter().sum();
        right += usize::from(row.get(usize::from(label)) == Some(&highest));
        for (class, (exponential, &logit)) in exponentials.iter().zip(row).enumerate() {
            let certain = if class == usize::from(label) { 1.0 - SMOOTHING } else { 0.0 };
            let target = certain + SMOOTHING / row.len() as f64;
            loss -= target * (f64::from(logit - highest) - libm::log(total));
            slopes.push(((exponential / total - target) / count) as f32);
        }
    }
    (loss / count, right as f64 / count, slopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.nn.functional.cross_entropy(torch.tensor([[1., 2., -1.], [0., 0., 3.]]), torch.tensor([1, 0]),
    /// label_smoothing=0.1)`, and its gradient.
    #[test]
    fn the_loss_is_that_of_pytorch() {
        let (loss, accuracy, slopes) = cross_entropy(&[vec![1.0, 2.0, -1.0], vec![0.0, 0.0, 3.0]], &[1, 0]);
        assert!((loss - LOSS).abs() < 1e-6, "{loss}");
        assert_eq!(accuracy, 0.5);
        for (slope, expected) in slopes.iter().zip(SLOPES) {
            assert!((slope - expected).abs() < 1e-6, "{slopes:?}");
        }
    }

    /// Two images of two features on 4x4 maps, in 2x2 cells: each score is the sum of cell means times weights, added up one by one.
    #[test]
    fn a_head_of_cells_weighs_each_cells_mean() {
        let (images, features, side, cells, classes) = (2, 2, 4, 2, 3);
        let values: Vec<f32> = (0..images * features * side * side).map(|i| (i * 7 % 23) as f32).collect();
        let weights: Vec<f32> = (0..features * cells * cells * classes).map(|i| (i * 5 % 11) as f32 - 4.0).collect();
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
        let head = Head {
            cells,
            weight: tensor(&weights, &[features * cells * cells, classes]),
            bias: tensor(&[0.5, 0.0, -0.5], &[classes]),
        };
        let scores = head.classify(&tensor(&values, &[images, features, side, side])).unwrap();
        for (image, scores) in scores.to_vec2::<f32>().unwrap().iter().enumerate() {
            for (class, &score) in scores.iter().enumerate() {
                let mut expected = [0.5, 0.0, -0.5][class];
                for (at, &value) in values[image * 32..][..32].iter().enumerate() {
                    let (feature, row, column) = (at / 16, at / 4 % 4, at % 4);
                    let cell = (feature * cells + row / 2) * cells + column / 2;
                    expected += value / 4.0 * weights[cell * classes + class];
                }
                assert!((score - expected).abs() < 1e-4, "image {image}, class {class}: {score}, not {expected}");
            }
        }
    }

    const LOSS: f64 = 1.738_634_2;
    const SLOPES: [f32; 6] = [0.113_081_57, -0.113_974_39, 0.000_892_85, -0.444_027_42, 0.005_972_58, 0.438_054_83];
}
