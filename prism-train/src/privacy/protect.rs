//! From clients' images to the protected moments that training reads, exactly once a run.
//!
//! ```text
//! local    client k:  exact sums + whole noise  ->  estimate  ->  clients/k/moments          (one-shot: combined)
//! secagg   client k:  exact sums + its share    ->  sum over clients  ->  estimate  ->  run's own moments, for everybody
//! ```
//!
//! The ledger is written before the first draw. What was drawn is kept with the run; a resumed run reads it again and never
//! draws a second time for a client whose moments are there.

use std::path::{Path, PathBuf};

use candle_core::Device;
use prism_core::Error;
use prism_nn::Result;
use prism_nn::encoder::Encoder;

use super::accounting::Budget;
use super::claim::{self, Claim};
use super::estimate::{Noisy, PRESENT};
use super::features::{CONSTANT, VectorMap};
use super::gaussian::NoiseSource;
use super::ledger;
use super::message;
use super::release::{NoisePlan, Sums, add_noise, exact_sums};
use super::settings::{Adjacency, PrivacySettings, Trust};
use crate::data::Dataset;
use crate::federation::Regime;
use crate::groups::Groups;
use crate::moments::ClientMoments;
use crate::run::client_files::{self, MomentsKey};

/// How a run's images are protected.
pub struct Protection {
    settings: PrivacySettings,
    budget: Budget,
    map: VectorMap,
    noise: NoisePlan,
    claim: Claim,
    fingerprint: String,
}

/// Everything that holds images.
pub struct Holders<'a> {
    /// The frozen encoder.
    pub encoder: &'a Encoder,
    /// All images.
    pub data: &'a Dataset,
    /// The image numbers of each client.
    pub members: &'a [Vec<usize>],
    /// Whether moments are per class.
    pub conditional: bool,
    /// Which images' moments are matched together; protected ones are only told apart by class.
    pub groups: &'a Groups,
    /// Where to compute.
    pub device: &'a Device,
}

/// Where the moments of a run are kept.
pub struct Places {
    /// The run folder.
    pub run: PathBuf,
    /// Each client's own folder.
    pub clients: Vec<PathBuf>,
    /// The folder of moments that all share.
    pub shared: PathBuf,
}

impl Protection {
    /// Plans the noise for `budget` and checks everything that can be checked before an image is read.
    ///
    /// # Errors
    /// [`Error::Usage`] if a setting is outside its limits, or a client is too small for the budget.
    pub fn plan(settings: &PrivacySettings, budget: Budget, holders: &Holders<'_>) -> Result<Self> {
        let images: Vec<usize> = holders.members.iter().map(Vec::len).collect();
        let shares = match settings.dp_trust {
            Trust::Local => 1,
            Trust::Secagg => images.len() as u32,
        };
        check_deltas(settings, &images)?;
        let shape = (holders.data.image_size(), holders.data.channels());
        let scales = (settings.dp_clip, settings.dp_lambda);
        // The grid depends on the budget, the budget's share on the number of coordinates, that on the encoder alone.
        let mut map = VectorMap::new(holders.encoder, shape, settings.dp_features, scales, 1, holders.device)?;
        let groups = if holders.conditional { holders.data.classes().max(1) } else { 1 };
        let noise = NoisePlan::new(budget, settings.dp_adjacency, shares, groups * map.dimensions())?;
        map.clip_units = noise.clip_units;
        let claim = Claim::new(settings, budget, &noise, &images);
        let fingerprint = claim::fingerprint(&claim, settings)?;
        let protection = Protection { settings: settings.clone(), budget, map, noise, claim, fingerprint };
        protection.check_sizes(&images)?;
        Ok(protection)
    }

