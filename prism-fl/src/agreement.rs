//! What every party of a federation knows before the first message: the settings, and what kind of images there are.

use prism_core::arch::Architecture;
use prism_core::mixture;
use prism_data::MAX_CLASS_NAME;
use prism_nn::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::settings::Settings;
use crate::wire::Session;

/// Settings and data description that server and clients have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Agreement {
    /// The settings.
    pub settings: Settings,
    /// The images.
    pub data: DataDescription,
}

/// What is public about the clients' images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DataDescription {
    /// What they are called.
    pub name: String,
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// The name of each class, in the order of the labels; none where images have no labels.
    pub class_names: Vec<String>,
    /// Images of all clients together, at most. Under replace-one privacy their number is public.
    pub images: usize,
    /// How they came to the clients, in a word.
    pub partition: String,
}

impl DataDescription {
    /// Refuses names that no model's file can hold, while nothing is lost by it.
    fn check_names(&self) -> Result<()> {
        let limits =
            self.class_names.iter().map(|name| ("class", name, MAX_CLASS_NAME)).chain([("data set", &self.name, 1000)]);
        for (what, name, limit) in limits {
            let length = name.chars().count();
            let control = name.chars().any(char::is_control);
            if length > limit || control {
                let why = if control { "a control character" } else { "too many characters" };
                return Err(Error::usage(format!(
                    "{what} {name:?} has {why} in its name; choose at most {limit} plain ones"
                )));
            }
        }
        Ok(())
    }
}

impl Agreement {
    /// The architecture of the generator.
    pub fn architecture(&self) -> Architecture {
        self.settings.model.architecture(self.data.channels, self.data.class_names.len())
    }

    /// Classes that are told apart: 1 where there are no labels.
    pub fn classes(&self) -> usize {
        self.data.class_names.len().max(1)
    }

    /// Refuses what no model could be trained for or exported as, before any image is read.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] naming the setting, its value and its limit.
    pub fn validate(&self) -> Result<()> {
        let arch = self.architecture();
        arch.validate()?;
        mixture::check(&arch, self.settings.model.components)?;
        self.session()?.check()?;
        self.data.check_names()
    }

    /// SHA-256 over its JSON.
    ///
    /// # Errors
    /// If a setting has no JSON form.
    pub fn digest(&self) -> Result<[u8; 32]> {
        let json = serde_json::to_vec(self);
        let json = json.map_err(|e| prism_core::Error::usage(format!("the settings have no JSON form: {e}")))?;
        Ok(Sha256::digest(&json).into())
    }

    /// What the messages of rounds rest on.
    ///
    /// # Errors
    /// If the architecture is out of its limits.
    pub fn session(&self) -> Result<Session> {
        let (arch, wire) = (self.architecture(), &self.settings.wire);
        let score_layers = (wire.alpha * arch.layers().len() as f64).round() as usize;
        let session = Session::new(&arch, self.settings.federation.seed, score_layers)?;
        let session = session.with_codecs(wire.codec.uplink(), wire.codec.downlink());
        Ok(session.with_score_scale(self.settings.model.score_scale))
    }
}
