//! What a run may say about its privacy: printed before training, saved as `privacy.json`, carried by the artifact.

use prism_core::{Error, file};
use prism_nn::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;

use super::accounting::Budget;
use super::release::NoisePlan;
use super::settings::{Adjacency, PrivacySettings, Trust};

/// The guarantee of a run, and all that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// What is released, and how it is protected.
    pub mechanism: String,
    /// What is protected.
    pub unit: String,
    /// What two neighbouring data sets differ in.
    pub adjacency: Adjacency,
    /// Whose word it rests on.
    pub trust: Trust,
    /// The guarantee.
    pub epsilon: f64,
    /// See `epsilon`.
    pub delta: f64,
    /// The same as concentrated privacy.
    pub rho: f64,
    /// Standard deviation of the moments' noise over their sensitivity.
    pub noise_multiplier: f64,
    /// Number of images of each client; empty where it is private.
    pub images: Vec<usize>,
    /// Features released, per class where the model is conditional.
    pub features: String,
}

impl Claim {
    /// The claim of a run whose clients hold `images` images each; `parting` is the noise of the thresholds between styles.
    pub fn new(
        settings: &PrivacySettings,
        budget: Budget,
        noise: &NoisePlan,
        parting: Option<&NoisePlan>,
        images: &[usize],
    ) -> Self {
        let release = "one release of moments of encoder features, with discrete Gaussian noise";
        Claim {
            mechanism: match parting {
                None => release.into(),
                Some(parting) => format!(
                    "a release of where classes part into styles (rho = {:.2e}), and then {release}",
                    parting.rho
                ),
            },
            unit: "one image and its label".into(),
            adjacency: settings.dp_adjacency,
            trust: settings.dp_trust,
            epsilon: budget.epsilon(),
            delta: budget.delta(),
            rho: noise.rho + parting.map_or(0.0, |parting| parting.rho),
            noise_multiplier: noise.variance().sqrt() / noise.sensitivity,
            images: match settings.dp_adjacency {
                Adjacency::ReplaceOne => images.to_vec(),
                Adjacency::AddRemove => Vec::new(),
            },
            features: settings.dp_features.to_string(),
        }
    }

    /// One sentence for people; it fits into an artifact's metadata.
    pub fn sentence(&self) -> String {
        if self.features == NO_FEATURES {
            return format!(
                "(epsilon = {}, delta = {:e})-differential privacy for {} (unit: replaced as a whole): {} of {:.3} times the \
                 sensitivity (rho = {:.4e} zCDP in all), each client by its own noise; other runs on the same images add up",
                self.epsilon, self.delta, self.unit, self.mechanism, self.noise_multiplier, self.rho
            );
        }
        let images = match (self.images.iter().min(), self.images.iter().max()) {
            (Some(least), Some(most)) if least == most => format!("{least} of each client, public"),
            (Some(least), Some(most)) => format!("{least} to {most} of a client, public"),
            _ => "private".into(),
        };
        let trust = match self.trust {
            Trust::Local => "each client adds the whole noise itself and need trust nobody",
            Trust::Secagg => {
                "the noise is the sum of all clients' shares, so this assumes a secure sum and that every client adds its \
                 share (honest but curious parties)"
            }
        };
        format!(
            "(epsilon = {}, delta = {:e})-differential privacy for {}, {} (number of images: {images}): {} of {:.3} times the \
             sensitivity (rho = {:.4e} zCDP), drawn once, features {}; {trust}; all later steps are post-processing; other \
             runs on the same images add up",
            self.epsilon,
            self.delta,
            self.unit,
            match self.adjacency {
                Adjacency::ReplaceOne => "replace-one",
                Adjacency::AddRemove => "add-or-remove-one",
            },
            self.mechanism,
            self.noise_multiplier,
            self.rho,
            self.features
        )
    }

    /// Writes the claim to `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        Ok(file::write_atomic(path, |out| Ok(serde_json::to_writer_pretty(out, self)?))?)
    }
}

/// The features of a mechanism that releases none.
pub const NO_FEATURES: &str = "none";

/// What an unprotected run says of itself.
pub const NONE: &str = "none: the moments of clients' images are used as they are";

/// The warning that a data set was drawn on before: what all draws together guarantee.
pub fn composition_warning(earlier: &[super::ledger::Entry], rho: f64, delta: f64) -> Option<String> {
    let before: f64 = earlier.iter().map(|entry| entry.rho).sum();
    (!earlier.is_empty()).then(|| {
        format!(
            "WARNING: the privacy ledger knows {} earlier draw(s) on this data set; together with this run they guarantee \
             only epsilon = {:.3} at delta = {delta:e}",
            earlier.len(),
            super::accounting::epsilon_of(before + rho, delta)
        )
    })
}

/// The name of a mechanism in cache keys and ledger: everything that a release depends on but data and encoder.
///
/// # Errors
/// [`Error::Usage`] if the settings have no JSON form.
pub fn fingerprint(claim: &Claim, settings: &PrivacySettings) -> Result<String> {
    let settings = PrivacySettings { dp_ledger: None, ..settings.clone() };
    let text = serde_json::to_string(&(settings, claim.noise_multiplier));
    Ok(text.map_err(|e| Error::usage(format!("the privacy settings have no JSON form: {e}")))?)
}
