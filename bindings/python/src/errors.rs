//! Errors as Python exceptions, each with the sentence of the Rust error.

use pyo3::create_exception;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(prism_fl, UsageError, PyValueError, "A setting, a path or an order of calls that cannot work.");
create_exception!(prism_fl, Refused, PyValueError, "A message that is not counted.");
create_exception!(prism_fl, NeedsSnapshot, PyRuntimeError, "A broadcast that this client cannot follow.");

/// What a call was about, which decides what bytes that cannot be used are: a message of the other side, or a file of our own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Our own settings, images and files.
    Ourselves,
    /// A message.
    AMessage,
}

/// The exception for `error`.
pub fn raise(error: prism_fl::Error, about: About) -> PyErr {
    let sentence = error.to_string();
    match error {
        prism_fl::Error::NeedsSnapshot { .. } => NeedsSnapshot::new_err(sentence),
        prism_fl::Error::Nn(prism_nn::Error::Core(error)) => match error {
            prism_core::Error::Usage(_) => UsageError::new_err(sentence),
            // A file is named by its path, a message is not. What is said of a file must not pass for a refusal, which leaves
            // the site.
            prism_core::Error::Corrupt { what, .. } if about == About::AMessage && !what.contains('/') => {
                Refused::new_err(sentence)
            }
            prism_core::Error::Io { .. } => PyOSError::new_err(sentence),
            _ => PyRuntimeError::new_err(sentence),
        },
        _ => PyRuntimeError::new_err(sentence),
    }
}

/// The exception for an error about our own settings and files.
pub fn ours(error: impl Into<prism_fl::Error>) -> PyErr {
    raise(error.into(), About::Ourselves)
}
