//! # prism_fl for Python
//!
//! [`prism_fl::Client`] and [`prism_fl::Server`] as Python classes: settings as text, messages as `bytes`. `prism_fl.pyi` documents
//! every call. Nothing is decided here but which files a site and a server keep where.
//!
//! The GIL is released around every computation: a node whose process holds it for long cannot send its heartbeat and loses its
//! connection.

mod agreement;
mod client;
mod errors;
mod hub;
mod model;
mod notes;
mod picture;
mod server;

use pyo3::prelude::*;

/// The module.
#[pymodule(name = "prism_fl")]
mod module {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::client::Client;
    #[pymodule_export]
    use crate::errors::{NeedsSnapshot, Refused, UsageError};
    #[pymodule_export]
    use crate::model::{Model, load};
    #[pymodule_export]
    use crate::picture::draw;
    #[pymodule_export]
    use crate::server::Server;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
