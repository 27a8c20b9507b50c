//! The coefficients of one encoder layer as integers, range-coded.
//!
//! ```text
//! for each channel, for means and then variances, for each node of the tree, for each row v and column u of frequencies:
//!     whether n is 0, whether |n| is 1     each in the context [kind][level][zone][near][above][mean]
//!     |n| - 2                              in the context [kind][level][near + above + 2 mean]
//!     the sign                             in the context [kind][level][sign of mean][sign at the node above]
//! zone    v + u
//! near    what is coded of the map around it: 2 |n| of the row above and of the column before, |n| of the two corners above,
//!         two rows above and two columns before
//! above   2 |n| at the same frequency of the node above in the tree, and |n| of the one above that
//! mean    for variances: |n| of the mean at the same place;  0 for means
//! ```
//!
//! Contexts of magnitudes go by their lengths in bits.

use prism_core::rangecoder::{Decoder, Encoder};

use super::tree::{GroupTree, Level};
use crate::adaptive::{BitModel, NumberModel};

/// Means, then variances.
pub const KINDS: usize = 2;
const LEVELS: usize = 3;
const ZONES: usize = 7;
const NEAR: usize = 6;
const ABOVE: usize = 5;
const MEANS: usize = 3;
const SUMS: usize = 11;
const SIGNS: usize = 3;
/// Bits of the length of a magnitude: none is above 2^30.
const MAX_LENGTH: u32 = 29;

/// Codes or reads one bit after another, and numbers.
pub trait Coder {
    /// The bit: `bit` itself where it is written; `None` where the code ends.
    fn bit(&mut self, model: &mut BitModel, bit: bool) -> Option<bool>;
    /// The number, likewise.
    fn number(&mut self, model: &mut NumberModel, number: u32) -> Option<u32>;
}

impl Coder for Encoder {
    #[inline(always)]
    fn bit(&mut self, model: &mut BitModel, bit: bool) -> Option<bool> {
        model.put(self, bit);
        Some(bit)
    }

    #[inline(always)]
    fn number(&mut self, model: &mut NumberModel, number: u32) -> Option<u32> {
        model.put(self, number);
        Some(number)
    }
}

impl Coder for Decoder<'_> {
    #[inline(always)]
    fn bit(&mut self, model: &mut BitModel, _: bool) -> Option<bool> {
        model.take(self)
    }

    #[inline(always)]
    fn number(&mut self, model: &mut NumberModel, _: u32) -> Option<u32> {
        model.take(self)
    }
}

/// What was seen so far of a layer's coefficients.
pub struct LayerModel {
    /// Whether a coefficient is not 0, and whether it is then more than 1.
    flags: Vec<[BitModel; 2]>,
    rest: Vec<NumberModel>,
    negative: Vec<BitModel>,
    /// Magnitudes of the map at hand, with zeros around it.
    sizes: Vec<u32>,
}

/// Rows of zeros above a map and columns before it; one column is behind it.
const BORDER: usize = 2;

/// The maps that are known already of what a map tells about; empty where there is none.
struct Known<'a> {
    above: &'a [i32],
    above_that: &'a [i32],
    mean: &'a [i32],
}

/// The contexts of a coefficient.
struct Contexts {
    flags: usize,
    rest: usize,
    negative: usize,
}

impl Default for LayerModel {
    fn default() -> Self {
        let places = KINDS * LEVELS;
        LayerModel {
            flags: vec![[BitModel::default(); 2]; places * ZONES * NEAR * ABOVE * MEANS],
            rest: vec![NumberModel::new(MAX_LENGTH); places * SUMS],
            negative: vec![BitModel::default(); places * SIGNS * SIGNS],
            sizes: Vec::new(),
        }
    }
}

