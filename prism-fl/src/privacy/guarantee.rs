//! What a run may say about its privacy: printed before training, saved as `privacy.json`, carried by the artifact.

use std::path::Path;

use prism_core::privacy::{Claim, Total, Unit};
use prism_core::{Error, file};
use prism_nn::{Result, SecondMoment};
use serde::{Deserialize, Serialize};

use super::accounting::Budget;
use super::composition::{self, Draw};
use super::release::NoisePlan;
use crate::settings::privacy::{Adjacency, PrivacySettings, Trust};

/// The guarantee of a run, and all that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrivacyGuarantee {
    /// What is released, and how it is protected.
    pub mechanism: String,
    /// What is protected.
    pub unit: Unit,
    /// What two neighbouring data sets differ in.
    pub adjacency: Adjacency,
    /// Whose word it rests on.
    pub trust: Trust,
    /// The guarantee.
    pub epsilon: f64,
    /// See `epsilon`.
    pub delta: f64,
    /// How much noise there is.
    #[serde(flatten)]
    pub noise: NoiseLevel,
    /// Number of images of all clients; none where it is private.
    pub images: Option<usize>,
    /// Features released, per class where the model is conditional.
    pub features: String,
}

/// How much noise there is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseLevel {
    /// `(sensitivity / deviation)^2 / 2`, added up over all releases.
    pub rho: f64,
    /// Standard deviation of the moments' noise over their sensitivity.
    pub noise_multiplier: f64,
}

impl PrivacyGuarantee {
    /// The claim of a run whose clients hold `images` images together; `division` is the noise of the histograms by which classes are divided.
    pub fn new(
        settings: &PrivacySettings,
        budget: Budget,
        noise: &NoisePlan,
        division: Option<&NoisePlan>,
        images: usize,
    ) -> Self {
        let release = "one release of moments of encoder features, with discrete Gaussian noise";
        PrivacyGuarantee {
            mechanism: match division {
                None => release.into(),
                Some(division) => format!(
                    "a release of where classes divide into subclasses (rho = {:.2e}), and then {release}",
                    division.rho
                ),
            },
            unit: Unit::Image,
            adjacency: settings.adjacency,
            trust: settings.trust,
            epsilon: budget.epsilon(),
            delta: budget.delta(),
            noise: NoiseLevel {
                rho: noise.rho + division.map_or(0.0, |division| division.rho),
                noise_multiplier: noise.counted_variance().sqrt() / noise.sensitivity,
            },
            images: match settings.adjacency {
                Adjacency::Replace(_) => Some(images),
                Adjacency::AddRemove(_) => None,
            },
            features: settings.features.to_string(),
        }
    }

    /// One sentence for people; it fits into an artifact's metadata.
    pub fn sentence(&self) -> String {
        if self.features == NO_FEATURES {
            return format!(
                "(epsilon = {}, delta = {:e})-differential privacy for all images of one client (unit: replaced as a whole): {} of \
                 {:.3} times the sensitivity ({} in all), each client by its own noise; other runs on the same images add up",
                self.epsilon,
                self.delta,
                self.mechanism,
                self.noise.noise_multiplier,
                self.rho()
            );
        }
        let images = self.images.map_or("private".into(), |images| format!("{images} of all clients, public"));
        // Who holds what may follow from labels where one program plays all clients, and does not matter to a sum over them.
        let (whose, trust) = match self.trust {
            Trust::Local => (
                "those of its client, who holds what being given",
                "each client adds the whole noise itself and need trust nobody".to_string(),
            ),
            Trust::SECAGG => (
                "those of all clients",
                "the noise is the sum of all clients' shares, so this assumes a secure sum and that every client adds its share, \
                 and is for whoever knows none of them, as a client knows its own"
                    .into(),
            ),
            Trust::Secagg(percent) => (
                "those of all clients",
                format!(
                    "the noise is a sum of clients' shares, of which {percent}% are counted on, so this assumes a secure sum and \
                     that so many clients add their share and tell it nobody; a client knows its own"
                ),
            ),
        };
        format!(
            "(epsilon = {}, delta = {:e})-differential privacy for {} among {whose}, {} (number of images: \
             {images}): {} of {:.3} times the sensitivity ({}), drawn once, features {}; {trust}; all later steps are post-processing; other \
             runs on the same images add up",
            self.epsilon,
            self.delta,
            match self.adjacency.images() {
                1 => "one image and its label".into(),
                images => format!("any {images} images and their labels together"),
            },
            match self.adjacency {
                Adjacency::REPLACE_ONE => "replace-one",
                Adjacency::ADD_REMOVE => "add-or-remove-one",
                Adjacency::Replace(_) => "replaced",
                Adjacency::AddRemove(_) => "added or removed",
            },
            self.mechanism,
            self.noise.noise_multiplier,
            self.rho(),
            self.features
        )
    }

