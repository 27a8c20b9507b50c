//! Ctrl-C: the first one asks the run to stop after its round, a second one stops the process at once.

use std::sync::atomic::{AtomicBool, Ordering};

use prism_nn::{Error, Result};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit code of a process that Ctrl-C ended.
pub const EXIT_CODE: u8 = 130;

/// Starts to listen for Ctrl-C and for a request to terminate.
///
/// # Errors
/// If the system refuses the handler.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(EXIT_CODE.into());
        }
        prism_core::errln!("\nstopping after this round; press Ctrl-C again to stop at once and lose it");
    })
    .map_err(|e| Error::usage(format!("Ctrl-C cannot be caught ({e}); run the program where signals are allowed")))
}

/// Whether the run was asked to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