    /// The guarantee.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// What tells these moments from raw ones and from those of other settings.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Refuses clients whose weight could not stand out of the noise even if all their images were of one class.
    fn check_sizes(&self, images: &[usize]) -> Result<()> {
        if self.settings.dp_adjacency == Adjacency::AddRemove {
            return Ok(());
        }
        let deviation = self.noise.variance().sqrt() * self.map.unit() / CONSTANT;
        let least = (PRESENT * deviation).ceil() as usize;
        let refuse = |whose: String, images: usize, more: &str| {
            Err(Error::usage(format!(
                "{whose} {images} images, too few for --dp-epsilon {}: their moments would drown in the noise; it takes more than \
                 {least}, a larger epsilon, {more}",
                self.budget.epsilon()
            ))
            .into())
        };
        match self.settings.dp_trust {
            Trust::Secagg if images.iter().sum::<usize>() <= least => {
                refuse("all clients together hold".into(), images.iter().sum(), "or --dp-features pooled")
            }
            Trust::Secagg => Ok(()),
            Trust::Local => match images.iter().position(|&n| n <= least) {
                Some(client) => refuse(format!("client {client} holds"), images[client], "or --dp-trust secagg"),
                None => Ok(()),
            },
        }
    }

    /// Makes sure that every protected moment exists, drawing those that do not. Returns the moments that all share (none where each
    /// client has its own in its folder), and the bytes that clients sent for them in this process.
    ///
    /// # Errors
    /// If the ledger or a folder cannot be written, a file is foreign, or nothing stands out of the noise.
    pub fn protect(
        &self,
        holders: &Holders<'_>,
        places: &Places,
        regime: Regime,
        say: &dyn Fn(String),
    ) -> Result<(Option<ClientMoments>, u64)> {
        let shared = self.settings.dp_trust == Trust::Secagg || regime == Regime::OneShot;
        match shared {
            true => self.protect_shared(holders, places, say),
            false => self.protect_each(holders, places, say),
        }
    }

    fn protect_shared(
        &self,
        holders: &Holders<'_>,
        places: &Places,
        say: &dyn Fn(String),
    ) -> Result<(Option<ClientMoments>, u64)> {
        let all: Vec<usize> = holders.members.iter().flat_map(|m| m.iter().copied().chain([usize::MAX])).collect();
        let key = self.key(holders, &all);
        if let Some(moments) = client_files::load_moments(&places.shared, &key, holders.device)? {
            return Ok((Some(moments), 0));
        }
        self.record(holders, places, say)?;
        let mut messages = Vec::with_capacity(holders.members.len());
        for (client, members) in holders.members.iter().enumerate() {
            say(format!("client {client} measures its {} images and adds noise", members.len()));
            messages.push(self.message(holders, members, holders.members)?);
        }
        let uplink_bytes = messages.iter().map(|message| message.len() as u64).sum();
        let noisy = self.gather(&messages, holders)?;
        let Some(moments) = noisy.estimate(&self.map, holders.device)? else {
            return Err(self.drowned("all clients together"));
        };
        client_files::save_moments(&places.shared, &key, &moments)?;
        Ok((Some(moments), uplink_bytes))
    }

    fn protect_each(
        &self,
        holders: &Holders<'_>,
        places: &Places,
        say: &dyn Fn(String),
    ) -> Result<(Option<ClientMoments>, u64)> {
        let mut recorded = false;
        for (client, (members, folder)) in holders.members.iter().zip(&places.clients).enumerate() {
            let key = self.key(holders, members);
            if client_files::load_moments(folder, &key, holders.device)?.is_some() {
                continue;
            }
            if !recorded {
                self.record(holders, places, say)?;
                recorded = true;
            }
            say(format!("client {client} measures its {} images and adds noise", members.len()));
            let noisy = self.noisy(self.release(holders, members)?, 1);
            let Some(moments) = noisy.estimate(&self.map, holders.device)? else {
                return Err(self.drowned(&format!("client {client}")));
            };
            client_files::save_moments(folder, &key, &moments)?;
        }
        Ok((None, 0))
    }

    /// One client's exact sums with its share of the noise.
    fn release(&self, holders: &Holders<'_>, members: &[usize]) -> Result<Sums> {
        let Holders { encoder, data, conditional, device, .. } = *holders;
        let mut sums = exact_sums(encoder, &self.map, data, members, conditional, device)?;
        add_noise(&mut sums, &self.noise, NoiseSource::OperatingSystem)?;
        Ok(sums)
    }

