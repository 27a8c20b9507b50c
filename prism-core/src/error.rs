//! The one error type of the formats and the sampler, and the exit code of each error.

#[cfg(feature = "std")]
use std::path::{Path, PathBuf};

use crate::prelude::*;

/// A `Result` whose error is [`Error`].
pub type Result<T> = core::result::Result<T, Error>;

/// What went wrong, as one sentence that names the value, the limit and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The user asked for something impossible: a flag, a setting, a missing file.
    #[error("{0}")]
    Usage(String),
    /// Bytes that are not what they claim to be: truncated, altered, of another version, or hostile.
    #[error("{what} cannot be used: {why}")]
    Corrupt {
        /// What was read, for example `artifact models/mnist.safetensors.zst`.
        what: String,
        /// Why it was refused, with the value and the limit.
        why: String,
    },
    /// The operating system refused to read or write.
    #[cfg(feature = "std")]
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb phrase: `read`, `write`, `create the folder`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own reason.
        source: std::io::Error,
    },
}

impl Error {
    /// The user's mistake, in one sentence.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into())
    }

    /// Bytes that were refused, and why. The reason may quote them: control characters, which a terminal would obey,
    /// are replaced.
    pub fn corrupt(what: impl Into<String>, why: impl Into<String>) -> Self {
        let safe = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        Error::Corrupt { what: what.into(), why: why.into().chars().map(safe).collect() }
    }

    /// A failed system call on `path`.
    #[cfg(feature = "std")]
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { action, path: path.as_ref().to_path_buf(), source }
    }

    /// The process exit code: 2 for the user's mistake (a flag, a missing file), 1 for a failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Corrupt { .. } => 1,
            #[cfg(feature = "std")]
            Error::Io { source, .. } if names_a_wrong_path(source.kind()) => 2,
            #[cfg(feature = "std")]
            Error::Io { .. } => 1,
        }
    }
}

/// Whether the system refused because the user gave a path that cannot serve, rather than because something broke.
#[cfg(feature = "std")]
fn names_a_wrong_path(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{
        AlreadyExists, InvalidFilename, IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    matches!(
        kind,
        NotFound
            | PermissionDenied
            | AlreadyExists
            | NotADirectory
            | IsADirectory
            | ReadOnlyFilesystem
            | InvalidFilename
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_quotes_a_hostile_file_is_safe_to_print() {
        let error = Error::corrupt("a file", "it is a \u{1b}]0;owned\u{7} file\r\u{9b}2J");
        assert_eq!(error.to_string(), "a file cannot be used: it is a \u{fffd}]0;owned\u{fffd} file\u{fffd}\u{fffd}2J");
    }
}
