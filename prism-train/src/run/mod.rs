//! A run: its folder, its files, its progress, and the way from settings to a finished artifact.

mod check;
mod estimate;
mod images;
pub mod interrupt;
mod launch;
mod ledger;
mod lock;
pub mod metrics;
mod open;
mod outcome;
mod place;
pub mod progress;
mod reuse;
mod samples;
pub mod traffic;
mod train;

pub use check::check;
pub use images::{RememberedImages, layout_of, load_images, tolerates_broken};
pub use launch::{Launch, Start};
pub use lock::LockedFolder;
pub use outcome::{Exported, Outcome};
pub use train::train;
