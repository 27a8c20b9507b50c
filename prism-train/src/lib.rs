//! # prism-train
//!
//! Holds the federation and everything around it: data sets and their partition, feature moments, client and server,
//! the simulator that carries bytes between them, run folders, and the command line.
//!
//! ```text
//! data -> partition -> client (moments, local steps, mask) -> bytes -> server (average, MADA) -> checkpoint -> artifact
//! ```
//!
//! Nothing imports this crate but its own program and the tests.

pub mod bench;
pub mod cli;
pub mod codec_settings;
pub mod data;
pub mod encoder_training;
pub mod federation;
mod flag_values;
pub mod groups;
mod hash;
pub mod memory;
pub mod metrics;
pub mod moments;
pub mod partition;
pub mod privacy;
pub mod report;
pub mod run;
pub mod settings;
mod values;

pub use settings::Settings;
