//! The settings file of a fleet: what server and sites have in common, and beside it what is this machine's own.
//!
//! ```toml
//! [federation]                       # and [wire], [model], [training], [privacy]: as prism-train takes them
//! clients = 3
//!
//! [data]                             # what is public about the sites' images
//! name = "x-rays"
//! channels = 1
//! class-names = ["healthy", "ill"]   # sub-folders of every site's folder; leave out for images without labels
//! images = 3000                      # of all sites together
//! partition = "sites"
//!
//! [run]                              # this machine's own
//! device = "cpu"
//! ```

use std::path::Path;
use std::sync::Arc;

use prism_data::{Dataset, LoadOptions, Source};
use prism_fl::settings::Settings;
use prism_fl::{Agreement, DataDescription, Error, Randomness, Result, RunContext};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Where this machine computes.
#[derive(Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Run {
    device: String,
}

impl Default for Run {
    fn default() -> Self {
        Run { device: "cpu".into() }
    }
}

/// Reads a settings file and opens the networks.
///
/// # Errors
/// [`prism_core::Error::Usage`] naming what the text lacks or what is refused.
pub fn open(text: &str) -> Result<Arc<RunContext>> {
    let invalid = |e: toml::de::Error| Error::usage(format!("the settings cannot be used: {e}"));
    let mut tables: toml::Table = text.parse().map_err(invalid)?;
    let missing = || Error::usage("the settings have no table [data]; it says what is public about the sites' images");
    let data: DataDescription = tables.remove("data").ok_or_else(missing)?.try_into().map_err(invalid)?;
    let run: Run = tables.remove("run").map_or(Ok(Run::default()), toml::Value::try_into).map_err(invalid)?;
    let settings: Settings = toml::Value::Table(tables).try_into().map_err(invalid)?;
    let device = prism_nn::device::open(&run.device)?;
    Ok(RunContext::new(Agreement { settings, data }, device, Randomness::System)?)
}

/// The first 16 hexadecimal digits of SHA-256 over what all agreed on: the name of a federation's folder at a site.
///
/// # Errors
/// If a setting has no JSON form.
pub fn id(agreement: &Agreement) -> Result<String> {
    let json = serde_json::to_vec(agreement).map_err(|e| Error::usage(format!("the settings have no JSON form: {e}")))?;
    Ok(Sha256::digest(&json)[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The images in `folder`, which must be of the agreed kind.
///
/// # Errors
/// [`prism_core::Error::Usage`] if there are none, or they are of another kind.
pub fn load_images(agreement: &Agreement, folder: &Path) -> Result<Dataset> {
    let options = LoadOptions {
        data_dir: Some(folder.to_path_buf()),
        image_size: agreement.settings.model.image_size,
        channels: Some(agreement.data.channels),
        ..LoadOptions::default()
    };
    let images = prism_data::load(Source::Folder, &options)?;
    let agreed = &agreement.data.class_names;
    let found = if images.labels().is_some() { images.class_names() } else { &[] };
    if found != agreed.as_slice() {
        return Err(Error::usage(format!(
            "{} has the classes [{}] and the settings agree on [{}]; make one sub-folder for each agreed class",
            folder.display(),
            found.join(", "),
            agreed.join(", ")
        )));
    }
    Ok(images)
}
