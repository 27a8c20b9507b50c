//! # prism-export
//!
//! Holds the way from a checkpoint to a finished artifact: the mask is fixed, batch norms are measured on noise and folded,
//! and what was written is read again and compared before anybody is told that it is there; and the card that goes with it.
//!
//! Must never import a data set or anything of the federation: noise and scores are all it needs.

mod card;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
mod dense;
mod export;
mod freeze;
#[cfg(feature = "cli")]
mod input;
pub mod run_folder;

pub use card::card;
pub use checkpoint::Checkpoint;
pub use dense::Dense;
pub use export::{Report, export};
pub use freeze::{Frozen, Options, freeze};
pub use run_folder::RunFolder;
