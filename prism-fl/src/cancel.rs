//! A request to stop, which long computations look at between two batches of images.
//!
//! Nothing is lost by stopping there: what was not measured to its end is measured again.

use std::sync::atomic::{AtomicBool, Ordering};

use prism_nn::{Error, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Asks every computation of this process to stop; says whether that had been asked before.
pub fn request() -> bool {
    REQUESTED.swap(true, Ordering::SeqCst)
}

/// Whether the process was asked to stop.
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Leaves a computation where the process was asked to stop.
///
/// # Errors
/// [`Error::Interrupted`] if it was.
pub fn check() -> Result<()> {
    if is_requested() { Err(Error::Interrupted) } else { Ok(()) }
}
