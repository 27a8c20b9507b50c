//! How a run is started: what the command line says of it beside its settings.

use std::path::PathBuf;

/// How a run is started.
pub struct Launch {
    /// Whether it begins or goes on.
    pub start: Start,
    /// The folder of a new run; none for the next free one.
    pub out: Option<PathBuf>,
    /// The file that remembers every draw of noise; none for the one beside the run folder.
    pub ledger: Option<PathBuf>,
    /// Most that all draws on the same images may have together as epsilon; none for no limit.
    pub total_epsilon: Option<f64>,
    /// Whether broken image files are passed over.
    pub skip_broken: bool,
    /// Whether it says nothing of its progress.
    pub quiet: bool,
}

/// Whether a run begins or goes on.
pub enum Start {
    /// A new run in a new folder.
    New,
    /// A new run in a new folder, on the moments of the run in this one.
    MomentsOf(PathBuf),
    /// The run in this folder.
    Resume(PathBuf),
}
