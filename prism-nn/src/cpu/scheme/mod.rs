//! Convolutions as few products: input and weight are transformed, multiplied elementwise, and transformed back.
//!
//! Per axis, with `d` the inputs of one tile, `w` the taps and `y` the outputs of the tile,
//!
//! ```text
//! y = output( weight(w) * input(d) )
//! ```
//!
//! for three linear maps; in two dimensions each map acts on columns and rows. The elementwise products, summed over input
//! channels, are one matrix product for every element of the transformed tile.
//!
//! | scheme | convolution | inputs | products | outputs | products per output (2-d) |
//! |---|---|---|---|---|---|
//! | [`Winograd`] | 3 taps | 6 | 6 | 4 | 36 / 16 (9 directly) |
//! | [`Doubled`] | 3 taps after nearest-neighbour doubling | 4 | 5 | 4 | 25 / 16 (9 directly) |
//! | [`Karatsuba`] | 3 taps of a map of 2 pixels | 2 | 3 | 2 | 9 / 4 (9 directly) |
//! | [`Pointwise`] | 1 tap | 1 | 1 | 1 | 1 |
//!
//! Gradients run through the transposed maps, so each map comes with its transpose.
//!
//! Source of the first: Winograd 1980; Lavin and Gray 2016.

mod doubled;
mod karatsuba;
mod pointwise;
mod winograd;

use prism_core::simd::Simd;

pub use doubled::Doubled;
pub use karatsuba::Karatsuba;
pub use pointwise::Pointwise;
pub use winograd::Winograd;

/// The largest number of inputs, products or outputs of a tile.
pub const SIDE: usize = 6;

/// A linear map of up to [`SIDE`] numbers, lane by lane.
pub trait Linear {
    /// Numbers that go in.
    const FROM: usize;
    /// Numbers that come out.
    const TO: usize;

    /// Maps the first `FROM` elements to the first `TO`; the others mean nothing.
    ///
    /// # Safety
    /// Below `Isa::run` of `S`.
    unsafe fn apply<S: Simd>(x: [S::V; SIDE]) -> [S::V; SIDE];
}

/// A way to convolve, per axis.
pub trait Scheme: Copy + Send + Sync + 'static {
    /// Inputs of a tile.
    const IN: usize;
    /// Products of a tile.
    const PRODUCTS: usize;
    /// Which of the transformed inputs each product reads; several may read one.
    const READS: &'static [usize];
    /// Outputs of a tile.
    const OUT: usize;
    /// Inputs from the first of a tile to the first of the next.
    const STEP: usize;
    /// Zeros before the first input.
    const PAD: usize;
    /// Taps of the kernel.
    const TAPS: usize;

    /// Inputs to factors, one for each that [`Scheme::READS`] names.
    type Input: Linear;
    /// Its transpose.
    type InputT: Linear;
    /// Products to outputs.
    type Output: Linear;
    /// Its transpose.
    type OutputT: Linear;
    /// Taps to factors.
    type Weight: Linear;
    /// Its transpose.
    type WeightT: Linear;
}

/// Applies `L` to the columns and rows of a patch.
///
/// # Safety
/// Below `Isa::run` of `S`.
#[inline(always)]
pub unsafe fn both_axes<L: Linear, S: Simd>(mut patch: [[S::V; SIDE]; SIDE]) -> [[S::V; SIDE]; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        for row in patch.iter_mut().take(L::FROM) {
            *row = L::apply::<S>(*row);
        }
        for column in 0..L::TO {
            let mut line = [patch[0][column]; SIDE];
            for (x, row) in line.iter_mut().zip(&patch).take(L::FROM) {
                *x = row[column];
            }
            let line = L::apply::<S>(line);
            for (row, x) in patch.iter_mut().zip(line).take(L::TO) {
                row[column] = x;
            }
        }
        patch
    }
}

/// Declares a linear map.
macro_rules! linear {
    ($(#[$doc:meta])* $name:ident, $from:literal => $to:literal, |$s:ident, $x:ident| $body:block) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Linear for $name {
            const FROM: usize = $from;
            const TO: usize = $to;

            #[inline(always)]
            unsafe fn apply<$s: Simd>($x: [$s::V; SIDE]) -> [$s::V; SIDE] {
                // SAFETY: the caller's promise.
                unsafe { $body }
            }
        }
    };
}
pub(crate) use linear;

#[cfg(test)]
mod tests;
