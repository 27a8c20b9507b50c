//! Before the first round: from settings to data, encoder, partition, folder, checkpoint and a federation ready to go.

use candle_core::Device;
use prism_core::artifact::{self, Training};
use prism_core::wire::Session;
use prism_core::{Architecture, file, score};
use prism_export::Checkpoint;
use prism_export::checkpoint::Description;
use prism_nn::adam::Adam;
use prism_nn::encoder::Encoder;
use prism_nn::generator::{Generator, Styles};
use prism_nn::step::TrainingStep;
use prism_nn::{Error, Result, device};

use super::private::PrivacyPlan;
use super::progress::Progress;
use super::train::Start;
use super::{RunFolder, metrics};
use crate::data::{self, Dataset, LoadOptions, Source, Split};
use crate::federation::{
    Federation, History, LocalTraining, MomentPrivacy, OneShot, Regime, Schedule, Server, Simulation, TrainingMask,
    Workers,
};
use crate::groups::Groups;
use crate::moments::ClientMoments;
use crate::partition::Table;
use crate::privacy::Holders;
use crate::settings::Settings;

/// A run that can take its next round.
pub struct Prepared {
    /// The run folder, locked and with the settings in it.
    pub folder: RunFolder,
    /// The state before the next round.
    pub checkpoint: Checkpoint,
    /// The federation in that state.
    pub federation: Federation,
}

/// Loads and checks everything; the folder is made last, so that a refused run leaves nothing behind.
///
/// # Errors
/// If the device, the data, the encoder, the partition, the folder or the checkpoint is refused.
pub fn prepare(settings: &Settings, start: &Start, progress: &Progress) -> Result<Prepared> {
    let device = device::open(&settings.device)?;
    let encoder = Encoder::open(&settings.encoder, &device)?;
    let data = load_data(settings, Split::Train)?;
    let arch = settings.architecture(data.channels(), data.classes());
    arch.validate()?;
    encoder.feature_shapes(arch.image_size)?;
    progress.say(headline(&data, &arch, &encoder, &device));
    let clients = settings.clients as usize;
    let members = settings.partition.split(data.labels(), data.len(), data.classes(), clients, settings.seed)?;
    let table = Table::new(data.labels(), data.class_names(), &members);
    progress.say(table.to_string());

    let conditional = arch.classes > 0;
    let holders = Holders { encoder: &encoder, data: &data, members: &members, conditional, device: &device };
    let privacy = PrivacyPlan::new(settings, &holders)?;
    let statement = privacy.statement();
    progress.say(format!("privacy: {statement}"));

    let folder = open_folder(settings, start)?;
    let checkpoint = match start {
        Start::New => first_checkpoint(settings, &arch, &data, &encoder, statement),
        Start::Resume(_) => load_checkpoint(&folder, settings, &arch, &data, &encoder, statement)?,
    };
    save_setup(&folder, settings, &table)?;
    let done = checkpoint.description.model.training.rounds;
    metrics::rewind(&folder.metrics(), done)?;
    progress.say(match done {
        0 => format!("run folder {}; each client first measures its images, once", folder.path().display()),
        _ => format!("run folder {}, resumed after round {done}", folder.path().display()),
    });
    let protected = privacy.carry_out(settings, &holders, &folder, progress)?;
    // What was sent before the first round is part of that round's report, so a run that was interrupted in it counts it.
    let moment_bytes = if done == 0 { protected.uplink_bytes } else { 0 };
    let training = LocalTraining {
        mask_noise: protected.mask_noise.clone(),
        ..local_training(settings, &checkpoint, encoder.clone(), &device)?
    };
    let federation = match settings.federation {
        Regime::Rounds => {
            let simulation =
                simulation(settings, &checkpoint, training, (data, protected.groups), members, &folder, &device)?;
            Federation::Rounds(Box::new(Simulation { privacy: protected.moments, moment_bytes, ..simulation }))
        }
        Regime::OneShot => {
            let MomentPrivacy::Shared(moments) = protected.moments else {
                return Err(Error::usage("a server that trains alone has no moments to train on"));
            };
            let server = one_shot(
                settings,
                &checkpoint,
                training,
                moments.growing(settings.layer_growth)?,
                moment_bytes,
                &folder,
            );
            Federation::OneShot(Box::new(server))
        }
    };
    Ok(Prepared { folder, checkpoint, federation })
}

fn headline(data: &Dataset, arch: &Architecture, encoder: &Encoder, device: &Device) -> String {
    format!(
        "{}: {} images of {2}x{2}, {3}; generator of {4} weights; encoder {encoder}; {5}",
        data.name(),
        data.len(),
        data.image_size(),
        if arch.classes > 0 { format!("{} classes", arch.classes) } else { "unconditional".into() },
        arch.weights(),
        device::name(device),
    )
}

/// The images of `split`, as the settings name them.
///
/// # Errors
/// If they cannot be loaded.
pub fn load_data(settings: &Settings, split: Split) -> Result<Dataset> {
    let source: Source = settings.dataset.parse()?;
    let options = LoadOptions {
        data_dir: settings.data_dir.clone(),
        image_size: settings.image_size,
        channels: settings.channels,
        limit: if split == Split::Train { settings.limit } else { None },
        split,
        seed: settings.seed,
    };
    Ok(data::load(source, &options)?)
}

fn open_folder(settings: &Settings, start: &Start) -> Result<RunFolder> {
    Ok(match start {
        Start::New => RunFolder::create(settings.out.as_deref(), &settings.dataset)?,
        Start::Resume(path) => RunFolder::resume(path)?,
    })
}

