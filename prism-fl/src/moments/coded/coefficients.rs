//! The coefficients of one encoder layer as integers, range-coded.
//!
//! ```text
//! for each channel, for means and then variances, for each node of the tree, for each row v and column u of frequencies:
//!     whether n is 0, whether |n| is 1     each in the context [kind][level][zone][near][above][mean]
//!     |n| - 2                              in the context [kind][level]
//!     the sign                             p = 1/2
//! zone    the bit length of v + u, at most 6
//! near    |n| above in the map plus |n| to the left: 0, 1 or 2, more
//! above   |n| at the same frequency of the node above in the tree: 0, 1, 2 or 3, more;  0 for the first node
//! mean    for variances: |n| of the mean at the same place: 0, 1, more;  0 for means
//! ```

use prism_core::rangecoder::{Decoder, Encoder};

use super::tree::{GroupTree, Level};
use crate::adaptive::{BitModel, NumberModel};

/// Means, then variances.
pub const KINDS: usize = 2;
const LEVELS: usize = 3;
const ZONES: usize = 7;
const NEAR: usize = 3;
const ABOVE: usize = 4;
const MEANS: usize = 3;
/// Bits of the length of a magnitude: none is above 2^30.
const MAX_LENGTH: u32 = 29;

/// Codes or reads one bit after another, and numbers.
pub trait Coder {
    /// The bit: `bit` itself where it is written; `None` where the code ends.
    fn bit(&mut self, model: &mut BitModel, bit: bool) -> Option<bool>;
    /// The number, likewise.
    fn number(&mut self, model: &mut NumberModel, number: u32) -> Option<u32>;
    /// A bit that is 0 as often as 1.
    fn even_bit(&mut self, bit: bool) -> Option<bool>;
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

    #[inline(always)]
    fn even_bit(&mut self, bit: bool) -> Option<bool> {
        self.put(bit, 32_768);
        Some(bit)
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

    #[inline(always)]
    fn even_bit(&mut self, _: bool) -> Option<bool> {
        self.take(32_768)
    }
}

/// What was seen so far of a layer's coefficients.
pub struct LayerModel {
    /// Whether a coefficient is not 0, and whether it is then more than 1.
    flags: Vec<[BitModel; 2]>,
    rest: Vec<NumberModel>,
}

/// Where a coefficient stands.
struct Place {
    kind: usize,
    level: usize,
    zone: usize,
}

impl Default for LayerModel {
    fn default() -> Self {
        let contexts = KINDS * LEVELS * ZONES * NEAR * ABOVE * MEANS;
        LayerModel {
            flags: vec![[BitModel::default(); 2]; contexts],
            rest: vec![NumberModel::new(MAX_LENGTH); KINDS * LEVELS],
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
            let parent = tree.nodes()[node].parent;
            let above = if node == 0 { &[] } else { &before[(kind * maps + parent) * pixels..][..pixels] };
            let mean = if kind == 0 { &[] } else { &before[node * pixels..][..pixels] };
            let level = match tree.nodes()[node].level {
                Level::Whole => 0,
                Level::Classes => 1,
                Level::Subclasses => 2,
            };
            self.map(coder, &mut values[..pixels], (kind, level), (side, above, mean))?;
        }
        Some(())
    }

    #[inline(always)]
    fn map(
        &mut self,
        coder: &mut impl Coder,
        values: &mut [i32],
        (kind, level): (usize, usize),
        (side, above, mean): (usize, &[i32], &[i32]),
    ) -> Option<()> {
        let size = |values: &[i32], at: usize| values.get(at).map_or(0, |n| n.unsigned_abs());
        for v in 0..side {
            for u in 0..side {
                let at = v * side + u;
                let up = if v == 0 { 0 } else { values[at - side].unsigned_abs() };
                let left = if u == 0 { 0 } else { values[at - 1].unsigned_abs() };
                let near = match up.saturating_add(left) {
                    0 => 0,
                    1 | 2 => 1,
                    _ => 2,
                };
                let above = match size(above, at) {
                    small @ (0 | 1) => small as usize,
                    2 | 3 => 2,
                    _ => 3,
                };
                let zone = (usize::BITS - (v + u).leading_zeros()).min(ZONES as u32 - 1) as usize;
                let place = Place { kind, level, zone };
                values[at] =
                    self.coefficient(coder, values[at], &place, [near, above, size(mean, at).min(2) as usize])?;
            }
        }
        Some(())
    }

    #[inline(always)]
    fn coefficient(
        &mut self,
        coder: &mut impl Coder,
        value: i32,
        &Place { kind, level, zone }: &Place,
        [near, above, mean]: [usize; 3],
    ) -> Option<i32> {
        let context = kind * LEVELS + level;
        let flags = &mut self.flags[(((context * ZONES + zone) * NEAR + near) * ABOVE + above) * MEANS + mean];
        let magnitude = value.unsigned_abs();
        if !coder.bit(&mut flags[0], magnitude > 0)? {
            return Some(0);
        }
        let magnitude = match coder.bit(&mut flags[1], magnitude > 1)? {
            false => 1,
            true => 2 + coder.number(&mut self.rest[context], magnitude.wrapping_sub(2))?,
        };
        let negative = coder.even_bit(value < 0)?;
        Some(if negative { -(magnitude as i32) } else { magnitude as i32 })
    }
}
