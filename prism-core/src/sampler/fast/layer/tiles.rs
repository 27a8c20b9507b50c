//! How a layer's outputs are divided: tiles into groups, and tiles and panels among the threads of a team.

use std::ops::Range;

use crate::sampler::element::Element;
use crate::sampler::fast::team::Member;
use crate::sampler::maps::Position;

/// Bytes of a group's transformed inputs, or a little more.
const INPUTS: usize = 1_200_000;
/// Sums of a group in one panel.
const SUMS: usize = 48 * 1024;
/// Fewest tiles in a group: fewer would wait for the weights.
const LEAST_TILES: usize = 16;

/// Tiles of some images, numbered row by row and image by image.
#[derive(Clone, Copy)]
pub(super) struct TileGrid {
    pub(super) images: usize,
    /// Tiles along each axis.
    pub(super) side: usize,
}

impl TileGrid {
    pub(super) fn len(&self) -> usize {
        self.images * self.side * self.side
    }

    /// Where a tile is: rows and columns count tiles.
    #[inline(always)]
    pub(super) fn position(&self, tile: usize) -> Position {
        Position { image: tile / (self.side * self.side), row: tile / self.side % self.side, column: tile % self.side }
    }
}

/// How some tiles are cut into groups, and where a group's transformed inputs and sums lie.
#[derive(Clone, Copy, Debug)]
pub(in crate::sampler) struct GroupLayout {
    group: usize,
    /// Elements from a tile to the next.
    pub(super) row: usize,
    /// Elements from one transformed input to the next.
    pub(super) plane: usize,
}

impl GroupLayout {
    /// For up to `tiles` at a time of a layer with `products` and inputs of `stride` channels.
    pub(in crate::sampler) fn new<E: Element>(products: usize, tiles: usize, stride: usize, lanes: usize) -> Self {
        // A register more keeps the rows of a tile out of each other's cache sets.
        let row = stride + lanes * E::PACK;
        let most = (INPUTS / size_of::<E>() / (products * row)).min(SUMS / (products * 2 * lanes)).max(LEAST_TILES);
        let group = tiles.min(most).max(1);
        GroupLayout { group, row, plane: group * row + lanes * E::PACK }
    }

    /// Groups of equal size, none larger than this layout's, for `tiles`.
    pub(super) fn groups(&self, tiles: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let group = tiles.len().div_ceil(tiles.len().div_ceil(self.group).max(1)).max(1);
        tiles.clone().step_by(group).map(move |first| first..tiles.end.min(first + group))
    }

    /// Elements of a group's transformed inputs, so many of each tile.
    pub(in crate::sampler) fn inputs_len(&self, inputs: usize) -> usize {
        inputs * self.plane
    }

    /// Sums of a group in the widest panel.
    pub(in crate::sampler) fn sums_len(&self, products: usize, lanes: usize) -> usize {
        products * sums_plane(self.group, 2 * lanes)
    }
}

/// Sums from a product to the next, for so many tiles and columns. One row is left free: without it the products' sums
/// of a tile would often fall into one cache set.
pub(super) fn sums_plane(tiles: usize, columns: usize) -> usize {
    (tiles + 1) * columns
}

/// What a panel of weights costs a thread that uses it, before the first tile, in tiles: it comes from afar and is
/// widened.
const PANEL_COST: usize = 2;
/// How often a tile could be fetched, perhaps from another core, and transformed while it is multiplied with one panel.
const FETCHES_OF_PRODUCT: usize = 2;

/// The tiles and panels of one member of a team: the whole is cut into columns and rows so that the last to finish is
/// early.
pub(super) fn part_of(member: Member<'_>, tiles: usize, panels: usize) -> (Range<usize>, Range<usize>) {
    let cost = |across: usize| {
        let (tiles, panels) = (tiles.div_ceil(member.size / across), panels.div_ceil(across));
        FETCHES_OF_PRODUCT * panels * (tiles + PANEL_COST) + tiles
    };
    // Few tiles to a thread are better than few panels at the same cost: less is transformed twice.
    let across = (1..=member.size.min(panels)).min_by_key(|across| cost(*across)).unwrap_or(1);
    let down = member.size / across;
    let cut = |n: usize, part: usize, parts: usize| n * part / parts..n * (part + 1) / parts;
    match member.rank / across {
        row if row < down => (cut(tiles, row, down), cut(panels, member.rank % across, across)),
        _ => (0..0, 0..0),
    }
}
