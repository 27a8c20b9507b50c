//! A client before its first round: it answers the server's requests, and measures or draws its moments, once.
//!
//! What is drawn with noise is kept: a request that comes again is answered by the same bytes, and spends nothing.

use std::fs;
use std::path::{Path, PathBuf};

use prism_core::{Error, file};
use prism_nn::Result;
use serde::{Deserialize, Serialize};

use crate::context::{Privacy, RunContext};
use crate::moments::file::{MomentsSource, check_moments, load_moments, moments_path, save_moments};
use crate::moments::statistics::{self, GroupStatistics};
use crate::moments::{ClientMoments, unit};
use crate::observer::Observer;
use crate::privacy::guarantee::composition_warning;
use crate::privacy::ledger::Ledger;
use crate::privacy::message::decode_ring;
use crate::privacy::{PrivacyGuarantee, PrivacyMechanism};
use crate::protected;
use crate::secagg::server::encode_input;
use crate::secagg::{self, Input, Participant, Purpose, RingVector};
use crate::settings::privacy::Trust;
use crate::setup::{self, Phase, Request};
use crate::strata::{ClientData, Thresholds};

/// Most bytes of a kept reply.
const MAX_REPLY: u64 = 1 << 32;

/// A client's images and where it keeps what it knows.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The client's number.
    pub id: u32,
    /// The frozen networks and the agreement.
    pub context: &'a RunContext,
    /// Its images.
    pub data: &'a ClientData,
    /// Its folder.
    pub folder: &'a Path,
    /// Its privacy ledger, where it keeps one itself.
    pub ledger: Option<&'a Ledger>,
}

/// What a client was told before the first round.
#[derive(Default, Serialize, Deserialize)]
struct Start {
    thresholds: Thresholds,
}

impl Site<'_> {
    fn start_path(&self) -> PathBuf {
        self.folder.join("start.json")
    }

    /// What tells its images from others; it never leaves the folder.
    fn images_path(&self) -> PathBuf {
        self.folder.join("images.json")
    }

    fn reply_path(&self, phase: Phase) -> PathBuf {
        self.folder.join(format!("reply-{}.message", phase.name()))
    }

    /// The client in the secure sums for `purpose`.
    ///
    /// # Errors
    /// If a setting has no JSON form.
    pub fn participant(&self, purpose: Purpose) -> Result<Participant<'_>> {
        Ok(Participant { client: self.id, folder: self.folder, terms: self.context.sum_terms(purpose)? })
    }

    /// What its own moments are kept under.
    fn source(&self) -> MomentsSource {
        self.context.moments_source(self.data.digest())
    }

    /// Whether the client was not told, or has lost, what all agreed on before the first round.
    pub fn lacks_start(&self) -> bool {
        Phase::all_of(self.context).contains(&Phase::Start) && !self.start_path().exists()
    }

    /// The thresholds between subclasses, once the client was told.
    fn thresholds(&self) -> Result<Thresholds> {
        if self.context.histograms().is_none() {
            return Ok(Thresholds::new());
        }
        let path = self.start_path();
        if !path.exists() {
            return Err(Error::usage(format!(
                "client {} does not know yet how classes divide into subclasses (there is no {}); answer the server's setup \
                 requests first",
                self.id,
                path.display()
            ))
            .into());
        }
        let start: Start = serde_json::from_slice(&file::read_bounded(&path, 1 << 24)?)
            .map_err(|e| Error::corrupt(path.display().to_string(), e.to_string()))?;
        setup::check_thresholds(&start.thresholds, self.context)?;
        Ok(start.thresholds)
    }
}

/// The client's reply to the server's `request`.
///
/// # Errors
/// If the request is refused, the computation fails, or the folder cannot be written.
pub fn answer(site: &Site<'_>, request: &[u8], observer: &dyn Observer) -> Result<Vec<u8>> {
    if let Some(purpose) = secagg::message::purpose(request)? {
        return Ok(site.participant(purpose)?.answer(request)?);
    }
    let bytes = request;
    let request = Request::decode(bytes, site.context)?;
    make(site.folder)?;
    file::write_atomic(&site.images_path(), |out| Ok(serde_json::to_writer(out, &site.source())?))?;
    match request.phase.purpose(site.context) {
        Some(purpose) => summand(site, (bytes, &request), purpose, observer),
        None => reply(site, &request, observer),
    }
}

