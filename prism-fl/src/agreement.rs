//! What every party of a federation knows before the first message: the settings, and what kind of images there are.

use prism_core::arch::Architecture;
use prism_core::mixture;
use prism_nn::Result;
use serde::{Deserialize, Serialize};

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
        Ok(())
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
