//! A layer's weights, transformed by a scheme and laid out in the order in which the product reads them.
//!
//! Weights are counted in units of the layer's sigma, so that a transformed one is a small integer and takes one byte; they
//! are widened when they are used. A panel is two registers of output columns wide (one, where an odd one is
//! left):
//!
//! ```text
//! [panels][phases, down and across][products][inputs / pack][columns of the panel][pack]
//! ```

use std::ops::Range;

use super::number::Number;
use super::scheme::{SIDE, Scheme};

/// Where a column's weights are: `taps(column, input)` gives the taps of one filter, row by row, or none for a column that
/// only pads.
pub(super) struct Packed {
    data: Vec<i8>,
    /// Numbers of one row of the left factor that count, in packs.
    depth: usize,
    /// Weights that stand side by side for one number of the output.
    pack: usize,
    products: usize,
    columns: usize,
    lanes: usize,
}

impl Packed {
    /// Packs the filters of `inputs` input channels and `columns` outputs for registers of `lanes`.
    pub(super) fn new<'a, E: Number, C: Scheme<E>>(
        (inputs, columns): (usize, usize),
        lanes: usize,
        taps: impl Fn(usize, usize) -> Option<&'a [i8]>,
    ) -> Self {
        let (depth, products) = (inputs.div_ceil(E::PACK), (C::WEIGHT.len() * C::IN).pow(2));
        let columns = columns.next_multiple_of(lanes);
        let mut packed = Packed {
            data: vec![0; depth * E::PACK * columns * products],
            depth,
            pack: E::PACK,
            products,
            columns,
            lanes,
        };
        for panel in 0..packed.panels() {
            let range = packed.panel_columns(panel);
            let (start, width) = (packed.offset(panel, 0), range.len());
            for input in 0..inputs {
                for column in range.clone() {
                    let Some(taps) = taps(column, input) else { continue };
                    let at = start + ((input / E::PACK) * width + column - range.start) * E::PACK + input % E::PACK;
                    for (product, weight) in transform::<E, C>(taps).enumerate() {
                        packed.data[at + product * depth * E::PACK * width] = weight;
                    }
                }
            }
        }
        packed
    }

    /// Depth of the products, in packs of numbers.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Number of panels.
    pub(super) fn panels(&self) -> usize {
        self.columns.div_ceil(2 * self.lanes)
    }

    /// The columns of a panel.
    pub(super) fn panel_columns(&self, panel: usize) -> Range<usize> {
        panel * 2 * self.lanes..self.columns.min((panel + 1) * 2 * self.lanes)
    }

    /// The weights of a panel in one product: `[depth][columns][pack]`.
    pub(super) fn panel(&self, panel: usize, product: usize) -> &[i8] {
        let len = self.depth * self.pack * self.panel_columns(panel).len();
        let start = self.offset(panel, product);
        &self.data[start..start + len]
    }

    /// Columns, padding included.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Weights in a block of the widest panel, of which each product widens one at a time.
    pub(super) fn block_len<E: Number>(&self) -> usize {
        self.depth.min(E::BLOCK) * self.pack * 2 * self.lanes
    }

    fn offset(&self, panel: usize, product: usize) -> usize {
        let range = self.panel_columns(panel);
        self.depth * self.pack * (self.products * range.start + product * range.len())
    }
}

/// A filter, transformed for each phase: `IN` rows of `IN` weights for each.
#[inline(always)]
fn transform<E: Number, C: Scheme<E>>(taps: &[i8]) -> impl Iterator<Item = i8> {
    let phases = C::WEIGHT.iter().flat_map(|down| C::WEIGHT.iter().map(move |across| (*down, *across)));
    phases.flat_map(|maps| {
        let filter = transform_phase::<E, C>(taps, maps);
        (0..C::IN * C::IN).map(move |product| filter[product / C::IN][product % C::IN])
    })
}

/// Both axes of the weights' map.
#[inline(always)]
fn transform_phase<E: Number, C: Scheme<E>>(taps: &[i8], (down, across): (&[&[i8]], &[&[i8]])) -> [[i8; SIDE]; SIDE] {
    let mut columns = [[0i8; SIDE]; SIDE];
    for (line, row) in columns.iter_mut().zip(down) {
        for column in 0..C::TAPS {
            line[column] = row.iter().enumerate().map(|(i, factor)| factor * taps[i * C::TAPS + column]).sum();
        }
    }
    let mut filter = [[0i8; SIDE]; SIDE];
    for (line, half) in filter.iter_mut().zip(&columns).take(C::IN) {
        for (weight, row) in line.iter_mut().zip(across) {
            *weight = row.iter().zip(half).map(|(factor, x)| factor * x).sum();
        }
    }
    filter
}