/// The client's part of a secure sum, blinded. What is under the blinds is drawn once, whatever attempt it goes into.
fn summand(
    site: &Site<'_>,
    (bytes, request): (&[u8], &Request),
    purpose: Purpose,
    observer: &dyn Observer,
) -> Result<Vec<u8>> {
    let participant = site.participant(purpose)?;
    let (width, count) = site.context.empty_sum(purpose).ok_or_else(|| unasked("sums"))?.ring_shape();
    let blinds = match participant.input((purpose, 0), width, &request.dealers, bytes)? {
        Input::Given(reply) => return Ok(reply),
        Input::Due(blinds) => blinds,
    };
    let part = decode_ring(&reply(site, request, observer)?, width, count)?;
    let mut vector = RingVector::new(width, part);
    vector.blind(&blinds.list);
    let reply = encode_input(&participant.newest(purpose)?, &vector);
    participant.keep_input(purpose, &request.dealers, bytes, &reply)?;
    Ok(reply)
}

/// The reply as it crosses the wire, or as it stays with the client where it goes into a secure sum.
fn reply(site: &Site<'_>, request: &Request, observer: &dyn Observer) -> Result<Vec<u8>> {
    let protected = site.context.mechanism().is_some();
    let kept = site.reply_path(request.phase);
    if protected && kept.exists() {
        return Ok(file::read_bounded(&kept, MAX_REPLY)?);
    }
    let reply = match request.phase {
        Phase::Subclasses => {
            let histograms = site.context.histograms().ok_or_else(|| unasked("subclasses"))?;
            record(site, observer)?;
            observer.on_event(&format!("client {} sends histograms of its images", site.id));
            histograms.message(site.data)?
        }
        Phase::Moments => moments_message(site, &request.thresholds, observer)?,
        Phase::Start => {
            start(site, request)?;
            return Ok(setup::acknowledgement());
        }
    };
    if protected {
        make(site.folder)?;
        file::write_atomic(&kept, |out| out.write_all(&reply))?;
    }
    Ok(reply)
}

/// The message of moments: exact ones, or a noisy release.
fn moments_message(site: &Site<'_>, thresholds: &Thresholds, observer: &dyn Observer) -> Result<Vec<u8>> {
    let Site { id, context, data, .. } = *site;
    let strata = context.strata(data, thresholds)?;
    let images = data.members.len();
    let Some(mechanism) = context.mechanism() else {
        observer.on_event(&format!("client {id} measures its {images} images"));
        let measured = statistics::measure(context.encoder(), data, &strata, context.device(), observer)?;
        warn_of_copies(site, &measured, observer);
        let most = context.agreement().settings.wire.message_size;
        return context.moments_form()?.encode(measured, most.bytes());
    };
    record(site, observer)?;
    observer.on_event(&format!("client {id} measures its images and adds noise"));
    let (release, without) = mechanism.release(context.encoder(), data, &strata, context.device())?;
    warn_of_odd_features(id, without, observer);
    Ok(mechanism.encode(&release))
}

/// Takes what all clients agreed on.
fn start(site: &Site<'_>, request: &Request) -> Result<()> {
    let context = site.context;
    make(site.folder)?;
    let text = Start { thresholds: request.thresholds.clone() };
    file::write_atomic(&site.start_path(), |out| Ok(serde_json::to_writer(out, &text)?))?;
    if let Some(mechanism) = context.mechanism().filter(|_| context.shares_moments()) {
        let mut sum = mechanism.empty_sum(context.group_count());
        sum.add(&request.sum)?;
        let moments = mechanism.shared_moments(sum.finish(), context.device())?;
        save_moments(site.folder, &site.source(), &moments)?;
    }
    Ok(())
}

/// The moments that the client trains on: from its folder, or measured now and kept there.
///
/// # Errors
/// If they cannot be read, measured or written, or only the server has them.
pub fn moments(site: &Site<'_>, observer: &dyn Observer) -> Result<ClientMoments> {
    let Site { id, context, data, folder, .. } = *site;
    let source = site.source();
    if let Some(found) = load_moments(folder, &source, context.group_count(), context.device())? {
        return Ok(found);
    }
    let strata = context.strata(data, &site.thresholds()?)?;
    let moments = match context.mechanism() {
        None => {
            let measured = statistics::measure(context.encoder(), data, &strata, context.device(), observer)?;
            warn_of_copies(site, &measured, observer);
            ClientMoments::new(measured, context.device())?
        }
        Some(mechanism) => own_release(site, mechanism, observer).map_err(|error| match mechanism.trust() {
            Trust::Local => error,
            Trust::Secagg(_) => Error::usage(format!(
                "client {id} lacks the moments that all clients share; answer the server's setup requests first"
            ))
            .into(),
        })?,
    };
    save_moments(folder, &source, &moments)?;
    Ok(moments)
}

/// Says which classes are copies of one picture, whose variance can say nothing.
fn warn_of_copies(site: &Site<'_>, measured: &GroupStatistics, observer: &dyn Observer) {
    let agreement = site.context.agreement();
    let class = |group: u32| group as usize / agreement.settings.training.subclasses;
    let mut classes: Vec<usize> = unit::flat_groups(measured).into_iter().map(class).collect();
    classes.dedup();
    for class in classes {
        let name = agreement.data.class_names.get(class);
        observer.on_warning(&format!(
            "WARNING: {} of client {} has pictures that are all the same, or nearly so, and will be learned as if they varied \
             as all its pictures do; add others, or take them out",
            name.map_or("the data".into(), |name| format!("class '{name}'")),
            site.id
        ));
    }
}

