//! A layer's weights, transformed by a scheme and laid out in the order in which the product reads them.
//!
//! Weights are counted in units of the layer's sigma, so that a transformed one is a small integer and takes one byte;
//! they are widened when they are used. A panel is two registers of output columns wide (one, where an odd one is
//! left):
//!
//! ```text
//! [panels][products][inputs / pack][columns of the panel][pack]
//! ```

use std::ops::Range;

use crate::sampler::element::Element;
use crate::sampler::scheme::{SIDE, Scheme};

/// Columns of the widest panel of any instruction set.
const WIDEST: usize = 32;
/// Taps of the largest filter.
const MOST_TAPS: usize = 9;

/// Where a column's weights are: `taps(column, input)` gives the taps of one filter, row by row, or none for a column
/// that only pads.
pub(super) struct Packed {
    data: Vec<i8>,
    /// Elements of one row of the left factor, in packs.
    depth: usize,
    /// Weights that lie side by side for one output.
    pack: usize,
    products: usize,
    columns: usize,
    lanes: usize,
}

impl Packed {
    /// Packs the filters of `inputs` input channels and `columns` outputs for registers of `lanes`.
    pub(super) fn new<'a, E: Element, C: Scheme<E>>(
        inputs: usize,
        columns: usize,
        lanes: usize,
        taps: impl Fn(usize, usize) -> Option<&'a [i8]>,
    ) -> Self {
        assert!(2 * lanes <= WIDEST, "no panel is wider than {WIDEST} columns");
        let (depth, products) = (inputs.div_ceil(E::PACK), C::PRODUCTS.pow(2));
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
            let (start, width) = (packed.offset(panel, 0), range.len() * E::PACK);
            // A row of every product, since a product's rows are far from another's.
            let mut rows = vec![0; products * width];
            for pack in 0..depth {
                rows.fill(0);
                for input in (pack * E::PACK..inputs).take(E::PACK) {
                    let filters = gather(range.clone().map(|column| taps(column, input)));
                    let mut rows = rows.chunks_exact_mut(width);
                    transform::<E, C>(&filters, |weights| {
                        let packs = rows.next().unwrap_or_default().chunks_exact_mut(E::PACK);
                        packs.zip(weights).for_each(|(pack, weight)| pack[input % E::PACK] = *weight);
                    });
                }
                for (product, row) in rows.chunks_exact(width).enumerate() {
                    packed.data[start + (product * depth + pack) * width..][..width].copy_from_slice(row);
                }
            }
        }
        packed
    }

    /// Depth of the products, in packs of elements.
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
    pub(super) fn block_len<E: Element>(&self) -> usize {
        self.depth.min(E::BLOCK) * self.pack * 2 * self.lanes
    }

    fn offset(&self, panel: usize, product: usize) -> usize {
        let range = self.panel_columns(panel);
        self.depth * self.pack * (self.products * range.start + product * range.len())
    }
}

/// A tap, or a transformed weight, of the filter of each column of a panel.
type Lanes = [i8; WIDEST];

/// The filters of a panel's columns, tap by tap; none has taps of 0.
fn gather<'a>(columns: impl Iterator<Item = Option<&'a [i8]>>) -> [Lanes; MOST_TAPS] {
    let mut filters = [[0; WIDEST]; MOST_TAPS];
    for (lane, taps) in columns.enumerate() {
        filters.iter_mut().zip(taps.unwrap_or_default()).for_each(|(tap, weight)| tap[lane] = *weight);
    }
    filters
}

/// Hands on the weights of filters transformed, product by product.
fn transform<E: Element, C: Scheme<E>>(filters: &[Lanes; MOST_TAPS], mut put: impl FnMut(&Lanes)) {
    for down in C::WEIGHT {
        let mut line = [[0; WIDEST]; SIDE];
        for column in 0..C::TAPS {
            line[column] = combine(down, filters[column..].iter().step_by(C::TAPS));
        }
        C::WEIGHT.iter().for_each(|across| put(&combine(across, &line)));
    }
}

/// The sum of `terms`, each by its factor.
#[inline(always)]
fn combine<'a>(factors: &[i8], terms: impl IntoIterator<Item = &'a Lanes>) -> Lanes {
    let mut sum = [0; WIDEST];
    for (factor, term) in factors.iter().zip(terms) {
        let lanes = sum.iter_mut().zip(term);
        // Bytes are quickly added and slowly multiplied.
        match factor {
            0 => {}
            1 => lanes.for_each(|(sum, weight)| *sum += weight),
            -1 => lanes.for_each(|(sum, weight)| *sum -= weight),
            factor => lanes.for_each(|(sum, weight)| *sum += factor * weight),
        }
    }
    sum
}
