//! The stem and the mixed blocks: convolutions side by side, their outputs stacked.
//!
//! A block is a list of branches; a branch is a chain of convolutions that may begin with a pool and may end in a fork.
//! The layers' names are those of pytorch-fid's weights.

use candle_core::{Device, Result as TensorResult, Tensor};

use super::conv::{Conv, Geometry};
use super::pools;
use super::weights::Weights;
use crate::error::Result;

/// Everything before the first mixed block.
pub struct Stem {
    convs: Vec<(&'static str, Conv)>,
}

/// Stem convolutions after which the image is halved.
const HALVED_AFTER: [&str; 2] = ["Conv2d_2b_3x3", "Conv2d_4a_3x3"];

impl Stem {
    pub fn read(weights: &Weights, device: &Device) -> Result<Self> {
        let mut convs = Vec::new();
        for (name, inputs, outputs, side, stride, padding) in [
            ("Conv2d_1a_3x3", 3, 32, 3, 2, 0),
            ("Conv2d_2a_3x3", 32, 32, 3, 1, 0),
            ("Conv2d_2b_3x3", 32, 64, 3, 1, 1),
            ("Conv2d_3b_1x1", 64, 80, 1, 1, 0),
            ("Conv2d_4a_3x3", 80, 192, 3, 1, 0),
        ] {
            let geometry = Geometry { inputs, outputs, kernel: (side, side), stride, padding: (padding, padding) };
            convs.push((name, Conv::read(weights, name, geometry, device)?));
        }
        Ok(Stem { convs })
    }

    pub fn forward(&self, x: &Tensor, each: &mut dyn FnMut(&str, &Tensor)) -> TensorResult<Tensor> {
        let mut x = x.clone();
        for (name, conv) in &self.convs {
            x = conv.forward(&x)?;
            each(name, &x);
            if HALVED_AFTER.contains(name) {
                x = pools::max_halve(&x)?;
            }
        }
        Ok(x)
    }
}

/// How a branch begins.
enum Pool {
    None,
    MeanAround,
    MaxAround,
    MaxHalve,
}

/// A pool, convolutions one after the other, then convolutions side by side.
struct Branch {
    pool: Pool,
    chain: Vec<Conv>,
    fork: Vec<Conv>,
}

/// Branches side by side.
pub struct MixedBlock {
    branches: Vec<Branch>,
}

impl MixedBlock {
    pub fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        let mut outputs = Vec::new();
        for branch in &self.branches {
            let mut y = match branch.pool {
                Pool::None => x.clone(),
                Pool::MeanAround => pools::mean_around(x)?,
                Pool::MaxAround => pools::max_around(x)?,
                Pool::MaxHalve => pools::max_halve(x)?,
            };
            for conv in &branch.chain {
                y = conv.forward(&y)?;
            }
            if branch.fork.is_empty() {
                outputs.push(y);
            } else {
                for conv in &branch.fork {
                    outputs.push(conv.forward(&y)?);
                }
            }
        }
        Tensor::cat(&outputs, 1)
    }
}

/// The eleven mixed blocks with their names.
pub fn read(weights: &Weights, device: &Device) -> Result<Vec<(&'static str, MixedBlock)>> {
    let of = |name| Reader { weights, device, name };
    Ok(vec![
        ("Mixed_5b", of("Mixed_5b").block_a(192, 32)?),
        ("Mixed_5c", of("Mixed_5c").block_a(256, 64)?),
        ("Mixed_5d", of("Mixed_5d").block_a(288, 64)?),
        ("Mixed_6a", of("Mixed_6a").block_b(288)?),
        ("Mixed_6b", of("Mixed_6b").block_c(768, 128)?),
        ("Mixed_6c", of("Mixed_6c").block_c(768, 160)?),
        ("Mixed_6d", of("Mixed_6d").block_c(768, 160)?),
        ("Mixed_6e", of("Mixed_6e").block_c(768, 192)?),
        ("Mixed_7a", of("Mixed_7a").block_d(768)?),
        ("Mixed_7b", of("Mixed_7b").block_e(1280, Pool::MeanAround)?),
        ("Mixed_7c", of("Mixed_7c").block_e(2048, Pool::MaxAround)?),
    ])
}

/// One convolution of a branch: the end of its name, channels out, kernel.
type ConvSpec = (&'static str, usize, (usize, usize));

/// Reads the convolutions of one block.
struct Reader<'a> {
    weights: &'a Weights,
    device: &'a Device,
    name: &'static str,
}

