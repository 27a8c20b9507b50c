//! What happens inside a call, for the people at the machine where it happens: the Python logger `prism_fl`.

use std::sync::{Mutex, PoisonError};

use prism_fl::Observer;
use pyo3::prelude::*;

/// Collects what is said while the GIL is released.
#[derive(Default)]
pub struct Notes(Mutex<Vec<(&'static str, String)>>);

impl Notes {
    /// Hands all of it to the logger.
    ///
    /// # Errors
    /// If a handler of the logger raises.
    pub fn log(self, py: Python<'_>) -> PyResult<()> {
        let lines = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return Ok(());
        }
        let logger = py.import("logging")?.call_method1("getLogger", ("prism_fl",))?;
        lines.into_iter().try_for_each(|(level, line)| logger.call_method1(level, (line,)).map(drop))
    }

    fn add(&self, level: &'static str, line: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((level, line.to_string()));
    }
}

impl Observer for Notes {
    fn on_event(&self, line: &str) {
        self.add("info", line);
    }

    fn on_warning(&self, line: &str) {
        self.add("warning", line);
    }
}
