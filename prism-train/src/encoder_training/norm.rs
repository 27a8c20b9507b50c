//! Batch norm with scale and shift, then ReLU, as one operation with its gradient.
//!
//! ```text
//! u = (x - mean) / sqrt(variance + 1e-5)        y = max(0, gain * u + shift)
//! h = dy where y > 0, else 0
//! dshift = sum(h)     dgain = sum(h * u)     dx = gain / sqrt(variance + 1e-5) * (h - dshift / n - u * dgain / n)
//! ```
//!
//! Sums run over the n = B * H * W values of a channel, in an order that does not depend on the number of threads.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor};
use rayon::prelude::*;

/// Added to a variance before its root.
pub const EPSILON: f64 = 1e-5;

/// Independent partial sums, so that the compiler may use vector registers.
const LANES: usize = 16;

/// Mean and biased variance of one channel over a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelStatistics {
    /// Mean.
    pub mean: f32,
    /// Biased variance.
    pub variance: f32,
}

impl ChannelStatistics {
    fn inverse_root(self) -> f32 {
        (1.0 / libm::sqrt(f64::from(self.variance) + EPSILON)) as f32
    }
}

/// `ReLU(gain * norm(x) + shift)` for `x [B, C, H, W]`, `gain [C]`, `shift [C]`, and the batch's statistics.
pub fn norm_relu(x: &Tensor, gain: &Tensor, shift: &Tensor) -> Result<(Tensor, Vec<ChannelStatistics>)> {
    let x = x.contiguous()?;
    let statistics = measure(&x)?;
    let y = x.apply_op3(gain, shift, NormRelu { statistics: statistics.clone() })?;
    Ok((y, statistics))
}

/// Mean and variance of each channel of `x [B, C, H, W]`.
fn measure(x: &Tensor) -> Result<Vec<ChannelStatistics>> {
    let (storage, layout) = x.storage_and_layout();
    let values = on_cpu(&storage, layout)?;
    let maps = Maps::of(x.shape())?;
    let count = maps.count();
    Ok((0..maps.channels)
        .into_par_iter()
        .map(|channel| {
            let mean = maps.sum(channel, |i| values[i]) / count;
            let centre = mean as f32;
            let variance = maps.sum(channel, |i| (values[i] - centre).powi(2)) / count;
            ChannelStatistics { mean: centre, variance: variance as f32 }
        })
        .collect())
}

/// Where the maps of `[B, C, H, W]` lie.
#[derive(Clone, Copy)]
struct Maps {
    batch: usize,
    channels: usize,
    area: usize,
}

impl Maps {
    fn of(shape: &Shape) -> Result<Self> {
        let (batch, channels, height, width) = shape.dims4()?;
        Ok(Maps { batch, channels, area: height * width })
    }

    fn count(self) -> f64 {
        (self.batch * self.area) as f64
    }

    /// The sum of `value(i)` over every position i of `channel`: a map in `f32` lanes, maps in `f64`.
    fn sum(self, channel: usize, value: impl Fn(usize) -> f32) -> f64 {
        let mut total = 0f64;
        for image in 0..self.batch {
            let start = (image * self.channels + channel) * self.area;
            let mut lanes = [0f32; LANES];
            let whole = self.area - self.area % LANES;
            for offset in (0..whole).step_by(LANES) {
                for (lane, sum) in lanes.iter_mut().enumerate() {
                    *sum += value(start + offset + lane);
                }
            }
            for (offset, lane) in (whole..self.area).zip(&mut lanes) {
                *lane += value(start + offset);
            }
            total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        }
        total
    }
}

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op: "norm-relu" }),
    }
}

fn on_cpu<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    match storage {
        Storage::Cpu(storage) => floats(storage, layout),
        _ => candle_core::bail!("norm-relu computes on the CPU alone"),
    }
}

struct NormRelu {
    statistics: Vec<ChannelStatistics>,
}

