//! From settings to a fleet before its next round.

use std::path::PathBuf;
use std::sync::Arc;

use prism_core::file;
use prism_data::Dataset;
use prism_data::partition::Table;
use prism_fl::{
    Agreement, ClientData, DataDescription, Ledger, Observer, Randomness, Result, RunContext, round_metrics,
};
use prism_nn::device;

use super::images::{RememberedImages, RunImages};
use super::launch::{Launch, Start};
use super::progress::Progress;
use super::{LockedFolder, ledger, place, reuse};
use crate::settings::Settings;
use crate::simulation::Simulation;

/// A run that can take its next round.
pub struct OpenRun {
    /// The run folder, locked and with the settings in it.
    pub folder: LockedFolder,
    /// The fleet.
    pub simulation: Simulation,
    /// The privacy ledger of a run with noise.
    pub ledger: Option<Ledger>,
}

/// Loads and checks everything; the folder is made after it, so that a refused run leaves nothing behind. No image is measured
/// yet, and no noise drawn.
///
/// # Errors
/// If the device, the data, the encoder, the partition, a setting, the folder or the checkpoint is refused.
pub fn open(settings: &Settings, launch: &Launch, progress: &Progress) -> Result<OpenRun> {
    let device = device::open(&settings.run.device)?;
    place::check(settings, launch)?;
    let images = RunImages::load(settings, launch.skip_broken, &|all| progress.read(all))?;
    progress.end();
    let context = RunContext::new(agreement(settings, &images.set), device, Randomness::Seed)?;
    progress.say(headline(&images, &context));
    let protected = context.claim().is_some();
    if !protected {
        images.lines().iter().for_each(|line| progress.say(line));
        progress.say(images.table.to_string());
    }
    progress.say(format!("privacy: {}", context.privacy_statement()));
    images.warnings(settings).iter().for_each(|warning| progress.on_warning(warning));
    let RunImages { set, members, table, .. } = images;
    let dataset = Arc::new(set);
    let data = |members: &Vec<usize>| ClientData { dataset: Arc::clone(&dataset), members: members.clone() };
    let clients: Vec<ClientData> = members.iter().map(data).collect();
    check_sizes(&context, &clients)?;
    if let Start::MomentsOf(source) = &launch.start {
        reuse::check(source, &context, &clients)?;
    }
    ledger::check(launch)?;
    let folder = match &launch.start {
        Start::New | Start::MomentsOf(_) => {
            LockedFolder::create(launch.out.as_deref(), &settings.data.dataset.to_string())?
        }
        Start::Resume(path) => LockedFolder::resume(path)?,
    };
    if let Start::MomentsOf(source) = &launch.start {
        // Before the settings are there, without which the folder holds no run that could be resumed.
        reuse::copy(source, &folder, clients.len())?;
    }
    progress.end();
    let simulation = Simulation::open(Arc::clone(&context), clients, &folder, settings.run.threads)?;
    simulation.check()?;
    // Under privacy, how many images of a class a client has is told by the noisy sums alone, and no digest of images is kept here.
    save_setup(&folder, settings, (!protected).then_some(&table))?;
    if !protected {
        RememberedImages::of(&dataset).save(&folder)?;
    }
    round_metrics::rewind(&folder.metrics(), simulation.server.round())?;
    progress.say(format!("run folder {}{}", folder.path().display(), how(&launch.start, simulation.server.round())));
    if let Some(claim) = context.claim() {
        claim.save(&folder.privacy())?;
    }
    let ledger = protected.then(|| ledger::open(&folder, launch)).transpose()?;
    Ok(OpenRun { folder, simulation, ledger })
}

/// Refuses clients that are too small for their privacy.
///
/// # Errors
/// The first client's refusal.
pub fn check_sizes(context: &RunContext, clients: &[ClientData]) -> Result<()> {
    let Some(mechanism) = context.mechanism() else { return Ok(()) };
    let check = |(id, client): (usize, &ClientData)| mechanism.check_client(id as u32, client.members.len());
    Ok(clients.iter().enumerate().try_for_each(check)?)
}

/// What server and clients of this run have in common.
pub fn agreement(settings: &Settings, images: &Dataset) -> Agreement {
    let labelled = images.labels().is_some();
    let data = DataDescription {
        name: images.name().to_string(),
        channels: images.channels(),
        class_names: if labelled { images.class_names().to_vec() } else { Vec::new() },
        images: images.len(),
        partition: settings.data.partition.to_string(),
    };
    Agreement { settings: settings.agreement(), data }
}

fn headline(images: &RunImages, context: &RunContext) -> String {
    let (arch, components) = (context.architecture(), context.agreement().settings.model.components);
    let generator = match components {
        1 => format!("generator of {} weights", arch.weights()),
        several => format!("mixture of {several} generators of {} weights", arch.weights()),
    };
    let device = device::name(context.device());
    // Where images are added or removed, their number is what is protected.
    let hidden = context.claim().is_some_and(|claim| claim.images.is_none());
    format!("{}; {generator}; encoder {}; {device}", images.headline(hidden), context.encoder())
}

fn how(start: &Start, round: u32) -> String {
    match (start, round) {
        (Start::New, _) => "; each client first measures its images, once".to_string(),
        (Start::MomentsOf(source), _) => format!("; nothing is measured: it has the moments of {}", source.display()),
        (Start::Resume(_), 0) => ", resumed before its first round".to_string(),
        (Start::Resume(_), done) => format!(", resumed after round {done}"),
    }
}

fn save_setup(folder: &LockedFolder, settings: &Settings, table: Option<&Table>) -> Result<()> {
    let mut settings = settings.clone();
    // From wherever the run is resumed or evaluated, its images are these.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    settings.data.data_dir = settings.data.data_dir.map(absolute);
    let text = settings.to_toml()?;
    file::write_atomic(&folder.settings(), |out| out.write_all(text.as_bytes()))?;
    match table {
        Some(table) => {
            Ok(file::write_atomic(&folder.partition(), |out| Ok(serde_json::to_writer_pretty(out, table)?))?)
        }
        None => Ok(()),
    }
}
