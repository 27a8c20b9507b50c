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
use prism_nn::generator::Styles;

use super::accounting::Budget;
use super::claim::{self, Claim};
use super::estimate::{Noisy, PRESENT};
use super::features::{CONSTANT, VectorMap};
use super::gaussian::NoiseSource;
use super::ledger;
use super::message;
use super::release::{NoisePlan, Sums, add_noise, exact_sums};
use super::settings::{Adjacency, PrivacySettings, Trust};
use super::thresholds::{self, Thresholds};
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
    /// Noise of the thresholds between styles, where there are any.
    parting: Option<(Styles, NoisePlan)>,
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
    /// Where to compute.
    pub device: &'a Device,
}

/// What training gets.
pub struct Released {
    /// The moments that all share; none where each client has its own in its folder.
    pub moments: Option<ClientMoments>,
    /// Which images were summed up together.
    pub groups: Groups,
    /// Bytes that clients sent, now or before a run was interrupted.
    pub uplink_bytes: u64,
}

/// What it took to agree on where classes part.
#[derive(Default)]
struct Parted {
    /// Bytes that clients sent.
    sent: u64,
    /// Whether this process wrote the run's draw into the ledger for it.
    recorded: bool,
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
    pub fn plan(settings: &PrivacySettings, budget: Budget, styles: Styles, holders: &Holders<'_>) -> Result<Self> {
        let images: Vec<usize> = holders.members.iter().map(Vec::len).collect();
        let shares = match settings.dp_trust {
            Trust::Local => 1,
            Trust::Secagg => images.len() as u32,
        };
        check_deltas(settings, &images)?;
        let shape = (holders.data.image_size(), holders.data.channels());
        // The grid depends on the budget, the budget's share on the number of coordinates, that on the encoder alone.
        let mut map =
            VectorMap::new(holders.encoder, shape, settings.dp_features, settings.dp_lambda, 1, holders.device)?;
        let classes = classes(holders);
        let plan = |part, dimensions| NoisePlan::within(budget, part, settings.dp_adjacency, shares, dimensions);
        let parting = match styles.bits() {
            0 => None,
            _ => Some((styles, plan(thresholds::SHARE, thresholds::dimensions(classes, styles))?)),
        };
        let left = if parting.is_some() { 1.0 - thresholds::SHARE } else { 1.0 };
        let noise = plan(left, classes * styles.count() * map.dimensions())?;
        map.clip_units = noise.clip_units;
        let claim = Claim::new(settings, budget, &noise, parting.as_ref().map(|(_, plan)| plan), &images);
        let fingerprint = claim::fingerprint(&claim, settings)?;
        let protection = Protection { settings: settings.clone(), budget, map, noise, parting, claim, fingerprint };
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
                refuse("all clients together hold".into(), images.iter().sum(), "or more clients")
            }
            Trust::Secagg => Ok(()),
            Trust::Local => match images.iter().position(|&n| n <= least) {
                Some(client) => refuse(format!("client {client} holds"), images[client], "or --dp-trust secagg"),
                None => Ok(()),
            },
        }
    }

    /// Makes sure that every protected moment exists, drawing those that do not.
    ///
    /// # Errors
    /// If the ledger or a folder cannot be written, a file is foreign, or nothing stands out of the noise.
    pub fn protect(
        &self,
        holders: &Holders<'_>,
        places: &Places,
        regime: Regime,
        say: &dyn Fn(String),
    ) -> Result<Released> {
        let (groups, parted) = self.groups(holders, places, say)?;
        // Thresholds that were just drawn are in the ledger together with what follows now.
        let record = || if parted.recorded { Ok(()) } else { self.record(holders, places, say) };
        let moments = match self.shares(regime) {
            true => Some(self.protect_shared(holders, &groups, places, &record, say)?),
            false => {
                self.protect_each(holders, &groups, places, &record, say)?;
                None
            }
        };
        let uplink_bytes = parted.sent + moments.as_ref().map_or(0, ClientMoments::sent);
        Ok(Released { moments, groups, uplink_bytes })
    }

    /// Whether all train on the same moments.
    fn shares(&self, regime: Regime) -> bool {
        self.settings.dp_trust == Trust::Secagg || regime == Regime::OneShot
    }

    /// What the moments that all train on are kept under; none where each client has its own.
    pub fn moments_key(&self, holders: &Holders<'_>, regime: Regime) -> Option<MomentsKey> {
        self.shares(regime).then(|| self.shared_key(holders))
    }

    fn shared_key(&self, holders: &Holders<'_>) -> MomentsKey {
        let all: Vec<usize> = holders.members.iter().flat_map(|m| m.iter().copied().chain([usize::MAX])).collect();
        self.key(holders, crate::hash::of_numbers(&all))
    }

    /// Which images are summed up together, and what it took to agree on it.
    fn groups(&self, holders: &Holders<'_>, places: &Places, say: &dyn Fn(String)) -> Result<(Groups, Parted)> {
        let Holders { data, members, conditional, .. } = *holders;
        let Some((styles, noise)) = &self.parting else {
            return Ok((Groups::new(data, conditional, Styles::default()), Parted::default()));
        };
        let path = client_files::thresholds_path(&places.shared);
        let key = format!("{} {}", data.digest(), self.fingerprint);
        let shape = (classes(holders), *styles);
        let (thresholds, recorded) = match Thresholds::load(&path, &key, shape)? {
            Some(found) => (found, false),
            None => {
                self.record(holders, places, say)?;
                say(format!("all clients agree on where classes part into {} styles, with noise", styles.count()));
                let (values, sent) = thresholds::draw(data, members, shape, (noise, self.settings.dp_trust))?;
                let drawn = Thresholds { key, values, sent };
                drawn.save(&path)?;
                (drawn, true)
            }
        };
        let groups = Groups::beyond(data, conditional, *styles, &thresholds.values);
        Ok((groups, Parted { sent: thresholds.sent, recorded }))
    }

    fn protect_shared(
        &self,
        holders: &Holders<'_>,
        groups: &Groups,
        places: &Places,
        record: &dyn Fn() -> Result<()>,
        say: &dyn Fn(String),
    ) -> Result<ClientMoments> {
        let key = self.shared_key(holders);
        if let Some(moments) = client_files::load_moments(&places.shared, &key, groups.count(), holders.device)? {
            return Ok(moments);
        }
        record()?;
        let mut messages = Vec::with_capacity(holders.members.len());
        for (client, members) in holders.members.iter().enumerate() {
            say(format!("client {client} measures its {} images and adds noise", members.len()));
            messages.push(self.message(holders, groups, members)?);
        }
        let sent = messages.iter().map(|message| message.len() as u64).sum();
        let noisy = self.gather(&messages, holders, groups)?;
        let Some(moments) = noisy.estimate(&self.map, self.settings.dp_second, holders.device)? else {
            return Err(self.drowned("all clients together"));
        };
        let moments = moments.with_sent(sent);
        client_files::save_moments(&places.shared, &key, &moments)?;
        Ok(moments)
    }

    fn protect_each(
        &self,
        holders: &Holders<'_>,
        groups: &Groups,
        places: &Places,
        record: &dyn Fn() -> Result<()>,
        say: &dyn Fn(String),
    ) -> Result<()> {
        let mut recorded = false;
        for (client, (members, folder)) in holders.members.iter().zip(&places.clients).enumerate() {
            let key = self.key(holders, groups.digest(members));
            if client_files::load_moments(folder, &key, groups.count(), holders.device)?.is_some() {
                continue;
            }
            if !recorded {
                record()?;
                recorded = true;
            }
            say(format!("client {client} measures its {} images and adds noise", members.len()));
            let noisy = self.noisy(self.release(holders, groups, members)?, 1);
            let Some(moments) = noisy.estimate(&self.map, self.settings.dp_second, holders.device)? else {
                return Err(self.drowned(&format!("client {client}")));
            };
            client_files::save_moments(folder, &key, &moments)?;
        }
        Ok(())
    }

    /// One client's exact sums with its share of the noise.
    fn release(&self, holders: &Holders<'_>, groups: &Groups, members: &[usize]) -> Result<Sums> {
        let Holders { encoder, data, device, .. } = *holders;
        let mut sums = exact_sums(encoder, &self.map, data, members, groups, device)?;
        add_noise(&mut sums, &self.noise, NoiseSource::OperatingSystem)?;
        Ok(sums)
    }

    /// What one client sends to the server that trains alone, or into the secure sum.
    fn message(&self, holders: &Holders<'_>, groups: &Groups, members: &[usize]) -> Result<Vec<u8>> {
        let sums = self.release(holders, groups, members)?;
        let images = holders.members.iter().map(Vec::len).sum();
        Ok(match self.settings.dp_trust {
            Trust::Local => message::encode_noisy(&sums, self.noise.share_sigma),
            Trust::Secagg => message::encode_ring(&sums, self.noise.ring_bits(images)),
        })
    }

    /// What the server makes of the messages.
    fn gather(&self, messages: &[Vec<u8>], holders: &Holders<'_>, groups: &Groups) -> Result<Noisy> {
        let shape = (groups.count(), self.map.dimensions());
        match self.settings.dp_trust {
            Trust::Secagg => {
                let bits = self.noise.ring_bits(holders.members.iter().map(Vec::len).sum());
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

    /// What the moments of the images with the digest `members` are kept under.
    fn key(&self, holders: &Holders<'_>, members: String) -> MomentsKey {
        MomentsKey {
            data: holders.data.digest().to_string(),
            members,
            encoder: holders.encoder.digest().to_string(),
            conditional: holders.conditional,
            styles: self.parting.as_ref().map_or(1, |(styles, _)| styles.count()),
            privacy: self.fingerprint.clone(),
        }
    }

    /// Writes the draw into the ledger and says aloud what earlier ones cost.
    fn record(&self, holders: &Holders<'_>, places: &Places, say: &dyn Fn(String)) -> Result<()> {
        record(&self.settings, &self.claim, (holders.data.digest(), &self.fingerprint), &places.run, say)
    }

    fn drowned(&self, whose: &str) -> prism_nn::Error {
        let remedy = match self.settings.dp_trust {
            Trust::Local => "fewer clients, or --dp-trust secagg",
            Trust::Secagg => "or more images",
        };
        Error::usage(format!(
            "no class of {whose} stands out of the noise at --dp-epsilon {}; choose a larger epsilon, {remedy} (this draw is spent: \
             it is in the ledger)",
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
    // However the folder is called, `.` among others, its ledger is the same.
    let whole = std::fs::canonicalize(run).unwrap_or_else(|_| run.to_path_buf());
    let beside = || whole.parent().unwrap_or(Path::new("")).join("privacy-ledger.jsonl");
    let path = settings.dp_ledger.clone().unwrap_or_else(beside);
    let entry = ledger::Entry::now(run, data, mechanism, (claim.epsilon, claim.delta), claim.rho);
    let earlier = ledger::record(&path, &entry)?;
    if let Some(warning) = claim::composition_warning(&earlier, claim) {
        say(format!("{warning} ({})", path.display()));
    }
    Ok(())
}

/// Classes that are told apart: 1 where none are.
fn classes(holders: &Holders<'_>) -> usize {
    if holders.conditional && holders.data.labels().is_some() { holders.data.classes() } else { 1 }
}

fn check_deltas(settings: &PrivacySettings, images: &[usize]) -> Result<()> {
    match settings.dp_trust {
        Trust::Secagg => settings.check_delta(images.iter().sum(), "all clients"),
        Trust::Local => {
            images.iter().enumerate().try_for_each(|(client, &n)| settings.check_delta(n, &format!("client {client}")))
        }
    }
}