    /// The same in numbers, for an artifact: `encoder_images` are what the encoder was trained on, `total` is what all draws on the same
    /// images promise, as far as it is known.
    pub fn claim(&self, encoder_images: &str, total: Option<Total>) -> Claim {
        Claim {
            unit: self.unit,
            adjacency: self.adjacency,
            trust: self.trust,
            epsilon: self.epsilon,
            delta: self.delta,
            rho: self.noise.rho,
            encoder_images: encoder_images.into(),
            total: total.unwrap_or_else(|| composition::total(&[self.draw()], self.delta)),
        }
    }

    /// What it gives away of the images.
    pub fn draw(&self) -> Draw {
        let &PrivacyGuarantee { unit, adjacency, trust, epsilon, delta, .. } = self;
        Draw { unit, adjacency, trust, epsilon, delta, rho: self.noise.rho }
    }

    fn rho(&self) -> String {
        format!("rho = {:.4e} by the exact Gaussian profile", self.noise.rho)
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

/// The warning that images were drawn on before: what all draws together guarantee.
pub fn composition_warning(together: &Total, delta: f64) -> Option<String> {
    (together.draws > 1).then(|| {
        format!(
            "WARNING: the privacy ledger knows {} earlier draw(s) on these images; together with this run they guarantee only \
             epsilon = {:.3} at delta = {delta:e} for {}, {}",
            together.draws - 1,
            together.epsilon,
            together.adjacency.protected(),
            together.adjacency
        )
    })
}

/// The name of a mechanism in cache keys and ledger: everything that protected moments depend on but data and encoder. `second` is
/// the second moment that is estimated from them.
///
/// # Errors
/// [`Error::Usage`] if the settings have no JSON form.
pub fn fingerprint(claim: &PrivacyGuarantee, settings: &PrivacySettings, second: SecondMoment) -> Result<String> {
    serde_json::to_string(&(settings, second, claim.noise.noise_multiplier))
        .map_err(|e| Error::usage(format!("the privacy settings have no JSON form: {e}")).into())
}

#[cfg(test)]
mod tests {
    use super::super::release::Shares;
    use super::*;

    #[test]
    fn other_noise_and_other_second_moments_have_another_name() {
        let name = |epsilon: f64, second: SecondMoment| {
            let settings = PrivacySettings { epsilon: Some(epsilon), ..PrivacySettings::default() };
            let budget = Budget::of(&settings).unwrap().unwrap();
            let noise = NoisePlan::new(budget, settings.adjacency, Shares::whole(10)).unwrap();
            fingerprint(&PrivacyGuarantee::new(&settings, budget, &noise, None, 60_000), &settings, second).unwrap()
        };
        let variance = name(1.0, SecondMoment::Variance);
        assert_eq!(variance, name(1.0, SecondMoment::Variance));
        assert_ne!(variance, name(1.0, SecondMoment::Square));
        assert_ne!(variance, name(0.5, SecondMoment::Variance));
    }

    #[test]
    fn draws_add_up() {
        let settings = PrivacySettings { epsilon: Some(0.2), ..PrivacySettings::default() };
        let budget = Budget::of(&settings).unwrap().unwrap();
        let noise = NoisePlan::new(budget, settings.adjacency, Shares::whole(1)).unwrap();
        let draw = PrivacyGuarantee::new(&settings, budget, &noise, None, 6000).draw();
        assert_eq!(composition_warning(&composition::total(&[draw], 1e-5), 1e-5), None);
        let warning = composition_warning(&composition::total(&[draw, draw], 1e-5), 1e-5).unwrap();
        // Twice the rho: 0.29177 by the formula in numbers of 50 digits.
        assert!(warning.contains("epsilon = 0.292"), "{warning}");
    }

    #[test]
    fn the_claim_in_numbers_bears_checking() {
        let settings = PrivacySettings { epsilon: Some(1.0), ..PrivacySettings::default() };
        let budget = Budget::of(&settings).unwrap().unwrap();
        let noise = NoisePlan::new(budget, settings.adjacency, Shares::whole(10)).unwrap();
        PrivacyGuarantee::new(&settings, budget, &noise, None, 60_000).claim("cifar10", None).verify().unwrap();
    }
}
