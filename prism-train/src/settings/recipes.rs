//! Recipes: settings that were made for a purpose, by name.

use prism_nn::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Settings;
use super::layers::{CARD, Tables};

/// A recipe: a settings file that is built into the program.
pub struct Recipe {
    /// Its name, which is that of its file in `models/`.
    pub name: &'static str,
    text: &'static str,
}

/// What a recipe is for, and what is known of the model on the shelf that was made by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Card {
    /// What it makes, and for whom.
    pub purpose: String,
    /// How long training took, on two cores.
    pub time: Option<String>,
    /// Bytes of the artifact.
    pub model_bytes: Option<u64>,
    /// Bytes that all clients sent.
    pub uplink_bytes: Option<u64>,
}

macro_rules! recipes {
    ($($name:literal),+ $(,)?) => {
        &[$(Recipe { name: $name, text: include_str!(concat!("../../../models/", $name, ".toml")) }),+]
    };
}

/// Every recipe, the quickest first.
pub static RECIPES: &[Recipe] = recipes![
    "quick",
    "mnist",
    "mnist-rounds",
    "mnist-shards2",
    "mnist-relay",
    "mnist-private-10",
    "mnist-private",
    "mnist-private-0.2",
    "fashion-mnist",
    "fashion-mnist-rounds",
    "fashion-mnist-shards2",
    "fashion-mnist-private-10",
    "fashion-mnist-private",
    "fashion-mnist-private-0.2",
    "cifar10",
    "cifar10-vgg16",
    "faces64",
    "photos",
];

/// The recipe `name`.
///
/// # Errors
/// [`prism_core::Error::Usage`] with the names that there are.
pub fn find(name: &str) -> Result<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name).ok_or_else(|| {
        let names: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
        prism_core::text_enum::unknown("`recipe`", name, &names).into()
    })
}

impl Recipe {
    /// The settings that it gives.
    pub(super) fn settings(&self) -> Result<Tables> {
        Tables::from_text(self.text)
    }

    /// What it is for.
    ///
    /// # Errors
    /// If its file has no `[recipe]`.
    pub fn card(&self) -> Result<Card> {
        let table: toml::Table = self.text.parse().map_err(|e: toml::de::Error| Error::usage(e.message()))?;
        let card = table.get(CARD).cloned().unwrap_or_else(|| toml::Table::new().into());
        card.try_into().map_err(|e: toml::de::Error| Error::usage(format!("recipe {}: {}", self.name, e.message())))
    }

    /// What a run of it may say of its privacy, in a few words.
    ///
    /// # Errors
    /// If its settings are refused.
    pub fn privacy(&self) -> Result<String> {
        let privacy = Settings::resolve(&[], Some(self.name), None)?.privacy;
        Ok(privacy.epsilon.map_or("none".into(), |epsilon| format!("epsilon {epsilon}, {}", privacy.trust)))
    }
}
