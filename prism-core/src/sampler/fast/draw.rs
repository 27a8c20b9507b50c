//! From inputs to images: a team takes a few images through the network, layer by layer.

use super::layer::{Convolution, Scratch};
use super::network::{Network, ResidualBlock};
use super::sink::{Activation, BlockEnd, FirstEnd, Plain, Scaled};
use super::space::{BlockViews, Views};
use super::team::Member;
use crate::sampler::element::Element;
use crate::sampler::image::LastStep;
use crate::sampler::maps::{MapView, Position};
use crate::sampler::scales::Affine;
use crate::sampler::scheme::{Doubled, Pointwise, Schemes};

/// Images that the threads of a team write, each its own rows.
#[derive(Clone, Copy)]
pub(super) struct Images(pub(super) *mut f32);

// SAFETY: a pointer to elements; who dereferences it answers for what other threads do.
unsafe impl Send for Images {}
// SAFETY: as above.
unsafe impl Sync for Images {}

/// What a thread draws with: the generator, its place in a team, the team's memory and its own.
pub(super) struct WorkerContext<'a, E: Element> {
    pub(super) network: &'a Network<E>,
    pub(super) member: Member<'a>,
    pub(super) views: &'a Views<E>,
    pub(super) scratch: &'a mut Scratch<E>,
}

impl<E: Schemes> WorkerContext<'_, E> {
    /// Draws `inputs`, rows for as many images as fit the team's memory, to `out`, `[n, channels, size, size]`.
    ///
    /// # Safety
    /// `isa` of the network must be one of this machine's; all members of the team must call this with the same
    /// arguments, with views of memory for so many images that nobody else uses; `out` must have room.
    pub(super) unsafe fn draw(&mut self, inputs: &[f32], out: Images) {
        let images = inputs.len() / self.network.arch.inputs();
        // SAFETY: the caller's promises; the team meets wherever one layer's outputs are the next one's inputs.
        unsafe {
            self.take(inputs, images);
            self.member.meet();
            self.first(images);
            self.member.meet();
            for block in 0..self.network.blocks.len() {
                self.block(block, images);
            }
            self.last(images, out);
            self.member.meet();
        }
    }

    /// Makes elements of the inputs.
    ///
    /// # Safety
    /// As for `draw`.
    unsafe fn take(&self, inputs: &[f32], images: usize) {
        let width = self.network.arch.inputs();
        for image in self.member.part(images) {
            let row = &inputs[image * width..][..width];
            let scale = E::scale_of_row(row, width);
            // SAFETY: this image's factor and elements, which this thread alone writes.
            unsafe {
                *self.views.factors.add(image) = self.network.first_sigma / scale.factor;
                let to = std::slice::from_raw_parts_mut(
                    self.views.input.pixel(Position { image, row: 0, column: 0 }),
                    width,
                );
                to.iter_mut().zip(row).for_each(|(to, x)| *to = E::from_real(*x, scale));
            }
        }
    }

    /// # Safety
    /// As for `draw`, with complete inputs.
    unsafe fn first(&mut self, images: usize) {
        let (network, scales, views) = (self.network, &self.network.blocks[0].scales, self.views.blocks[0]);
        // SAFETY: the factors were written before the team met.
        let factors = unsafe { std::slice::from_raw_parts(self.views.factors, images) };
        let sink = FirstEnd {
            factors,
            plain: Plain { to: views.plain, scale: scales.plain.factor, limit: scales.plain.limit },
            activation: activation(views.input, &scales.input),
        };
        let layer = Convolution::<Pointwise, E>::new(network.isa, &network.first, self.views.input, images);
        // SAFETY: the caller's promises.
        unsafe { layer.run(self.member, self.scratch, sink) };
    }

    /// # Safety
    /// As for `draw`, with the block's input complete; on return its output is.
    unsafe fn block(&mut self, index: usize, images: usize) {
        let (isa, member) = (self.network.isa, self.member);
        let (block, views): (&ResidualBlock<E>, BlockViews<E>) =
            (&self.network.blocks[index], self.views.blocks[index]);
        let next = self.network.blocks.get(index + 1).map(|block| &block.scales).zip(self.views.blocks.get(index + 1));
        let end = BlockEnd {
            factor: block.scales.conv2_factor,
            skip: views.skip,
            plain: next.map(|(s, v)| Plain { to: v.plain, scale: s.plain.factor, limit: s.plain.limit }),
            activation: match next {
                Some((scales, views)) => activation(views.input, &scales.input),
                None => activation(self.views.last, &self.network.last_scales.input),
            },
        };
        let skip = Convolution::<Pointwise, E>::new(isa, &block.skip, views.plain, images);
        let conv1_first = Convolution::<Doubled, E>::new(isa, &block.conv1, views.input, images);
        let conv1 = Convolution::<E::Twice, E>::new(isa, &block.conv1, views.input, images);
        let inner = activation(views.inner, &block.scales.inner);
        let conv2 = Convolution::<E::Same, E>::new(isa, &block.conv2, views.inner, images);
        // SAFETY: the caller's promises; skip and conv1 read what is complete, and the team meets before conv2 reads
        // them.
        unsafe {
            skip.run(member, self.scratch, Scaled { to: views.skip, factor: block.scales.skip_factor });
            match index {
                0 => conv1_first.run(member, self.scratch, inner),
                _ => conv1.run(member, self.scratch, inner),
            }
            member.meet();
            conv2.run(member, self.scratch, end);
            member.meet();
        }
    }

    /// # Safety
    /// As for `draw`, with the last activation complete.
    unsafe fn last(&mut self, images: usize, out: Images) {
        let (network, taps) = (self.network, self.views.taps);
        let layer = Convolution::<Pointwise, E>::new(network.isa, &network.last, self.views.last, images);
        let sink = Scaled { to: taps, factor: network.last_scales.factor };
        // SAFETY: the caller's promises; rows are divided among the team.
        unsafe {
            layer.run(self.member, self.scratch, sink);
            self.member.meet();
            let (size, channels) = (network.arch.image_size, network.arch.channels);
            let last = LastStep { isa: network.isa, taps, channels };
            for row in self.member.part(images * size) {
                let (image, row) = (row / size, row % size);
                last.write_row(image, row, out.0.add(image * network.arch.pixels()));
            }
        }
    }
}

fn activation<E>(to: MapView<E>, affine: &Affine) -> Activation<'_, E> {
    Activation { to, scale: &affine.scale, shift: &affine.shift, limit: affine.limit }
}
