//! What clients know once they have the server's message.
//!
//! It is a function of the state that they were at and of the message, bit by bit, so the simulator computes it once for all clients
//! that were at the same state, and keeps one file of it in all their folders.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use prism_core::wire::Session;
use prism_nn::Result;

use super::Global;
use crate::run::client_files;

/// What a client knows when its local steps begin.
pub struct Known {
    /// The global scores.
    pub global: Global,
    /// Where they have been written to.
    file: OnceLock<PathBuf>,
}

impl Known {
    /// A client that is at `global`.
    pub fn new(global: Global) -> Self {
        Known { global, file: OnceLock::new() }
    }

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
