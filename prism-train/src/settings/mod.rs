//! Every setting of a run, in the groups of its TOML file.
//!
//! ```text
//! default  <  recipe  <  --config file  <  flags        ->  tables, checked key by key  ->  Settings
//! ```
//!
//! What server and clients agree on is [`prism_fl::settings::Settings`], where most defaults stand; what only this program
//! needs is here.

pub mod flags;
pub mod limits;
pub mod recipes;

use std::path::{Path, PathBuf};

use prism_core::file;
use prism_data::partition::Partition;
use prism_data::{Intensity, Source};
use prism_fl::settings::privacy::PrivacySettings;
use prism_fl::settings::{FederationSettings, ModelSettings, TrainingSettings, WireSettings};
use prism_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use flags::Given;
use flags::layers::{self, Tables};
pub use limits::check_threads;

/// Most bytes that a settings file may have.
const MAX_FILE: u64 = 1 << 20;

/// The settings of a training run. In a TOML file each group is a table, such as `[model]` with `image-size = 32`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Which images there are, and who holds them.
    pub data: DataSettings,
    /// Who takes part, and for how long.
    pub federation: FederationSettings,
    /// What crosses the wire.
    pub wire: WireSettings,
    /// The generator.
    pub model: ModelSettings,
    /// Local steps.
    pub training: TrainingSettings,
    /// How clients' images are protected.
    pub privacy: PrivacySettings,
    /// How the run is carried out; nothing here changes what it computes.
    pub run: RunSettings,
}

/// Which images there are, and who holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct DataSettings {
    /// Where images come from.
    pub dataset: Source,
    /// Folder that holds the data set's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Only the first so many images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// 1 for grey, 3 for colour; none for what the data set has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Which values of 16-bit grey or DICOM are black and white.
    pub intensity: Intensity,
    /// How images are divided among clients.
    pub partition: Partition,
}

impl Default for DataSettings {
    fn default() -> Self {
        DataSettings {
            dataset: Source::Strokes,
            data_dir: None,
            limit: None,
            channels: None,
            intensity: Intensity::FULL,
            partition: Partition::Iid,
        }
    }
}

/// How the run is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunSettings {
    /// Where to compute: `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// Threads to use; 0 for one per core.
    pub threads: usize,
    /// Rounds between grids of samples; 0 for none.
    pub sample_every: u32,
}

impl Default for RunSettings {
    fn default() -> Self {
        RunSettings { device: "auto".into(), threads: 0, sample_every: 1 }
    }
}

impl Settings {
    /// The settings that the flags of a command line add up to, with those of a recipe and of a file under them. A folder of
    /// data without the name of a set is one of own images.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if there is no such recipe, the file cannot be used, a key is unknown, or a value is
    /// none that the setting may have.
    pub fn resolve(flags: &[Given], recipe: Option<&str>, config: Option<&Path>) -> Result<Self> {
        let mut given = Tables::default();
        if let Some(name) = recipe {
            given.overlay(recipes::find(name)?.settings()?);
        }
        if let Some(path) = config {
            given.overlay(Tables::read(path)?);
        }
        given.overlay(Tables::of_flags(flags)?);
        let own_images = given.has("data", "data-dir") && !given.has("data", "dataset");
        let mut tables = Tables::of_defaults()?;
        tables.overlay(given);
        let mut settings = tables.into_settings()?;
        if own_images {
            settings.data.dataset = Source::Folder;
        }
        Ok(settings)
    }

    /// The settings of the run saved at `path`, with those flags of this command line that a resumed run may change.
    ///
    /// # Errors
    /// As for [`Settings::read`], or if a given flag contradicts the run.
    pub fn resume(flags: &[Given], path: &Path) -> Result<Self> {
        let saved = Self::read(path)?;
        let mut tables = Tables::of(&saved)?;
        tables.overlay(Tables::of_flags(flags)?);
        let asked = tables.into_settings()?;
        let (before, after) = (Tables::of(&saved)?, Tables::of(&asked)?);
        for Given { flag, text } in flags.iter().filter(|given| !given.flag.free_on_resume()) {
            let (saved, asked) = (before.get(flag), after.get(flag));
            if saved != asked {
                let saved = saved.map_or("none".into(), layers::shown);
                return Err(Error::usage(format!(
                    "`{}` {text} contradicts the run being resumed, which has {saved}; leave the flag out, or start a \
                     new run",
                    flag.key()
                )));
            }
        }
        Ok(asked)
    }

    /// The settings saved at `path`.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if the file is missing or holds anything but settings.
    pub fn read(path: &Path) -> Result<Self> {
        let mut tables = Tables::of_defaults()?;
        tables.overlay(Tables::read(path)?);
        tables.into_settings()
    }

    /// The settings as a TOML file that `--config` accepts.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if a value has no TOML form, such as a seed above `i64::MAX`.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::usage(format!("the settings cannot be written as TOML: {e}")))
    }

    /// Refuses numbers out of their range, and settings that contradict each other.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] naming the setting, its value and what to choose.
    pub fn validate(&self) -> Result<()> {
        limits::validate(self)?;
        self.agreement().validate()
    }

    /// What server and clients agree on.
    pub fn agreement(&self) -> prism_fl::settings::Settings {
        prism_fl::settings::Settings {
            federation: self.federation.clone(),
            wire: self.wire.clone(),
            model: self.model.clone(),
            training: self.training.clone(),
            privacy: self.privacy.clone(),
        }
    }
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = file::read_bounded(path, MAX_FILE)?;
    String::from_utf8(bytes)
        .map_err(|_| Error::usage(format!("{} is not a text file; give a TOML file of settings", path.display())))
}

#[cfg(test)]
mod tests;