impl LayerModel {
    /// Codes or reads one channel: `values` has the maps `[kind][node][side][side]`, which a reader fills. `None` where the code ends.
    pub fn channel(
        &mut self,
        coder: &mut impl Coder,
        values: &mut [i32],
        (tree, side): (&GroupTree, usize),
    ) -> Option<()> {
        let pixels = side * side;
        let maps = tree.nodes().len();
        for map in 0..KINDS * maps {
            let (kind, node) = (map / maps, map % maps);
            let (before, values) = values.split_at_mut(map * pixels);
            let map_at = |map: usize| &before[map * pixels..][..pixels];
            let parent = tree.nodes()[node].parent;
            let known = Known {
                above: if node == 0 { &[] } else { map_at(kind * maps + parent) },
                above_that: if node == 0 { &[] } else { map_at(kind * maps + tree.nodes()[parent].parent) },
                mean: if kind == 0 { &[] } else { map_at(node) },
            };
            let level = match tree.nodes()[node].level {
                Level::Whole => 0,
                Level::Classes => 1,
                Level::Subclasses => 2,
            };
            self.map(coder, &mut values[..pixels], kind * LEVELS + level, (side, known))?;
        }
        Some(())
    }

    #[inline(always)]
    fn map(
        &mut self,
        coder: &mut impl Coder,
        values: &mut [i32],
        place: usize,
        (side, known): (usize, Known<'_>),
    ) -> Option<()> {
        let width = side + BORDER + 1;
        self.sizes.clear();
        self.sizes.resize((side + BORDER) * width, 0);
        for v in 0..side {
            for u in 0..side {
                let (at, here) = (v * side + u, (v + BORDER) * width + u + BORDER);
                let contexts = known.contexts(place, (v + u, at), near(&self.sizes, here, width));
                values[at] = self.coefficient(coder, values[at], &contexts)?;
                self.sizes[here] = size(values[at]);
            }
        }
        Some(())
    }

    #[inline(always)]
    fn coefficient(&mut self, coder: &mut impl Coder, value: i32, contexts: &Contexts) -> Option<i32> {
        let flags = &mut self.flags[contexts.flags];
        let magnitude = value.unsigned_abs();
        if !coder.bit(&mut flags[0], magnitude > 0)? {
            return Some(0);
        }
        let magnitude = match coder.bit(&mut flags[1], magnitude > 1)? {
            false => 1,
            true => 2 + coder.number(&mut self.rest[contexts.rest], magnitude.wrapping_sub(2))?,
        };
        let negative = coder.bit(&mut self.negative[contexts.negative], value < 0)?;
        Some(if negative { -(magnitude as i32) } else { magnitude as i32 })
    }
}

impl Known<'_> {
    /// The contexts of the coefficient number `at` of a map, at v + u = `frequency`.
    #[inline(always)]
    fn contexts(&self, place: usize, (frequency, at): (usize, usize), near: u32) -> Contexts {
        let of = |map: &[i32]| map.get(at).copied().unwrap_or(0);
        let (above, mean) = (of(self.above), of(self.mean));
        let tree = 2 * size(above) + size(of(self.above_that));
        let zone = length(frequency as u32, ZONES);
        let map = (place * ZONES + zone) * NEAR + length(near, NEAR);
        Contexts {
            flags: (map * ABOVE + length(tree, ABOVE)) * MEANS + size(mean).min(MEANS as u32 - 1) as usize,
            rest: place * SUMS + length(near + tree + 2 * size(mean), SUMS),
            negative: (place * SIGNS + sign(mean)) * SIGNS + sign(above),
        }
    }
}

/// What is known around the coefficient at `here` of a map of `width` columns, its border among them.
#[inline(always)]
fn near(sizes: &[u32], here: usize, width: usize) -> u32 {
    let (row, two) = (&sizes[here - width - 1..][..3], sizes[here - 2 * width]);
    2 * (row[1] + sizes[here - 1]) + row[0] + row[2] + two + sizes[here - 2]
}

/// A magnitude as contexts see it, so that no sum of them is too large for 32 bits.
#[inline(always)]
fn size(n: i32) -> u32 {
    n.unsigned_abs().min(1 << 16)
}

/// The length of `n` in bits, of so many classes.
#[inline(always)]
fn length(n: u32, classes: usize) -> usize {
    ((u32::BITS - n.leading_zeros()) as usize).min(classes - 1)
}

/// 0 for 0, 1 for positive, 2 for negative numbers.
#[inline(always)]
fn sign(n: i32) -> usize {
    usize::from(n != 0) + usize::from(n < 0)
}
