//! Between the generator's last convolution and the encoder: `e = scale * tanh(u) + shift` per colour, grey shown as three
//! equal colours, and the gradient on the way back, where the slope of the tanh may have a bias.

use prism_core::simd::math::{self, BLOCK};
use prism_core::simd::{Isa, Kernel, Shape};
use rayon::prelude::*;

use crate::cpu::map::Map;
use crate::encoder::layout::INPUTS;
use crate::ops::tanh_slope;

/// From `u` to the encoder's input and back.
#[derive(Clone, Copy, Debug)]
pub struct Images {
    /// Instruction set of the kernels.
    pub isa: Isa,
    /// The shape of `u`, of 1 or 3 channels.
    pub input: Map,
    /// The shape of the encoder's input.
    pub output: Map,
    /// The encoder's normalisation of each colour.
    pub scale: [f32; INPUTS],
    /// See `scale`.
    pub shift: [f32; INPUTS],
    /// Added to the slope of the tanh ([`ops::tanh`](crate::ops::tanh)).
    pub tanh_grad_bias: f32,
}

impl Images {
    /// The colour of the generator that becomes colour `colour` of the encoder.
    fn from(&self, colour: usize) -> usize {
        colour.min(self.input.channels - 1)
    }

    /// Writes `tanh(u)` to `t` and the encoder's input to `e`.
    pub fn forward(&self, u: &[f32], t: &mut Vec<f32>, e: &mut Vec<f32>) {
        t.resize(self.input.len(), 0.0);
        e.resize(self.output.len(), 0.0);
        let (from, to) = (self.input.image_len(), self.output.image_len());
        let images = t.par_chunks_exact_mut(from).zip(u.par_chunks_exact(from));
        images.zip(e.par_chunks_exact_mut(to)).for_each(|((t, u), e)| {
            // SAFETY: `isa` is one of this machine's.
            unsafe { self.isa.run(Tanh { u, map: self.input, t }) };
            let pixels = t.chunks_exact(self.input.stride).zip(e.chunks_exact_mut(self.output.stride));
            for (t, e) in pixels {
                for colour in 0..INPUTS {
                    e[colour] = self.scale[colour] * t[self.from(colour)] + self.shift[colour];
                }
            }
        });
    }

    /// Writes the gradient of `u` to `du`, given that of the encoder's input.
    pub fn backward(&self, de: &[f32], t: &[f32], du: &mut Vec<f32>) {
        du.resize(self.input.len(), 0.0);
        let (stride, wide) = (self.input.stride, self.output.stride);
        let pixels = du.par_chunks_exact_mut(self.input.image_len()).zip(t.par_chunks_exact(self.input.image_len()));
        pixels.zip(de.par_chunks_exact(self.output.image_len())).for_each(|((du, t), de)| {
            let pixels = du.chunks_exact_mut(stride).zip(t.chunks_exact(stride)).zip(de.chunks_exact(wide));
            for ((du, t), de) in pixels {
                du.fill(0.0);
                for colour in 0..INPUTS {
                    du[self.from(colour)] += self.scale[colour] * de[colour];
                }
                for (du, t) in du.iter_mut().zip(t).take(self.input.channels) {
                    *du *= tanh_slope(*t, *du, self.tanh_grad_bias);
                }
            }
        });
    }
}

struct Tanh<'a> {
    u: &'a [f32],
    map: Map,
    t: &'a mut [f32],
}

impl Kernel for Tanh<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Shape>(self) {
        // The meaningful channels of a few pixels at a time.
        let Map { channels, stride, .. } = self.map;
        let pixels = BLOCK / channels;
        let blocks = self.t.chunks_mut(pixels * stride).zip(self.u.chunks(pixels * stride));
        for (t, u) in blocks {
            let mut block = [0.0; BLOCK];
            for (pixel, u) in u.chunks_exact(stride).enumerate() {
                block[pixel * channels..][..channels].copy_from_slice(&u[..channels]);
            }
            let block = math::tanh(block);
            for (pixel, t) in t.chunks_exact_mut(stride).enumerate() {
                t[..channels].copy_from_slice(&block[pixel * channels..][..channels]);
            }
        }
    }
}
