//! # prism-core
//!
//! Holds a finished model: the seed streams that regenerate its frozen weights, the architecture, the mask, the
//! artifact format, the sampler that draws images, and the grids that show them; the loaded model that bindings to
//! other languages wrap; and what every other crate builds on, such as the range coder, SIMD registers, checksummed
//! files and the error type.
//!
//! No messages of a federation, no data sets, no training: it must never import another crate of this workspace, nor
//! candle. It builds for `wasm32-unknown-unknown`.

pub mod arch;
pub mod artifact;
pub mod console;
pub mod draw;
pub mod error;
pub mod file;
pub mod frozen;
pub mod grid;
pub mod inputs;
pub mod labels;
pub mod latent;
pub mod loaded;
pub mod mask;
pub mod mixture;
pub mod npy;
pub mod privacy;
pub mod rangecoder;
pub mod sampler;
pub mod score;
pub mod simd;
pub mod stream;
pub mod tensor_file;
pub mod text_enum;

pub use arch::Architecture;
pub use error::{Error, Result};
pub use mask::Mask;
pub use stream::{Purpose, Stream, StreamId};
