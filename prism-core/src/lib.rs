//! # prism-core
//!
//! Holds a finished model: the seed streams that regenerate its frozen weights, the architecture, the mask, the
//! artifact format, the sampler that draws images, and the grids that show them; the loaded model that bindings to
//! other languages wrap; and what every other crate builds on, such as the range coder, SIMD registers, checksummed
//! files and the error type.
//!
//! No messages of a federation, no data sets, no training: it must never import another crate of this workspace, nor
//! candle. It builds for `wasm32-unknown-unknown`, and without the feature `std` for machines that have no operating system:
//! then it reads a model and draws it by [`sampler::frugal`].

#![cfg_attr(not(feature = "std"), no_std)]
// The fast sampler's parts are of no use without threads.
#![cfg_attr(not(feature = "std"), allow(dead_code))]

#[macro_use]
extern crate alloc;

pub mod arch;
pub mod artifact;
#[cfg(feature = "std")]
pub mod console;
#[cfg(feature = "std")]
pub mod draw;
pub mod error;
#[cfg(feature = "std")]
pub mod file;
pub mod frozen;
#[cfg(feature = "std")]
pub mod grid;
#[cfg(feature = "std")]
pub mod inputs;
pub mod labels;
pub mod latent;
#[cfg(feature = "std")]
pub mod loaded;
pub mod mask;
pub mod mixture;
#[cfg(feature = "std")]
pub mod npy;
pub mod privacy;
pub mod rangecoder;
pub mod sampler;
#[cfg(feature = "std")]
pub mod score;
pub mod simd;
pub mod stream;
#[cfg(feature = "std")]
pub mod tensor_file;
pub mod text_enum;

/// What Rust's own prelude has of `alloc` where there is a standard library.
mod prelude {
    pub(crate) use alloc::borrow::ToOwned;
    pub(crate) use alloc::string::{String, ToString};
    pub(crate) use alloc::vec::Vec;
}

pub use arch::Architecture;
pub use error::{Error, Result};
pub use mask::Mask;
pub use stream::{Purpose, Stream, StreamId};