/// Tells the client, and nobody else, that some of its images count as images without features.
fn warn_of_odd_features(id: u32, images: usize, observer: &dyn Observer) {
    if images > 0 {
        observer.on_warning(&format!(
            "WARNING: {images} images of client {id} have features that are no finite numbers and count as images without any; \
             choose another `encoder`"
        ));
    }
}

/// A client's own moments under its own noise.
fn own_release(site: &Site<'_>, mechanism: &PrivacyMechanism, observer: &dyn Observer) -> Result<ClientMoments> {
    let Site { id, context, data, .. } = *site;
    if mechanism.trust().is_secagg() {
        return Err(unasked("moments").into());
    }
    let strata = context.strata(data, &site.thresholds()?)?;
    record(site, observer)?;
    observer.on_event(&format!("client {id} measures its images and adds noise"));
    let (release, without) = mechanism.release(context.encoder(), data, &strata, context.device())?;
    warn_of_odd_features(id, without, observer);
    mechanism.own_moments(release, id, context.device())
}

/// Refuses a client that is too small for its privacy, and a folder of other images.
///
/// # Errors
/// [`Error::Usage`] or [`Error::Corrupt`] saying why.
pub fn check(site: &Site<'_>) -> Result<()> {
    let (own, all) = (site.data.members.len(), site.context.agreement().data.images);
    if own > all {
        return Err(Error::usage(format!(
            "client {} has {own} images and the settings say that all clients together have {all}; correct `images`, by which              privacy and sums are planned",
            site.id
        ))
        .into());
    }
    if let Some(mechanism) = site.context.mechanism() {
        mechanism.check_client(site.id, site.data.members.len())?;
    }
    let path = site.images_path();
    if path.exists() {
        let found: MomentsSource = serde_json::from_slice(&file::read_bounded(&path, 1 << 16)?)
            .map_err(|e| Error::corrupt(path.display().to_string(), e.to_string()))?;
        found.check(&site.source(), &path)?;
    }
    check_moments(site.folder, &site.source())
}

/// Whether the client has moments in its folder.
pub fn has_moments(site: &Site<'_>) -> bool {
    moments_path(site.folder).exists()
}

/// Whether all noise is drawn that the client will ever draw before the first round.
///
/// Noise on masks is drawn round by round under one promise, which is spent with the first.
pub fn has_drawn(site: &Site<'_>) -> bool {
    if let Privacy::Masks(..) = site.context.privacy() {
        return protected::has_drawn(site.folder);
    }
    let phases = Phase::all_of(site.context).into_iter().filter(|&phase| phase != Phase::Start);
    let sends_moments = site.context.is_one_shot() || site.context.shares_moments();
    phases.into_iter().all(|phase| site.reply_path(phase).exists()) && (sends_moments || has_moments(site))
}

/// Writes the client's one draw into its ledger, before anything is drawn; a draw in several parts is written once.
///
/// # Errors
/// If all draws together go beyond the ledger's limit, or it cannot be read or written. Nothing may then be drawn.
pub fn record(site: &Site<'_>, observer: &dyn Observer) -> Result<()> {
    let (Some(ledger), Some(claim)) = (site.ledger, site.context.claim()) else { return Ok(()) };
    let marker = site.folder.join("recorded");
    if marker.exists() {
        return Ok(());
    }
    write_into_ledger(ledger, claim, (site.data, site.folder), observer)?;
    make(site.folder)?;
    file::write_atomic(&marker, |out| out.write_all(b"the draw of this client is in its privacy ledger\n"))?;
    Ok(())
}

/// Writes the draw of `claim` on some images, by the run in a folder, into `ledger`, and warns of earlier ones.
///
/// # Errors
/// If all draws together go beyond the ledger's limit, or it cannot be read or written. Nothing may then be drawn.
pub fn write_into_ledger(
    ledger: &Ledger,
    claim: &PrivacyGuarantee,
    (data, run): (&ClientData, &Path),
    observer: &dyn Observer,
) -> Result<()> {
    let together = ledger.record(claim, run, data)?;
    if let Some(warning) = composition_warning(&together, claim.delta) {
        observer.on_warning(&format!("{warning} ({})", ledger.path().display()));
    }
    Ok(())
}

fn unasked(what: &str) -> Error {
    Error::usage(format!("the settings of this federation have no {what} to send"))
}

fn make(folder: &Path) -> Result<()> {
    Ok(fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?)
}
