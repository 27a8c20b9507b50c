//! A run: its folder, its files, its progress, and the way from settings to a finished artifact.

mod check;
mod evaluator;
mod images;
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

pub use check::check;
pub use images::{RememberedImages, layout_of};
pub use launch::{Launch, Start};
pub use lock::LockedFolder;
pub use train::{Exported, Outcome, train};
