//! Encoder weights from the Hugging Face hub (`hub` feature), kept in the hub's own cache (`HF_HOME`).

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::ApiBuilder;

use crate::error::{Error, Result};

/// The local copy of `file` of the model `repository`, fetched if it is not there; errors tell to write `kind`:PATH instead.
///
/// # Errors
/// [`prism_core::Error::Usage`] if there is no folder for the cache, [`prism_core::Error::Io`] if the hub cannot be reached.
pub fn fetch(repository: &str, file: &str, kind: &str) -> Result<PathBuf> {
    // The client panics where it finds no folder for its cache.
    if std::env::var_os("HF_HOME").is_none() && std::env::home_dir().is_none() {
        return Err(Error::usage("there is no home folder for the hub's cache; set HF_HOME to a folder"));
    }
    let api = ApiBuilder::from_env().with_progress(std::io::stderr().is_terminal()).with_retries(2).build();
    api.and_then(|api| api.model(repository.into()).get(file)).map_err(|why| {
        let why = format!("{why}; check the network connection, or fetch {file} by hand and write {kind}:PATH");
        let source = std::io::Error::other(why);
        Error::Core(prism_core::Error::io("fetch from the Hugging Face hub", Path::new(repository).join(file), source))
    })
}
