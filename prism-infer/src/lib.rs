//! # prism-infer
//!
//! Holds the program that draws images from a finished model: flags become a [`Plan`], a plan becomes files. It reads
//! artifacts only; it must never import a data set or anything that trains, and candle only under the feature `cuda`.
//!
//! ```text
//! flags -> Plan (checked before anything is drawn) -> chunks of images -> grid, folder, array
//! ```

mod bench;
pub mod cli;
mod device;
mod draw;
mod info;
mod inputs;
mod model;
mod output;
mod plan;

pub use bench::bench;
pub use draw::draw;
pub use info::info;
pub use plan::Plan;