impl CustomOp3 for NormRelu {
    fn name(&self) -> &'static str {
        "norm-relu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_at: &Layout,
        gain: &CpuStorage,
        gain_at: &Layout,
        shift: &CpuStorage,
        shift_at: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let maps = Maps::of(x_at.shape())?;
        let (x, gain, shift) = (floats(x, x_at)?, floats(gain, gain_at)?, floats(shift, shift_at)?);
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(maps.area).zip(x.par_chunks(maps.area)).enumerate().for_each(|(map, (y, x))| {
            let channel = map % maps.channels;
            let statistics = self.statistics[channel];
            let factor = gain[channel] * statistics.inverse_root();
            let offset = shift[channel] - factor * statistics.mean;
            y.iter_mut().zip(x).for_each(|(y, x)| *y = (factor * x + offset).max(0.0));
        });
        Ok((CpuStorage::F32(y), x_at.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gain: &Tensor,
        _: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let statistics = self.statistics.clone();
        // h takes the place of dy from here on.
        let h = grad.contiguous()?.apply_op2_no_bwd(y, &Gate)?;
        let (dgain, dshift) = sums(x, &h, &statistics)?;
        let n = Maps::of(x.shape())?.count() as f32;
        let gains = gain.to_vec1::<f32>()?;
        let terms = (0..gains.len()).map(|channel| Terms {
            factor: gains[channel] * statistics[channel].inverse_root(),
            shift: dshift[channel] / n,
            slope: dgain[channel] / n,
        });
        let op = InputGradient { terms: terms.collect(), statistics };
        let dx = x.apply_op2_no_bwd(&h, &op)?;
        let channels = gains.len();
        let vector = |values| Tensor::from_vec(values, channels, x.device()).map(Some);
        Ok((Some(dx), vector(dgain)?, vector(dshift)?))
    }
}

/// `sum(h * u)` and `sum(h)` of each channel.
fn sums(x: &Tensor, h: &Tensor, statistics: &[ChannelStatistics]) -> Result<(Vec<f32>, Vec<f32>)> {
    let maps = Maps::of(x.shape())?;
    let ((x, x_at), (h, h_at)) = (x.storage_and_layout(), h.storage_and_layout());
    let (x, h) = (on_cpu(&x, x_at)?, on_cpu(&h, h_at)?);
    let channel = |(channel, statistics): (usize, &ChannelStatistics)| {
        let weighted = maps.sum(channel, |i| h[i] * (x[i] - statistics.mean));
        let plain = maps.sum(channel, |i| h[i]);
        ((weighted * f64::from(statistics.inverse_root())) as f32, plain as f32)
    };
    Ok(statistics.par_iter().enumerate().map(channel).unzip())
}

/// `(dy, y)` -> dy where y is positive, else 0.
struct Gate;

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "norm-relu-gate"
    }

    fn cpu_fwd(&self, g: &CpuStorage, g_at: &Layout, y: &CpuStorage, y_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (g, y) = (floats(g, g_at)?, floats(y, y_at)?);
        let gate = |(g, y): (&f32, &f32)| if *y > 0.0 { *g } else { 0.0 };
        Ok((CpuStorage::F32(g.par_iter().zip(y).map(gate).collect()), g_at.shape().clone()))
    }
}

#[derive(Clone, Copy)]
struct Terms {
    factor: f32,
    shift: f32,
    slope: f32,
}

/// `(x, h)` -> dx.
struct InputGradient {
    terms: Vec<Terms>,
    statistics: Vec<ChannelStatistics>,
}

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "norm-relu-gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_at: &Layout, h: &CpuStorage, h_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let maps = Maps::of(x_at.shape())?;
        let (x, h) = (floats(x, x_at)?, floats(h, h_at)?);
        let mut dx = h.to_vec();
        dx.par_chunks_mut(maps.area).zip(x.par_chunks(maps.area)).enumerate().for_each(|(map, (dx, x))| {
            let channel = map % maps.channels;
            let (terms, statistics) = (self.terms[channel], self.statistics[channel]);
            let slope = terms.slope * statistics.inverse_root();
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = terms.factor * (*dx - terms.shift - slope * (x - statistics.mean));
            }
        });
        Ok((CpuStorage::F32(dx), x_at.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn input(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 300.0 - 1.5).collect()
    }

    /// The same formula in candle's own differentiable operations.
    fn reference(x: &Tensor, gain: &Tensor, shift: &Tensor) -> Tensor {
        let mean = x.mean_keepdim((0, 2, 3)).unwrap();
        let centred = x.broadcast_sub(&mean).unwrap();
        let variance = centred.sqr().unwrap().mean_keepdim((0, 2, 3)).unwrap();
        let unit = centred.broadcast_div(&(variance + EPSILON).unwrap().sqrt().unwrap()).unwrap();
        let channel = |t: &Tensor| t.reshape((1, (), 1, 1)).unwrap();
        unit.broadcast_mul(&channel(gain)).unwrap().broadcast_add(&channel(shift)).unwrap().relu().unwrap()
    }

    #[test]
    fn values_and_gradients_are_those_of_the_formula() {
        let shape = (3, 4, 5, 7);
        let var = |values, shape: &[usize]| {
            Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
        };
        let x = var(input(420, 1), &[3, 4, 5, 7]);
        let gain = var(vec![1.0, -0.5, 2.0, 0.1], &[4]);
        let shift = var(vec![0.2, 0.1, -0.3, 0.0], &[4]);
        let weight = Tensor::from_vec(input(420, 2), shape, &Device::Cpu).unwrap();
        let ours = norm_relu(&x, &gain, &shift).unwrap().0;
        let theirs = reference(&x, &gain, &shift);
        let loss = |y: &Tensor| (y * &weight).unwrap().sum_all().unwrap().backward().unwrap();
        let (a, b) = (loss(&ours), loss(&theirs));
        let distance = |a: &Tensor, b: &Tensor| {
            (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap()
        };
        assert!(distance(&ours, &theirs) < 1e-5);
        for parameter in [&x, &gain, &shift] {
            let (a, b) = (a.get(parameter).unwrap(), b.get(parameter).unwrap());
            assert!(distance(a, b) < 1e-4, "{a} {b}");
        }
    }
}
