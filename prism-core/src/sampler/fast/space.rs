//! A team's memory: feature maps of a few images, and scratch memory for each thread. It is kept from
//! call to call, so that drawing sets no memory aside.

use super::layer::{Convolution, GroupLayout, Scratch};
use super::network::{Network, ResidualBlock};
use crate::sampler::element::Element;
use crate::sampler::maps::{MapShape, MapView, Maps, stride};
use crate::sampler::scheme::{Doubled, Scheme, Schemes};
use crate::simd::Aligned;

/// Bytes that the maps of a team may take, where one image does not take more.
const MAPS: usize = 12 << 20;
/// Most images that a team draws at once: enough to use a weight often, few enough to find their maps in a cache.
const MOST_IMAGES: usize = 4;

/// Memory for `images` images at a time and `threads` threads.
pub(super) struct Space<E: Element> {
    pub(super) images: usize,
    input: Maps<E>,
    factors: Vec<f32>,
    blocks: Vec<BlockMaps<E>>,
    last: Maps<E>,
    taps: Maps<f32>,
    pub(super) scratch: Vec<Scratch<E>>,
}

/// What lies between the layers of a block.
struct BlockMaps<E> {
    plain: Maps<E>,
    skip: Maps<f32>,
    input: Maps<E>,
    inner: Maps<E>,
}

/// Where a block's maps are.
#[derive(Clone, Copy)]
pub(super) struct BlockViews<E> {
    pub(super) plain: MapView<E>,
    pub(super) skip: MapView<f32>,
    pub(super) input: MapView<E>,
    pub(super) inner: MapView<E>,
}

/// Where a team's memory is.
pub(super) struct Views<E> {
    /// The generator's inputs, as maps of one pixel.
    pub(super) input: MapView<E>,
    /// For each image, what makes real values of the first layer's sums.
    pub(super) factors: *mut f32,
    pub(super) blocks: Vec<BlockViews<E>>,
    pub(super) last: MapView<E>,
    /// The last layer's taps.
    pub(super) taps: MapView<f32>,
}

// SAFETY: pointers to elements; who dereferences them answers for what other threads do.
unsafe impl<E: Element> Sync for Views<E> {}

/// The shapes of a generator's maps.
struct Shapes {
    input: MapShape,
    /// Plain, skip, input and inner of each block.
    blocks: Vec<[MapShape; 4]>,
    last: MapShape,
    taps: MapShape,
}

impl Shapes {
    fn new<E: Element>(network: &Network<E>) -> Self {
        let lanes = network.isa.lanes();
        let map = |side: usize, border: usize, channels: usize| MapShape {
            side,
            border,
            stride: stride::<E>(channels, lanes),
        };
        let block = |&ResidualBlock { side, inputs, outputs, .. }: &ResidualBlock<E>| {
            [map(side, 0, inputs), map(side, 0, outputs), map(side, 1, inputs), map(2 * side, 1, outputs)]
        };
        Shapes {
            input: map(1, 0, network.arch.inputs()),
            blocks: network.blocks.iter().map(block).collect(),
            last: map(network.arch.image_size, 0, network.arch.ngf),
            taps: MapShape { side: network.arch.image_size, border: 0, stride: network.last.columns() },
        }
    }

    /// Bytes of the maps of one image.
    fn bytes<E>(&self) -> usize {
        let of_block = |[plain, skip, input, inner]: &[MapShape; 4]| {
            (plain.image_len() + input.image_len() + inner.image_len()) * size_of::<E>() + skip.image_len() * 4
        };
        let blocks: usize = self.blocks.iter().map(of_block).sum();
        blocks + self.last.image_len() * size_of::<E>() + self.taps.image_len() * 4
    }
}

/// Most images of `network` that a team should draw at once.
pub(super) fn most_images<E: Element>(network: &Network<E>) -> usize {
    (MAPS / Shapes::new(network).bytes::<E>().max(1)).clamp(1, MOST_IMAGES)
}

impl<E: Schemes> Space<E> {
    /// Memory for `network`.
    pub(super) fn new(network: &Network<E>, images: usize, threads: usize) -> Self {
        let shapes = Shapes::new(network);
        let (inputs, sums, widened) = sizes(network, &shapes, images);
        let scratch =
            || Scratch { inputs: Aligned::zeros(inputs), widened: Aligned::zeros(widened), sums: Aligned::zeros(sums) };
        let block = |shapes: &[MapShape; 4]| BlockMaps {
            plain: Maps::new(images, shapes[0]),
            skip: Maps::new(images, shapes[1]),
            input: Maps::new(images, shapes[2]),
            inner: Maps::new(images, shapes[3]),
        };
        Space {
            images,
            input: Maps::new(images, shapes.input),
            factors: vec![0.0; images],
            blocks: shapes.blocks.iter().map(block).collect(),
            last: Maps::new(images, shapes.last),
            taps: Maps::new(images, shapes.taps),
            scratch: (0..threads).map(|_| scratch()).collect(),
        }
    }

    /// Pointers to the shared memory, and each thread's own.
    pub(super) fn share(&mut self) -> (Views<E>, &mut [Scratch<E>]) {
        let views = Views {
            input: self.input.view(),
            factors: self.factors.as_mut_ptr(),
            blocks: self.blocks.iter_mut().map(BlockMaps::views).collect(),
            last: self.last.view(),
            taps: self.taps.view(),
        };
        (views, &mut self.scratch)
    }
}

impl<E: Element> BlockMaps<E> {
    fn views(&mut self) -> BlockViews<E> {
        BlockViews {
            plain: self.plain.view(),
            skip: self.skip.view(),
            input: self.input.view(),
            inner: self.inner.view(),
        }
    }
}

/// The most that any layer needs, for up to `images` images: transformed inputs, sums and widened weights.
fn sizes<E: Schemes>(network: &Network<E>, shapes: &Shapes, images: usize) -> (usize, usize, usize) {
    let lanes = network.isa.lanes();
    let (mut inputs, mut sums) = (0, 0);
    let mut layer = |(read, products): (usize, usize), tiles: usize, stride: usize| {
        let layout = GroupLayout::new::<E>(products, images * tiles, stride, lanes);
        sums = sums.max(layout.sums_len(products, lanes));
        inputs = inputs.max(if products > 1 { layout.inputs_len(read) } else { 0 });
    };
    layer((1, 1), 1, shapes.input.stride);
    layer((1, 1), network.arch.image_size.pow(2), shapes.last.stride);
    for (index, (block, [plain, _, input, inner])) in network.blocks.iter().zip(&shapes.blocks).enumerate() {
        let pixels = block.side * block.side;
        layer((1, 1), pixels, plain.stride);
        let (sizes, step) = match index {
            0 => (Convolution::<Doubled, E>::SIZES, <Doubled as Scheme<E>>::STEP),
            _ => (Convolution::<E::Twice, E>::SIZES, <E::Twice as Scheme<E>>::STEP),
        };
        layer(sizes, (block.side / step).pow(2), input.stride);
        let tiles = (2 * block.side / <E::Same as Scheme<E>>::STEP).pow(2);
        layer(Convolution::<E::Same, E>::SIZES, tiles, inner.stride);
    }
    let packed = network.blocks.iter().flat_map(|block| [&block.conv1, &block.conv2, &block.skip]);
    let widened = packed.chain([&network.first, &network.last]).map(|packed| packed.block_len::<E>()).max();
    (inputs, sums, widened.unwrap_or(0))
}
