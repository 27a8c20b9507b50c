//! What clients know once they have the server's message.
//!
//! It is a function of the state that they were at and of the message, bit by bit, so the simulator computes it once for all clients
//! that were at the same state, and keeps one file of it in all their folders.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prism_core::codec::Prior;
use prism_core::wire::Session;
use prism_nn::Result;

use super::Global;
use crate::run::client_files;

/// What a client knows when its local steps begin.
pub struct Known {
    /// The global scores.
    pub global: Global,
    /// What both sides expect of masks: [`Global::prior`].
    pub prior: Prior,
    /// Where it has been written to.
    file: OnceLock<PathBuf>,
}

impl Known {
    /// Writes it into a client's folder, as what the client knew in `round`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, folder: &Path, round: u32, session: &Session) -> Result<()> {
        if self.file.get().is_some_and(|file| client_files::share_global(file, folder, round)) {
            return Ok(());
        }
        let written = client_files::save_global(folder, round, session, &self.global)?;
        written.into_iter().for_each(|path| _ = self.file.set(path));
        Ok(())
    }
}

/// One server's message, and what it leads the clients to that it is for.
#[derive(Default)]
pub struct Received(Mutex<Option<Arc<Known>>>);

impl Received {
    /// What they know; `read`, from a client's copy of the state before and the message, makes it for the first of them.
    ///
    /// # Errors
    /// If `read` fails.
    pub fn known(&self, read: impl FnOnce() -> Result<Global>) -> Result<Arc<Known>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let global = read()?;
        let made = Arc::new(Known { prior: global.prior(), global, file: OnceLock::new() });
        Ok(Arc::clone(known.insert(made)))
    }
}