    /// What one client sends to the server that trains alone, or into the secure sum.
    fn message(&self, holders: &Holders<'_>, members: &[usize], all: &[Vec<usize>]) -> Result<Vec<u8>> {
        let sums = self.release(holders, members)?;
        Ok(match self.settings.dp_trust {
            Trust::Local => message::encode_noisy(&sums, self.noise.share_sigma),
            Trust::Secagg => message::encode_ring(&sums, self.ring_bits(all)),
        })
    }

    /// Bits in which a sum over all clients cannot wrap around: every image's coordinate at its bound, and the noise.
    fn ring_bits(&self, all: &[Vec<usize>]) -> u32 {
        let images: usize = all.iter().map(Vec::len).sum();
        let noise = 40.0 * self.noise.variance().sqrt();
        let most = images as f64 * self.noise.clip_units as f64 + noise;
        2 + most.log2().ceil() as u32
    }

    /// What the server makes of the messages.
    fn gather(&self, messages: &[Vec<u8>], holders: &Holders<'_>) -> Result<Noisy> {
        let shape = (self.groups(holders), self.map.dimensions());
        match self.settings.dp_trust {
            Trust::Secagg => {
                let bits = self.ring_bits(holders.members);
                Ok(self.noisy(message::sum_ring(messages, bits, shape)?, self.noise.shares))
            }
            Trust::Local => {
                let decode = |bytes: &Vec<u8>| Ok(self.noisy(message::decode_noisy(bytes, shape)?, 1));
                let releases = messages.iter().map(decode).collect::<Result<Vec<_>>>()?;
                Ok(Noisy::combine(&releases, &self.map))
            }
        }
    }

    fn noisy(&self, sums: Sums, draws: u32) -> Noisy {
        let variance = (self.noise.share_sigma as f64).powi(2) * f64::from(draws);
        Noisy { variance: vec![variance; sums.len()], sums }
    }

    fn groups(&self, holders: &Holders<'_>) -> usize {
        if holders.conditional && holders.data.labels().is_some() { holders.data.classes() } else { 1 }
    }

    /// What the moments of the images `members` are kept under.
    fn key(&self, holders: &Holders<'_>, members: &[usize]) -> MomentsKey {
        MomentsKey {
            data: holders.data.digest().to_string(),
            members: crate::hash::of_numbers(members),
            encoder: holders.encoder.digest().to_string(),
            conditional: holders.conditional,
            styles: 1,
            privacy: self.fingerprint.clone(),
        }
    }

    /// Writes the draw into the ledger and says aloud what earlier ones cost.
    fn record(&self, holders: &Holders<'_>, places: &Places, say: &dyn Fn(String)) -> Result<()> {
        record(&self.settings, &self.claim, (holders.data.digest(), &self.fingerprint), &places.run, say)
    }

    fn drowned(&self, whose: &str) -> prism_nn::Error {
        Error::usage(format!(
            "no class of {whose} stands out of the noise at --dp-epsilon {}; choose a larger epsilon, fewer clients, or \
             --dp-trust secagg (this draw is spent: it is in the ledger)",
            self.budget.epsilon()
        ))
        .into()
    }
}

/// Writes the draw that `claim` speaks of into the ledger and says aloud what earlier ones on the same data cost.
///
/// # Errors
/// If the ledger cannot be read or written. Nothing may then be drawn.
pub fn record(
    settings: &PrivacySettings,
    claim: &Claim,
    (data, mechanism): (&str, &str),
    run: &Path,
    say: &dyn Fn(String),
) -> Result<()> {
    let beside = || run.parent().unwrap_or(Path::new("")).join("privacy-ledger.jsonl");
    let path = settings.dp_ledger.clone().unwrap_or_else(beside);
    let entry = ledger::Entry::now(run, data, mechanism, (claim.epsilon, claim.delta), claim.rho);
    let earlier = ledger::record(&path, &entry)?;
    if let Some(warning) = claim::composition_warning(&earlier, claim.rho, claim.delta) {
        say(format!("{warning} ({})", path.display()));
    }
    Ok(())
}

fn check_deltas(settings: &PrivacySettings, images: &[usize]) -> Result<()> {
    match settings.dp_trust {
        Trust::Secagg => settings.check_delta(images.iter().sum(), "all clients"),
        Trust::Local => {
            images.iter().enumerate().try_for_each(|(client, &n)| settings.check_delta(n, &format!("client {client}")))
        }
    }
}
