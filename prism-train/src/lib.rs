//! # prism-train
//!
//! The program around the federation: settings, the simulation of a fleet, run folders, metrics, evaluation, report and command
//! line.
//!
//! ```text
//! settings -> run::train -> Simulation -> prism_fl::{Client, Server} -> checkpoint -> artifact
//! ```
//!
//! Nothing imports this crate but its own program and the tests.

pub mod bench;
pub mod cli;
pub mod encoder_training;
pub mod memory;
pub mod metrics;
pub mod phases;
pub mod report;
pub mod run;
pub mod settings;
pub mod simulation;
pub mod units;
mod workers;

pub use settings::Settings;
