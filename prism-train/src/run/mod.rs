//! A run: its folder, its files, its progress, and the way from settings to a finished artifact.

mod evaluator;
pub mod interrupt;
mod launch;
mod lock;
pub mod metrics;
mod open;
pub mod progress;
mod reuse;
mod samples;
pub mod traffic;
mod train;

pub use launch::{Launch, Start};
pub use lock::LockedFolder;
pub use train::{Exported, Outcome, train};