fn save_setup(folder: &RunFolder, settings: &Settings, table: &Table) -> Result<()> {
    let text = settings.to_toml()?;
    file::write_atomic(&folder.settings(), |out| out.write_all(text.as_bytes()))?;
    file::write_atomic(&folder.partition(), |out| Ok(serde_json::to_writer_pretty(out, table)?))?;
    Ok(())
}

/// The state before the first round.
fn first_checkpoint(
    settings: &Settings,
    arch: &Architecture,
    data: &Dataset,
    encoder: &Encoder,
    privacy: String,
) -> Checkpoint {
    let initial = |(index, layer)| score::initial_scores(settings.seed, index, layer, settings.score_scale);
    Checkpoint {
        scores: arch.layers().iter().enumerate().map(initial).collect(),
        description: Description {
            model: artifact::Description {
                architecture: arch.clone(),
                seed: settings.seed,
                encoder: format!("{} sha256:{}", encoder.name(), &encoder.digest()[..16]),
                dataset: data.name().to_string(),
                class_names: if arch.classes > 0 { data.class_names().to_vec() } else { Vec::new() },
                training: Training {
                    rounds: 0,
                    clients: settings.clients,
                    local_steps: settings.local_steps,
                    partition: settings.partition.to_string(),
                    uplink_bytes: 0,
                    downlink_bytes: 0,
                },
                mask_rule: settings.mask,
                privacy,
            },
            client_rounds: vec![0; settings.clients as usize],
            dense: settings.training_mask == TrainingMask::None,
        },
    }
}

/// The checkpoint of the run being resumed, or its beginning if no round was finished.
///
/// # Errors
/// If it does not belong to these settings and this data.
fn load_checkpoint(
    folder: &RunFolder,
    settings: &Settings,
    arch: &Architecture,
    data: &Dataset,
    encoder: &Encoder,
    privacy: String,
) -> Result<Checkpoint> {
    let first = first_checkpoint(settings, arch, data, encoder, privacy);
    if !folder.checkpoint().exists() {
        return Ok(first);
    }
    let found = Checkpoint::read(&folder.checkpoint())?;
    let (a, b) = (&found.description.model, &first.description.model);
    for (what, found, expected) in [
        ("architecture", format!("{:?}", a.architecture), format!("{:?}", b.architecture)),
        ("seed", a.seed.to_string(), b.seed.to_string()),
        ("data set", a.dataset.clone(), b.dataset.clone()),
        ("encoder", a.encoder.clone(), b.encoder.clone()),
        ("privacy statement", a.privacy.clone(), b.privacy.clone()),
        ("number of clients", found.description.client_rounds.len().to_string(), settings.clients.to_string()),
    ] {
        if found != expected {
            return Err(Error::usage(format!(
                "{} was made with {what} {found}, but the run's settings and data give {expected}; \
                 restore settings.toml and the data, or start a new run",
                folder.checkpoint().display()
            )));
        }
    }
    Ok(found)
}

fn local_training(
    settings: &Settings,
    checkpoint: &Checkpoint,
    encoder: Encoder,
    device: &Device,
) -> Result<LocalTraining> {
    let arch = &checkpoint.description.model.architecture;
    let score_layers = (settings.alpha * arch.layers().len() as f64).round() as usize;
    let wire = &settings.wire;
    let session = Session::new(arch, settings.seed, score_layers)?.with_codecs(wire.uplink, wire.downlink);
    let session = session.with_score_scale(settings.score_scale);
    session.check()?;
    Ok(LocalTraining {
        step: TrainingStep::new(Generator::new(arch, settings.seed, device)?, encoder)?,
        adam: Adam::new(settings.lr),
        training_mask: settings.training_mask,
        estimator: settings.estimator,
        average: (settings.average_rate > 0.0).then(|| Adam::new(settings.average_rate)),
        schedule: Schedule { rounds: settings.lr_decay_rounds },
        seed: settings.seed,
        local_steps: settings.local_steps,
        batch_size: settings.batch_size,
        classes_per_step: settings.classes_per_step,
        styles: Styles::new(settings.styles)?,
        layer_growth: settings.layer_growth,
        session,
        kl_weight: wire.kl_weight,
        choice: wire.choice,
        mask_noise: None,
    })
}

fn simulation(
    settings: &Settings,
    checkpoint: &Checkpoint,
    training: LocalTraining,
    (data, groups): (Dataset, Groups),
    members: Vec<Vec<usize>>,
    folder: &RunFolder,
    device: &Device,
) -> Result<Simulation> {
    let round = checkpoint.description.model.training.rounds;
    let history = History::load(&training.session, round, &folder.records())?;
    // A GPU is kept busy by one client; on the CPU several share the cores.
    let side_by_side = if device.is_cpu() { settings.clients as usize } else { 1 };
    Ok(Simulation {
        server: Server::new(training.session.clone(), settings.mada, round, checkpoint.scores.clone(), history),
        training,
        transit: None,
        folders: (0..settings.clients).map(|client| folder.client(client)).collect(),
        client_rounds: checkpoint.description.client_rounds.clone(),
        conditional: checkpoint.description.model.architecture.classes > 0,
        privacy: MomentPrivacy::None,
        moment_bytes: 0,
        fraction: settings.fraction,
        dropout: settings.dropout,
        workers: Workers::new(settings.threads, side_by_side)?,
        members,
        data,
        groups,
    })
}

fn one_shot(
    settings: &Settings,
    checkpoint: &Checkpoint,
    training: LocalTraining,
    moments: ClientMoments,
    moment_bytes: u64,
    folder: &RunFolder,
) -> OneShot {
    OneShot {
        training,
        moments,
        scores: checkpoint.scores.clone(),
        folder: folder.shared(),
        state_round: checkpoint.description.model.training.rounds,
        clients: settings.clients as usize,
        moment_bytes,
    }
}
