//! The release of a client's moments, once in its life: what it draws, what it sends, and what is made of it.
//!
//! ```text
//! local    client k:  exact sums + the whole noise  ->  its moments           (or a message, where the server trains alone)
//! secagg   client k:  exact sums + its share        ->  message; the sum over clients  ->  the moments that all train on
//! ```

use candle_core::Device;
use prism_core::Error;
use prism_nn::encoder::Encoder;
use prism_nn::{Result, SecondMoment};

use super::accounting::{Budget, check_delta};
use super::estimate::{Noisy, PRESENT};
use super::features::{CONSTANT, VectorMap};
use super::gaussian::NoiseSource;
use super::guarantee::{self, PrivacyGuarantee};
use super::histograms;
use super::message::{self, MessageSum};
use super::release::{NoisePlan, Shares, Sums, add_noise, exact_sums};
use crate::agreement::Agreement;
use crate::moments::ClientMoments;
use crate::settings::privacy::{Adjacency, PrivacySettings, Trust};
use crate::strata::{ClientData, Strata};

/// How clients' moments are protected.
pub struct PrivacyMechanism {
    settings: PrivacySettings,
    second: SecondMoment,
    pub(super) map: VectorMap,
    pub(super) noise: NoisePlan,
    /// Noise of the histograms by which classes are divided, where they are.
    histogram_noise: Option<NoisePlan>,
    claim: PrivacyGuarantee,
    fingerprint: String,
    images: usize,
}

impl PrivacyMechanism {
    /// Plans the noise for `budget`, and checks all that can be checked before an image is read.
    ///
    /// # Errors
    /// [`Error::Usage`] if a setting is outside its limits, or all clients together are too small for the budget.
    pub fn plan(agreement: &Agreement, budget: Budget, encoder: &Encoder, device: &Device) -> Result<Self> {
        let mechanism = Self::new(agreement, budget, encoder, device)?;
        if mechanism.settings.trust.is_secagg() {
            check_delta(budget.delta(), mechanism.images, "images of all clients")?;
            mechanism.check_count("all clients together hold", mechanism.images, "or more images")?;
        }
        Ok(mechanism)
    }

    /// The same, however few images there are.
    pub(super) fn new(agreement: &Agreement, budget: Budget, encoder: &Encoder, device: &Device) -> Result<Self> {
        let (training, model) = (&agreement.settings.training, &agreement.settings.model);
        let (settings, images) = (agreement.settings.privacy.clone(), agreement.data.images);
        let shares = Shares::of(settings.trust, agreement.settings.federation.clients);
        let shape = (model.image_size, agreement.data.channels);
        let mut map = VectorMap::new(encoder, shape, settings.features, 1, device)?;
        let plan = |part| NoisePlan::within(budget, part, settings.adjacency, shares);
        let divided = training.subclasses()?.bits() > 0;
        let histogram_noise = if divided { Some(plan(histograms::SHARE)?) } else { None };
        let noise = plan(if divided { 1.0 - histograms::SHARE } else { 1.0 })?;
        map.clip_units = noise.clip_units;
        let claim = PrivacyGuarantee::new(&settings, budget, &noise, histogram_noise.as_ref(), images);
        let second = training.objective.second();
        let fingerprint = guarantee::fingerprint(&claim, &settings, second)?;
        Ok(PrivacyMechanism { settings, second, map, noise, histogram_noise, claim, fingerprint, images })
    }

    /// The guarantee.
    pub fn claim(&self) -> &PrivacyGuarantee {
        &self.claim
    }

    /// What tells these moments from raw ones and from those of other settings.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whose noise protects a client.
    pub fn trust(&self) -> Trust {
        self.settings.trust
    }

    /// Noise of the histograms by which classes are divided, and who adds it; none where they are not divided.
    pub fn histogram_noise(&self) -> Option<(NoisePlan, Trust)> {
        self.histogram_noise.map(|plan| (plan, self.settings.trust))
    }

    /// Refuses a client of `images` images whose moments could not stand out of its own noise, or for which delta is too large.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the limit.
    pub fn check_client(&self, client: u32, images: usize) -> Result<()> {
        if self.settings.trust.is_secagg() {
            return Ok(());
        }
        check_delta(self.settings.delta, images, &format!("images of client {client}"))?;
        self.check_count(&format!("client {client} holds"), images, "or `trust` secagg")
    }

