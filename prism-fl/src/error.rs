//! What can go wrong in a federation.

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a client or a server cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A refused setting, file or message, or a failed computation.
    #[error(transparent)]
    Nn(#[from] prism_nn::Error),
    /// A broadcast builds on a state that this client does not have. The server can send it a snapshot instead.
    #[error(
        "client {client} does not have the state after its round {last}, on which this broadcast builds; send it a snapshot"
    )]
    NeedsSnapshot {
        /// The client.
        client: u32,
        /// The round after which the server believes the client's state to be.
        last: u32,
    },
}

impl Error {
    /// The user's mistake, in one sentence.
    pub fn usage(message: impl Into<String>) -> Self {
        prism_nn::Error::usage(message).into()
    }

    /// The process exit code: 2 for the user's mistake, 1 for a failure, 130 where the user asked to stop.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Nn(error) => error.exit_code(),
            Error::NeedsSnapshot { .. } => 1,
        }
    }
}

impl From<prism_core::Error> for Error {
    fn from(error: prism_core::Error) -> Self {
        Error::Nn(error.into())
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Error::Nn(error.into())
    }
}

/// A message that the server did not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client {client}: {reason}")]
pub struct Refused {
    /// The client that sent it.
    pub client: u32,
    /// Why, in one sentence.
    pub reason: String,
}
