//! The settings file of a fleet: what server and sites have in common, and beside it what is this machine's own.
//!
//! ```toml
//! [federation]                       # and [wire], [model], [training], [privacy]: as prism-train takes them
//! clients = 3
//!
//! [data]                             # what is public about the sites' images
//! name = "x-rays"
//! channels = 1
//! class-names = ["healthy", "ill"]   # sub-folders of the sites' folders, of which a site may lack some; [] for images without labels
//! images = 3000                      # of all sites together
//! partition = "sites"
//!
//! [run]                              # this machine's own
//! device = "cpu"                     # where it computes
//! randomness = "system"              # "seed" repeats a simulation to the byte under the codecs raw and mrc; for tests alone
//! peers = "/etc/prism/peers"          # the list of all clients' public keys, where sums are secure
//! total-epsilon = 2.0                # a site: most that all draws on its images may give away together
//! intensity = "0-4095"               # a site: which values of its scanner are black and white
//! skip-broken = true                 # a site: passes over image files that cannot be read
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prism_core::file;
use prism_data::{Dataset, FolderLayout, Intensity, LoadOptions, Source};
use prism_fl::settings::Settings;
use prism_fl::{Agreement, DataDescription, Error, Observer, Peers, Randomness, Result, RunContext};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Most bytes of the list of peers.
const MAX_PEERS: u64 = 1 << 23;

/// What a machine decides for itself; nobody else can.
#[derive(Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Run {
    device: String,
    peers: Option<PathBuf>,
    total_epsilon: Option<f64>,
    intensity: Intensity,
    skip_broken: bool,
    randomness: Choices,
}

/// Where a client's own choices come from, as [`Randomness`].
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Choices {
    System,
    Seed,
}

impl Default for Run {
    fn default() -> Self {
        Run {
            device: "cpu".into(),
            peers: None,
            total_epsilon: None,
            intensity: Intensity::FULL,
            skip_broken: false,
            randomness: Choices::System,
        }
    }
}

/// What a settings file says.
pub struct Own {
    /// What all have in common, and the networks.
    pub context: Arc<RunContext>,
    /// The public keys of all clients, where they are given.
    pub peers: Option<Peers>,
    /// Most that all draws on a site's images may give away together.
    pub total_epsilon: Option<f64>,
    /// How a site's image files are read.
    pub reading: Reading,
}

/// How a site's image files are read.
#[derive(Clone, Copy)]
pub struct Reading {
    /// Which values of its scanner are black and white.
    pub intensity: Intensity,
    /// Whether files that cannot be read are passed over, or refused.
    pub skip_broken: bool,
}

/// Reads a settings file and opens the networks.
///
/// # Errors
/// [`prism_core::Error::Usage`] naming what the text lacks or what is refused.
pub fn open(text: &str) -> Result<Own> {
    let invalid = |e: toml::de::Error| Error::usage(format!("the settings cannot be used: {e}"));
    let mut tables: toml::Table = text.parse().map_err(invalid)?;
    let missing = || Error::usage("the settings have no table [data]; it says what is public about the sites' images");
    let data: DataDescription = tables.remove("data").ok_or_else(missing)?.try_into().map_err(invalid)?;
    let run: Run = tables.remove("run").map_or(Ok(Run::default()), toml::Value::try_into).map_err(invalid)?;
    let settings: Settings = toml::Value::Table(tables).try_into().map_err(invalid)?;
    let device = prism_nn::device::open(&run.device)?;
    if let Some(limit) = run.total_epsilon.filter(|limit| !(limit.is_finite() && *limit > 0.0)) {
        return Err(Error::usage(format!("`total-epsilon` is {limit}; give a number above 0")));
    }
    let randomness = match run.randomness {
        Choices::System => Randomness::System,
        Choices::Seed => Randomness::Seed,
    };
    let peers = match &run.peers {
        Some(path) => Some(String::from_utf8_lossy(&file::read_bounded(path, MAX_PEERS)?).parse::<Peers>()?),
        None => None,
    };
    let context = RunContext::new(Agreement { settings, data }, device, randomness)?;
    let reading = Reading { intensity: run.intensity, skip_broken: run.skip_broken };
    Ok(Own { context, peers, total_epsilon: run.total_epsilon, reading })
}

/// The first 16 hexadecimal digits of SHA-256 over what all agreed on: the name of a federation's folder at a site.
///
/// # Errors
/// If a setting has no JSON form.
pub fn id(agreement: &Agreement) -> Result<String> {
    let json =
        serde_json::to_vec(agreement).map_err(|e| Error::usage(format!("the settings have no JSON form: {e}")))?;
    Ok(Sha256::digest(&json)[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The images in `folder`, which must be of the agreed kind, read as `reading` says. What looks wrong with them is told to
/// `observer`, at the site.
///
/// # Errors
/// [`prism_core::Error::Usage`] if there are none, or they are of another kind.
pub fn load_images(agreement: &Agreement, folder: &Path, reading: Reading, observer: &dyn Observer) -> Result<Dataset> {
    let agreed = &agreement.data.class_names;
    let options = LoadOptions {
        data_dir: Some(folder.to_path_buf()),
        image_size: agreement.settings.model.image_size,
        channels: Some(agreement.data.channels),
        intensity: reading.intensity,
        skip_broken: reading.skip_broken,
        layout: if agreed.is_empty() { FolderLayout::Classes } else { FolderLayout::Agreed(agreed.clone()) },
        ..LoadOptions::default()
    };
    let (images, survey) = prism_data::load_surveyed(Source::Folder, &options, &|_| ())?;
    survey.warnings(reading.intensity == Intensity::FULL).iter().for_each(|line| observer.on_warning(line));
    match images.labels() {
        Some(_) if agreed.is_empty() => Err(Error::usage(format!(
            "{} has the classes [{}] and the settings agree on none; name them in class-names, or put all images into one folder",
            folder.display(),
            images.class_names().join(", ")
        ))),
        _ => Ok(images),
    }
}
