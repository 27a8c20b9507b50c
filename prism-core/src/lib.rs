//! # prism-core
//!
//! Holds everything that a finished model needs: the seed streams that regenerate its frozen weights, the architecture,
//! the mask, the wire and artifact formats, the sampler that draws images, and the grids that show them.
//!
//! Must never import candle, a data set, or anything that trains. It builds for `wasm32-unknown-unknown`.

pub mod arch;
pub mod artifact;
pub mod codec;
pub mod console;
pub mod draw;
pub mod error;
pub mod file;
pub mod frozen;
pub mod grid;
pub mod latent;
pub mod mask;
pub mod mixture;
pub mod npy;
pub mod rangecoder;
pub mod sampler;
pub mod score;
pub mod simd;
pub mod stream;
pub mod tensor_file;
pub mod wire;

pub use arch::Architecture;
pub use error::{Error, Result};
pub use mask::Mask;
pub use stream::{Purpose, Stream, StreamId};
