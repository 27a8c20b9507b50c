//! From settings to a fleet before its next round.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prism_core::file;
use prism_data::partition::Table;
use prism_data::{self, Dataset, LoadOptions, Split};
use prism_fl::{Agreement, ClientData, DataDescription, Randomness, Result, RunContext};
use prism_nn::device;

use super::evaluator::RoundEvaluator;
use super::launch::{Launch, Start};
use super::progress::Progress;
use super::{LockedFolder, metrics, reuse};
use crate::settings::Settings;
use crate::simulation::Simulation;

/// A run that can take its next round.
pub struct OpenRun {
    /// The run folder, locked and with the settings in it.
    pub folder: LockedFolder,
    /// The fleet.
    pub simulation: Simulation,
    /// Who evaluates its rounds.
    pub evaluator: RoundEvaluator,
    /// Digest of the images, for the privacy ledger.
    pub images: String,
    /// The privacy ledger.
    pub ledger: PathBuf,
}

/// Loads and checks everything; the folder is made after it, so that a refused run leaves nothing behind. No image is measured
/// yet, and no noise drawn.
///
/// # Errors
/// If the device, the data, the encoder, the partition, a setting, the folder or the checkpoint is refused.
pub fn open(settings: &Settings, launch: &Launch, progress: &Progress) -> Result<OpenRun> {
    let device = device::open(&settings.run.device)?;
    let images = load_images(settings, Split::Train)?;
    let (count, seed) = (settings.federation.clients as usize, settings.federation.seed);
    let labels = (images.labels(), images.len(), images.classes());
    let members = settings.data.partition.split(labels.0, labels.1, labels.2, count, seed)?;
    let table = Table::new(images.labels(), images.class_names(), &members);
    let context = RunContext::new(agreement(settings, &images), device, Randomness::Seed)?;
    progress.say(headline(&images, &context));
    progress.say(table.to_string());
    progress.say(format!("privacy: {}", context.privacy_statement()));
    let test = || load_images(settings, Split::Test);
    let evaluator = RoundEvaluator::new(settings, context.claim().is_some(), test)?;
    let dataset = Arc::new(images);
    let data = |members: &Vec<usize>| ClientData { dataset: Arc::clone(&dataset), members: members.clone() };
    let clients: Vec<ClientData> = members.iter().map(data).collect();
    check_sizes(&context, &clients)?;
    if let Start::MomentsOf(source) = &launch.start {
        reuse::check(source, &context, &clients)?;
    }
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
    let simulation = Simulation::open(Arc::clone(&context), clients, &folder, settings.run.threads)?;
    simulation.check()?;
    save_setup(&folder, settings, &table)?;
    metrics::rewind(&folder.metrics(), simulation.server.round())?;
    progress.say(format!("run folder {}{}", folder.path().display(), how(&launch.start, simulation.server.round())));
    if let Some(claim) = context.claim() {
        claim.save(&folder.privacy())?;
    }
    let ledger = launch.ledger.clone().unwrap_or_else(|| beside(folder.path()));
    Ok(OpenRun { folder, simulation, evaluator, images: dataset.digest().to_string(), ledger })
}

/// Refuses clients that are too small for their privacy.
fn check_sizes(context: &RunContext, clients: &[ClientData]) -> Result<()> {
    let Some(mechanism) = context.mechanism() else { return Ok(()) };
    let check = |(id, client): (usize, &ClientData)| mechanism.check_client(id as u32, client.members.len());
    Ok(clients.iter().enumerate().try_for_each(check)?)
}

/// What server and clients of this run have in common.
fn agreement(settings: &Settings, images: &Dataset) -> Agreement {
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

fn headline(images: &Dataset, context: &RunContext) -> String {
    let (arch, components) = (context.architecture(), context.agreement().settings.model.components);
    let generator = match components {
        1 => format!("generator of {} weights", arch.weights()),
        several => format!("mixture of {several} generators of {} weights", arch.weights()),
    };
    format!(
        "{}: {} images of {2}x{2}, {3}; {generator}; encoder {4}; {5}",
        images.name(),
        images.len(),
        images.image_size(),
        if arch.classes > 0 { format!("{} classes", arch.classes) } else { "unconditional".into() },
        context.encoder(),
        device::name(context.device()),
    )
}

fn how(start: &Start, round: u32) -> String {
    match (start, round) {
        (Start::New, _) => "; each client first measures its images, once".to_string(),
        (Start::MomentsOf(source), _) => format!("; nothing is measured: it has the moments of {}", source.display()),
        (Start::Resume(_), 0) => ", resumed before its first round".to_string(),
        (Start::Resume(_), done) => format!(", resumed after round {done}"),
    }
}

/// The images of `split`, as the settings name them.
///
/// # Errors
/// If they cannot be loaded.
pub fn load_images(settings: &Settings, split: Split) -> prism_nn::Result<Dataset> {
    let options = LoadOptions {
        data_dir: settings.data.data_dir.clone(),
        image_size: settings.model.image_size,
        channels: settings.data.channels,
        limit: if split == Split::Train { settings.data.limit } else { None },
        split,
        seed: settings.federation.seed,
    };
    Ok(prism_data::load(settings.data.dataset, &options)?)
}

fn save_setup(folder: &LockedFolder, settings: &Settings, table: &Table) -> Result<()> {
    let text = settings.to_toml()?;
    file::write_atomic(&folder.settings(), |out| out.write_all(text.as_bytes()))?;
    file::write_atomic(&folder.partition(), |out| Ok(serde_json::to_writer_pretty(out, table)?))?;
    Ok(())
}

/// The ledger beside the run folder `run`: however that is called, `.` among others, its ledger is the same.
fn beside(run: &Path) -> PathBuf {
    let whole = std::fs::canonicalize(run).unwrap_or_else(|_| run.to_path_buf());
    whole.parent().unwrap_or(Path::new("")).join("privacy-ledger.jsonl")
}
