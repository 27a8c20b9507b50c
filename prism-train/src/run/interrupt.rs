//! Ctrl-C: the first one asks the run to stop where it can go on from, a second one stops the process at once.
//!
//! A round is finished. While images are measured, before the first round or in a client's first one, nothing is lost by
//! stopping between two batches: a resumed run measures again what was not measured to its end.

use prism_fl::cancel;
use prism_nn::Result;

pub use prism_fl::cancel::{check, is_requested as is_asked};

/// Exit code of a process that Ctrl-C ended.
pub const EXIT_CODE: u8 = 130;

/// Starts to listen for Ctrl-C and for a request to terminate.
///
/// # Errors
/// If the system refuses the handler.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(|| {
        if cancel::request() {
            std::process::exit(EXIT_CODE.into());
        }
        prism_core::errln!(
            "\nstopping after the round, or at once where images are being measured; press Ctrl-C again to stop now and lose \
             what is not saved"
        );
    })
    .map_err(|e| prism_core::Error::io("listen for", "Ctrl-C", std::io::Error::other(e.to_string())).into())
}
