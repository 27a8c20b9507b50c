//! A small federation of public images, whose clients release by what every client calls.

use std::sync::Arc;

use candle_core::Device;
use prism_nn::Result;
use prism_nn::encoder::Encoder;

use super::Subject;
use crate::agreement::{Agreement, DataDescription};
use crate::privacy::accounting::Budget;
use crate::privacy::features::{ENCODER_BATCH, encode};
use crate::privacy::gaussian::{CHUNK, NoiseSource};
use crate::privacy::histograms::Histograms;
use crate::privacy::mechanism::PrivacyMechanism;
use crate::privacy::release::{NoisePlan, Sums, exact_sums};
use crate::settings::Settings;
use crate::settings::privacy::{Adjacency, FeatureSet, Trust};
use crate::strata::{ClientData, Strata, Thresholds};
use prism_data::Dataset;

/// Side of its images.
pub(super) const IMAGE_SIZE: usize = 16;

/// Images that it may hold.
const MOST_IMAGES: usize = 1000;

/// What an audit is of.
#[derive(Clone, Copy, Debug)]
pub struct Audit {
    /// The claim.
    pub budget: Budget,
    /// What neighbours differ in.
    pub adjacency: Adjacency,
    /// Clients whose noise adds up.
    pub shares: u32,
}

/// Clients' way from images to noisy sums, as it is or with a planted mistake.
pub(super) struct Federation<'a> {
    pub agreement: Agreement,
    encoder: &'a Encoder,
    subject: Subject,
    mechanism: PrivacyMechanism,
    histograms: Option<Histograms>,
}

impl<'a> Federation<'a> {
    /// One of `classes` classes, each divided into `subclasses`, that releases features over so many cells a side.
    pub fn new(
        audit: &Audit,
        (classes, subclasses, cells): (usize, usize, usize),
        encoder: &'a Encoder,
        subject: Subject,
    ) -> Result<Self> {
        let agreement = agreement(audit, (classes, subclasses, cells));
        let mut mechanism = PrivacyMechanism::new(&agreement, audit.budget, encoder, &Device::Cpu)?;
        let (map, noise) = (&mut mechanism.map, &mut mechanism.noise);
        match subject {
            Subject::LooseClip => map.clip_units = map.clip_units * 114 / 100,
            Subject::SmallNoise => noise.share_sigma = noise.share_sigma * 88 / 100,
            Subject::WholeBudgetTwice => {
                *noise = NoisePlan::new(audit.budget, audit.adjacency, noise.shares)?;
                map.clip_units = noise.clip_units;
            }
            _ => {}
        }
        let subclasses = agreement.settings.training.subclasses()?;
        let noise = mechanism.histogram_noise();
        let histograms = noise.map(|noise| Histograms { classes, subclasses, images: MOST_IMAGES, noise: Some(noise) });
        Ok(Federation { agreement, encoder, subject, mechanism, histograms })
    }

    /// Where classes divide, from the clients' histograms.
    pub fn thresholds(&self, histograms: &[Sums]) -> Result<Thresholds> {
        let Some(own) = &self.histograms else { return Ok(Thresholds::new()) };
        let mut sum = own.empty();
        histograms.iter().try_for_each(|sums| sum.add(&own.encode(sums)))?;
        Ok(own.thresholds(sum))
    }

    /// The first release of every client; none where classes are not divided.
    pub fn histograms(&self, clients: &[ClientData], source: NoiseSource) -> Result<Vec<Sums>> {
        let Some(histograms) = &self.histograms else { return Ok(Vec::new()) };
        let release = |(k, data): (usize, &ClientData)| {
            let released = histograms.release_by(source.number(2 * k as u64), data)?;
            self.spoil(k, released, || Ok(histograms.exact_sums(data)), self.subject == Subject::ExactMedians)
        };
        clients.iter().enumerate().map(release).collect()
    }