impl Reader<'_> {
    /// A convolution that keeps the side (`stride` 1, zeros around) or halves it (`stride` 2, none).
    fn conv(&self, inputs: usize, (name, outputs, kernel): ConvSpec, stride: usize) -> Result<Conv> {
        let padding = if stride == 1 { (kernel.0 / 2, kernel.1 / 2) } else { (0, 0) };
        let geometry = Geometry { inputs, outputs, kernel, stride, padding };
        Conv::read(self.weights, &format!("{}.{name}", self.name), geometry, self.device)
    }

    /// Convolutions one after the other, all keeping the side; and the channels that come out.
    fn chain(&self, mut inputs: usize, steps: &[ConvSpec]) -> Result<(Vec<Conv>, usize)> {
        let mut chain = Vec::new();
        for &step in steps {
            chain.push(self.conv(inputs, step, 1)?);
            inputs = step.1;
        }
        Ok((chain, inputs))
    }

    fn branch(&self, pool: Pool, inputs: usize, steps: &[ConvSpec]) -> Result<Branch> {
        Ok(Branch { pool, chain: self.chain(inputs, steps)?.0, fork: Vec::new() })
    }

    /// A branch whose last convolution halves the side.
    fn halving(&self, inputs: usize, steps: &[ConvSpec], last: ConvSpec) -> Result<Branch> {
        let (mut chain, inputs) = self.chain(inputs, steps)?;
        chain.push(self.conv(inputs, last, 2)?);
        Ok(Branch { pool: Pool::None, chain, fork: Vec::new() })
    }

    fn forked(&self, inputs: usize, steps: &[ConvSpec], fork: &[ConvSpec]) -> Result<Branch> {
        let (chain, inputs) = self.chain(inputs, steps)?;
        let fork = fork.iter().map(|&step| self.conv(inputs, step, 1)).collect::<Result<_>>()?;
        Ok(Branch { pool: Pool::None, chain, fork })
    }

    fn block_a(&self, inputs: usize, pooled: usize) -> Result<MixedBlock> {
        let branches = vec![
            self.branch(Pool::None, inputs, &[("branch1x1", 64, (1, 1))])?,
            self.branch(Pool::None, inputs, &[("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))])?,
            self.branch(
                Pool::None,
                inputs,
                &[("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))],
            )?,
            self.branch(Pool::MeanAround, inputs, &[("branch_pool", pooled, (1, 1))])?,
        ];
        Ok(MixedBlock { branches })
    }

    fn block_b(&self, inputs: usize) -> Result<MixedBlock> {
        let double = [("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3))];
        let branches = vec![
            self.halving(inputs, &[], ("branch3x3", 384, (3, 3)))?,
            self.halving(inputs, &double, ("branch3x3dbl_3", 96, (3, 3)))?,
            self.branch(Pool::MaxHalve, inputs, &[])?,
        ];
        Ok(MixedBlock { branches })
    }

    fn block_c(&self, inputs: usize, c: usize) -> Result<MixedBlock> {
        let single = [("branch7x7_1", c, (1, 1)), ("branch7x7_2", c, (1, 7)), ("branch7x7_3", 192, (7, 1))];
        let double = [
            ("branch7x7dbl_1", c, (1, 1)),
            ("branch7x7dbl_2", c, (7, 1)),
            ("branch7x7dbl_3", c, (1, 7)),
            ("branch7x7dbl_4", c, (7, 1)),
            ("branch7x7dbl_5", 192, (1, 7)),
        ];
        let branches = vec![
            self.branch(Pool::None, inputs, &[("branch1x1", 192, (1, 1))])?,
            self.branch(Pool::None, inputs, &single)?,
            self.branch(Pool::None, inputs, &double)?,
            self.branch(Pool::MeanAround, inputs, &[("branch_pool", 192, (1, 1))])?,
        ];
        Ok(MixedBlock { branches })
    }

    fn block_d(&self, inputs: usize) -> Result<MixedBlock> {
        let seven = [("branch7x7x3_1", 192, (1, 1)), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1))];
        let branches = vec![
            self.halving(inputs, &[("branch3x3_1", 192, (1, 1))], ("branch3x3_2", 320, (3, 3)))?,
            self.halving(inputs, &seven, ("branch7x7x3_4", 192, (3, 3)))?,
            self.branch(Pool::MaxHalve, inputs, &[])?,
        ];
        Ok(MixedBlock { branches })
    }

    fn block_e(&self, inputs: usize, pool: Pool) -> Result<MixedBlock> {
        let fork = [("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))];
        let double = [("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3))];
        let double_fork = [("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))];
        let branches = vec![
            self.branch(Pool::None, inputs, &[("branch1x1", 320, (1, 1))])?,
            self.forked(inputs, &[("branch3x3_1", 384, (1, 1))], &fork)?,
            self.forked(inputs, &double, &double_fork)?,
            self.branch(pool, inputs, &[("branch_pool", 192, (1, 1))])?,
        ];
        Ok(MixedBlock { branches })
    }
}
