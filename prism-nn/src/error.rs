//! Errors of everything that computes with tensors.

/// A `Result` whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: in our own code and files, or inside candle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A refused setting, file or message.
    #[error(transparent)]
    Core(#[from] prism_core::Error),
    /// A tensor operation failed: out of memory, a device error, a shape that should not have been.
    #[error("the computation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The user asked to stop, by Ctrl-C; nothing went wrong.
    #[error("stopped before it was done")]
    Interrupted,
}

impl Error {
    /// The user's mistake, in one sentence.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::Core(prism_core::Error::usage(message))
    }

    /// Bytes that were refused, and why.
    pub fn corrupt(what: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Core(prism_core::Error::corrupt(what, why))
    }

    /// The process exit code: 2 for the user's mistake, 1 for a failure, 130 where Ctrl-C ended it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Core(error) => error.exit_code(),
            Error::Tensor(_) => 1,
            Error::Interrupted => 130,
        }
    }
}
