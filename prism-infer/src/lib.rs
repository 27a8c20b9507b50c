//! # prism-infer
//!
//! Holds the program that draws images from a finished model: flags become a [`Plan`], a plan becomes files.
//! Reads artifacts only; must never import a data set or anything that trains, nor candle but under the feature `cuda`.
//!
//! ```text
//! flags -> Plan (checked before anything is drawn) -> chunks of images -> grid, folder, array
//! ```

mod bench;
pub mod cli;
mod device;
mod draw;
pub mod embedded;
mod info;
mod inputs;
mod output;
mod plan;

pub use bench::bench;
pub use draw::draw;
pub use info::info;
pub use plan::Plan;