    /// The release of moments of every client.
    pub fn moments(&self, clients: &[ClientData], thresholds: &Thresholds, source: NoiseSource) -> Result<Vec<Sums>> {
        let device = Device::Cpu;
        let release = |(k, data): (usize, &ClientData)| {
            let twice = |&image: &usize| [image, image].into_iter().take(1 + usize::from(image == data.members[0]));
            let counted_twice = ClientData { members: data.members.iter().flat_map(twice).collect(), ..data.clone() };
            let data = if self.subject == Subject::CountedTwice { &counted_twice } else { data };
            let strata = self.strata(data, thresholds)?;
            let source = source.number(2 * k as u64 + 1);
            let (released, _) = self.mechanism.release_by(source, self.encoder, (data, &strata), &device)?;
            let exact = || Ok(exact_sums(self.encoder, &self.mechanism.map, &data.dataset, &strata, &device)?.0);
            self.spoil(k, released, exact, self.subject == Subject::Overwritten)
        };
        clients.iter().enumerate().map(release).collect()
    }

    /// The vectors of images in grid units, which the auditor knows.
    pub fn vectors(&self, data: &Dataset) -> Result<Vec<Vec<i64>>> {
        let mut vectors = Vec::new();
        let all: Vec<usize> = (0..data.len()).collect();
        for batch in all.chunks(ENCODER_BATCH) {
            let mut own = Vec::new();
            let features = encode(self.encoder, data, batch, &Device::Cpu)?;
            self.mechanism.map.vectors(&features, &mut own)?;
            vectors.append(&mut own);
        }
        Ok(vectors)
    }

    /// Standard deviation of the whole noise of the moments.
    pub fn deviation(&self) -> f64 {
        self.mechanism.noise.variance().sqrt()
    }

    fn strata(&self, data: &ClientData, thresholds: &Thresholds) -> Result<Strata> {
        Ok(Strata::new(data, self.agreement.classes(), self.agreement.settings.training.subclasses()?, thresholds))
    }

    /// What a mistake makes of client `k`'s release: nothing if it has none.
    fn spoil(&self, k: usize, released: Sums, exact: impl Fn() -> Result<Sums>, exact_instead: bool) -> Result<Sums> {
        match self.subject {
            _ if exact_instead => exact(),
            Subject::MissingShare if k == 0 => exact(),
            Subject::OneKeystream => {
                let exact = exact()?;
                let noise: Vec<i64> =
                    pairs(&released, &exact).map(|(noisy, exact)| noisy - exact).take(CHUNK).collect();
                let mut noise = noise.iter().cycle();
                let mut add = |x: &i64| x + noise.next().copied().unwrap_or(0);
                Ok(exact.iter().map(|group| group.iter().map(&mut add).collect()).collect())
            }
            _ => Ok(released),
        }
    }
}

/// The numbers of two sums, side by side.
pub(super) fn pairs<'a>(a: &'a Sums, b: &'a Sums) -> impl Iterator<Item = (i64, i64)> + 'a {
    a.iter().flatten().copied().zip(b.iter().flatten().copied())
}

/// All images of `data`, with the first client; the others hold none.
pub(super) fn held_by_the_first(data: Dataset, shares: u32) -> Vec<ClientData> {
    let first = ClientData::whole(data);
    let none = ClientData { members: Vec::new(), dataset: Arc::clone(&first.dataset) };
    let mut clients = vec![none; shares as usize];
    clients[0] = first;
    clients
}

fn agreement(audit: &Audit, (classes, subclasses, cells): (usize, usize, usize)) -> Agreement {
    let mut settings = Settings::default();
    settings.federation.clients = audit.shares;
    (settings.model.image_size, settings.training.subclasses) = (IMAGE_SIZE, subclasses);
    settings.privacy.epsilon = Some(audit.budget.epsilon());
    (settings.privacy.delta, settings.privacy.adjacency) = (audit.budget.delta(), audit.adjacency);
    settings.privacy.features = FeatureSet::Grid(cells);
    settings.privacy.trust = if audit.shares > 1 { Trust::SECAGG } else { Trust::Local };
    let class_names = (0..classes).map(|class| class.to_string()).collect();
    let (name, partition) = ("audit".into(), "iid".into());
    Agreement { settings, data: DataDescription { name, channels: 1, class_names, images: MOST_IMAGES, partition } }
}