    /// Refuses a weight that could not stand out of the noise even if all images were of one class.
    fn check_count(&self, whose: &str, images: usize, more: &str) -> Result<()> {
        let deviation = self.noise.variance().sqrt() * self.map.unit() / CONSTANT;
        let least = (PRESENT * deviation).ceil() as usize;
        if matches!(self.settings.adjacency, Adjacency::AddRemove(_)) || images > least {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{whose} {images} images, too few for `epsilon` {}: their moments would be lost in the noise; it takes more than \
             {least}, a larger epsilon, {more}",
            self.claim.epsilon
        ))
        .into())
    }

    /// One client's exact sums with its share of the noise, drawn anew at every call: it spends the client's budget. Beside it, how many
    /// images have no finite features, which nobody but the client may learn.
    ///
    /// # Errors
    /// If the computation fails, there is no randomness, or the process is asked to stop.
    pub fn release(
        &self,
        encoder: &Encoder,
        data: &ClientData,
        strata: &Strata,
        device: &Device,
    ) -> Result<(Sums, usize)> {
        self.release_by(NoiseSource::OperatingSystem, encoder, (data, strata), device)
    }

    /// The same under the noise of `source`, by which an audit can play it again.
    pub(super) fn release_by(
        &self,
        source: NoiseSource,
        encoder: &Encoder,
        (data, strata): (&ClientData, &Strata),
        device: &Device,
    ) -> Result<(Sums, usize)> {
        let (mut sums, without) = exact_sums(encoder, &self.map, &data.dataset, strata, device)?;
        add_noise(&mut sums, &self.noise, source)?;
        Ok((sums, without))
    }

    /// The message that brings a release to a server which trains alone, or into the secure sum.
    pub fn encode(&self, release: &Sums) -> Vec<u8> {
        match self.settings.trust {
            Trust::Local => message::encode_noisy(release, self.noise.share_sigma),
            Trust::Secagg(_) => message::encode_ring(release, self.ring_bits()),
        }
    }

    fn ring_bits(&self) -> u32 {
        self.noise.ring_bits(self.images)
    }

    /// The secure sum of no messages, of `groups` groups.
    pub fn empty_sum(&self, groups: usize) -> MessageSum {
        MessageSum::of_ring((groups, self.map.dimensions()), self.ring_bits())
    }

    /// The message in which the secure sum goes back to the clients that train on it.
    pub fn encode_sum(&self, sum: &Sums) -> Vec<u8> {
        message::encode_ring(sum, self.ring_bits())
    }

    /// The moments behind a client's own release.
    ///
    /// # Errors
    /// If no class stands out of the noise, or the device has no room.
    pub fn own_moments(&self, release: Sums, client: u32, device: &Device) -> Result<ClientMoments> {
        self.estimate(&self.noisy(release, 1), &format!("client {client}"), device)
    }

    /// The moments behind the secure sum of all clients.
    ///
    /// # Errors
    /// As for [`PrivacyMechanism::own_moments`].
    pub fn shared_moments(&self, sum: Sums, device: &Device) -> Result<ClientMoments> {
        self.estimate(&self.noisy(sum, self.noise.shares.all), "all clients", device)
    }

    /// Refuses a client's own release that is none of `groups` groups.
    ///
    /// # Errors
    /// [`Error::Corrupt`] saying why.
    pub fn check_message(&self, message: &[u8], groups: usize) -> Result<()> {
        message::decode_noisy(message, (groups, self.map.dimensions())).map(drop)
    }

    /// The moments behind the clients' own releases, in the order of the clients.
    ///
    /// # Errors
    /// As for [`PrivacyMechanism::own_moments`], and if a message is not one of this federation.
    pub fn combined_moments<'a>(
        &self,
        messages: impl Iterator<Item = &'a [u8]>,
        groups: usize,
        device: &Device,
    ) -> Result<ClientMoments> {
        let shape = (groups, self.map.dimensions());
        let decode = |message| Ok(self.noisy(message::decode_noisy(message, shape)?, 1));
        let releases = messages.map(decode).collect::<Result<Vec<_>>>()?;
        self.estimate(&Noisy::combine(&releases, &self.map), "all clients", device)
    }

    fn noisy(&self, sums: Sums, draws: u32) -> Noisy {
        let variance = (self.noise.share_sigma as f64).powi(2) * f64::from(draws);
        Noisy { variance: vec![variance; sums.len()], sums }
    }

    fn estimate(&self, noisy: &Noisy, whose: &str, device: &Device) -> Result<ClientMoments> {
        noisy.estimate(&self.map, self.second, device)?.ok_or_else(|| {
            let remedy = match self.settings.trust {
                Trust::Local => "fewer clients, or `trust` secagg",
                Trust::Secagg(_) => "or more images",
            };
            Error::usage(format!(
                "no class of {whose} stands out of the noise at `epsilon` {}; choose a larger epsilon, {remedy} (this draw is \
                 spent: it is in the ledger)",
                self.claim.epsilon
            ))
            .into()
        })
    }
}
