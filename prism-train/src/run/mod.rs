//! A run: its folder, its files, its progress, and the way from settings to a finished artifact.

pub mod client_files;
pub mod folder;
pub mod interrupt;
pub mod judge;
pub mod metrics;
pub mod phases;
mod prepare;
mod private;
pub mod progress;
mod reuse;
mod samples;
pub mod traffic;
mod train;

pub use folder::RunFolder;
pub use train::{Outcome, Start, train};
