//! What a run may say about its privacy: printed before training, saved as `privacy.json`, carried by the artifact.

use prism_core::{Error, file};
use prism_nn::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;

use super::accounting::{Accountant, Budget};
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
    /// How they follow from rho.
    #[serde(default = "Accountant::of_before")]
    pub accountant: Accountant,
    /// `(sensitivity / deviation)^2 / 2`, added up over all releases.
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
            accountant: budget.accountant(),
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
                 sensitivity ({} in all), each client by its own noise; other runs on the same images add up",
                self.epsilon,
                self.delta,
                self.unit,
                self.mechanism,
                self.noise_multiplier,
                self.rho()
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
             sensitivity ({}), drawn once, features {}; {trust}; all later steps are post-processing; other \
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
            self.rho(),
            self.features
        )
    }

    fn rho(&self) -> String {
        let kind = match self.accountant {
            Accountant::Gaussian => "by the exact Gaussian profile",
            Accountant::Zcdp => "zCDP",
        };
        format!("rho = {:.4e} {kind}", self.rho)
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
pub fn composition_warning(earlier: &[super::ledger::Entry], claim: &Claim) -> Option<String> {
    let (before, delta) = (earlier.iter().map(|entry| entry.rho).sum::<f64>(), claim.delta);
    (!earlier.is_empty()).then(|| {
        format!(
            "WARNING: the privacy ledger knows {} earlier draw(s) on this data set; together with this run they guarantee \
             only epsilon = {:.3} at delta = {delta:e}",
            earlier.len(),
            claim.accountant.epsilon_of(before + claim.rho, delta)
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
    let text = text.map_err(|e| Error::usage(format!("the privacy settings have no JSON form: {e}")))?;
    // Runs that were begun before these could be chosen know their moments by settings without them.
    Ok([",\"dp-second\":\"variance\"", ",\"dp-accountant\":\"zcdp\""]
        .into_iter()
        .fold(text, |text, of_before| text.replace(of_before, "")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::accounting::sigma;

    /// As commit `f3e3e7f` wrote it, which knew neither other second moments by default nor another accountant.
    #[test]
    fn moments_of_before_keep_their_name() {
        let settings = PrivacySettings {
            dp_epsilon: Some(1.0),
            dp_trust: Trust::Secagg,
            dp_accountant: Accountant::of_before(),
            ..PrivacySettings::default()
        };
        let budget = settings.budget().unwrap().unwrap();
        let noise = NoisePlan::new(budget, settings.dp_adjacency, 10, 1000).unwrap();
        let claim = Claim::new(&settings, budget, &noise, None, &[6000; 10]);
        let name = fingerprint(&claim, &settings).unwrap();
        let (text, multiplier) = name.trim_end_matches(']').rsplit_once(',').unwrap();
        let before = r#"[{"dp-epsilon":1.0,"dp-mechanism":"moments","dp-delta":0.00001,"dp-features":"grid:8","dp-adjacency":"replace-one","dp-trust":"secagg","dp-clip":1.0,"dp-lambda":1.0}"#;
        assert_eq!(text, before);
        let multiplier: f64 = multiplier.parse().unwrap();
        assert!((multiplier - sigma(1.0, budget.rho())).abs() < 1e-5, "{multiplier}");
        let other = PrivacySettings { dp_accountant: Accountant::Gaussian, ..settings };
        assert_ne!(fingerprint(&claim, &other).unwrap(), name, "another promise, another name");
    }

    #[test]
    fn draws_add_up() {
        let settings = PrivacySettings { dp_epsilon: Some(0.2), ..PrivacySettings::default() };
        let budget = settings.budget().unwrap().unwrap();
        let noise = NoisePlan::new(budget, settings.dp_adjacency, 1, 1000).unwrap();
        let claim = Claim::new(&settings, budget, &noise, None, &[6000]);
        assert_eq!(composition_warning(&[], &claim), None);
        let earlier = super::super::ledger::Entry::now(Path::new("run"), "data", "moments", (0.2, 1e-5), claim.rho);
        let warning = composition_warning(&[earlier], &claim).unwrap();
        // Twice the rho: 0.29177 by the formula in numbers of 50 digits.
        assert!(warning.contains("epsilon = 0.292"), "{warning}");
    }
}
