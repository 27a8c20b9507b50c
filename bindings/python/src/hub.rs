//! Models on the Hugging Face hub, through the package `huggingface_hub`, which is imported when it is first needed: it knows
//! where a token is, what is in its cache, and what its server speaks.

use std::path::{Path, PathBuf};

use prism_core::Error;
use prism_core::loaded::LoadedModel;
use prism_export::run_folder::MODEL;
use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::errors::ours;

/// The repository that `source` names: `OWNER/NAME`, where no file or folder is called so. What ends in `.zst` is a file that is
/// not there.
pub fn repository(source: &Path) -> Option<&str> {
    let name = source.to_str().filter(|name| !name.ends_with(".zst") && !source.exists())?;
    let (owner, model) = name.split_once('/')?;
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let is_name = |part: &str| part.starts_with(|first: char| first.is_ascii_alphanumeric()) && letters(part);
    (is_name(owner) && is_name(model)).then_some(name)
}

/// Fetches the model of a repository into the library's cache.
pub fn fetch(py: Python<'_>, repository: &str, revision: Option<&str>) -> PyResult<PathBuf> {
    let options = PyDict::new(py);
    options.set_item("revision", revision)?;
    library(py, repository)?.call_method("hf_hub_download", (repository, MODEL), Some(&options))?.extract()
}

/// Puts the model, its card and a picture of it into a repository, which is made if it is not there; returns its address.
pub fn push(py: Python<'_>, model: &LoadedModel, picture: &[u8], repository: &str, private: bool) -> PyResult<String> {
    let artifact = model.artifact();
    let bytes = py.detach(|| artifact.to_bytes()).map_err(ours)?;
    let card = prism_export::card(artifact, repository).map_err(ours)?;
    let library = library(py, repository)?;
    let hub = library.getattr("HfApi")?.call0()?;
    let options = PyDict::new(py);
    options.set_item("private", private)?;
    options.set_item("exist_ok", true)?;
    let address = hub.call_method("create_repo", (repository,), Some(&options))?.str()?.extract()?;
    let files = PyList::empty(py);
    for (name, content) in [(MODEL, bytes.as_slice()), ("README.md", card.as_bytes()), ("samples.png", picture)] {
        files.append(library.call_method1("CommitOperationAdd", (name, PyBytes::new(py, content)))?)?;
    }
    let options = PyDict::new(py);
    options.set_item("commit_message", format!("Model {}", artifact.meta().payload_sha256))?;
    hub.call_method("create_commit", (repository, files), Some(&options))?;
    Ok(address)
}

/// The package, or what to do where it is not installed.
fn library<'py>(py: Python<'py>, repository: &str) -> PyResult<Bound<'py, PyModule>> {
    py.import("huggingface_hub").map_err(|error| {
        if !error.is_instance_of::<PyModuleNotFoundError>(py) {
            return error;
        }
        ours(Error::usage(format!(
            "{repository} is looked for on the Hugging Face hub, since no file is called so, and that needs the package \
             huggingface_hub; install it"
        )))
    })
}
