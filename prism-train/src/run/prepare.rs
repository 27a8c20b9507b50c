//! Before the first round: from settings to data, encoder, partition, folder, checkpoint and a federation ready to go.

use candle_core::Device;
use prism_core::artifact::{self, Training};
use prism_core::mixture::{self, component_seed};
use prism_core::wire::Session;
use prism_core::{Architecture, file, score};
use prism_export::Checkpoint;
use prism_export::checkpoint::Description;
use prism_nn::adam::Adam;
use prism_nn::encoder::Encoder;
use prism_nn::generator::{Generator, Styles};
use prism_nn::step::TrainingStep;
use prism_nn::{Error, Result, device};

use super::judge::Judge;
use super::private::{PrivacyPlan, Protected};
use super::progress::Progress;
use super::train::Start;
use super::{RunFolder, client_files, metrics, reuse};
use crate::data::{self, Dataset, LoadOptions, Source, Split};
use crate::federation::{
    Federation, History, LocalTraining, MomentPrivacy, OneShot, Regime, Resident, Schedule, Server, Simulation,
    TrainingMask, Workers, client,
};
use crate::groups::Groups;
use crate::partition::Table;
use crate::privacy::Holders;
use crate::settings::Settings;

/// A run that can take its next round.
pub struct Prepared {
    /// The run folder, locked and with the settings in it.
    pub folder: RunFolder,
    /// The state before the next round.
    pub checkpoint: Checkpoint,
    /// Who judges its rounds.
    pub judge: Judge,
    /// The federation in that state; none where the run was asked to stop while images were measured.
    pub federation: Option<Federation>,
}

/// Loads and checks everything; the folder is made after it, so that a refused run leaves nothing behind, and noise is drawn last
/// of all, so that no draw is spent on a run that is refused.
///
/// # Errors
/// If the device, the data, the encoder, the partition, a setting, the folder or the checkpoint is refused.
pub fn prepare(settings: &Settings, start: &Start, progress: &Progress) -> Result<Prepared> {
    let ground = Ground::new(settings, progress)?;
    let privacy = PrivacyPlan::new(settings, &ground.holders())?;
    let protected = privacy.protects();
    progress.say(format!("privacy: {}", privacy.statement()));
    let uplink = settings.wire.uplink;
    if settings.mada && uplink.expects() {
        progress
            .say(format!("--uplink {uplink} leaves MADA no noise of votes to average out: --mada false learns faster"));
    }
    let training = local_training(settings, &ground, settings.seed)?;
    check_average(settings, &ground, protected)?;
    let rounds = (settings.eval_every, settings.rounds);
    let test = || load_data(settings, Split::Test);
    let judge = Judge::new(rounds, settings.eval_images, settings.threads, protected, test)?;

    if let Start::MomentsOf(source) = start {
        reuse::check(source, privacy.moments_key(settings, &ground.holders())?.as_ref())?;
    }
    let folder = open_folder(settings, start)?;
    if let Start::MomentsOf(source) = start {
        // Before the settings are there, without which the folder holds no run that could be resumed.
        reuse::copy(source, &folder)?;
    }
    let first = first_checkpoint(settings, &ground, privacy.statement());
    let checkpoint = match start {
        Start::New | Start::MomentsOf(_) => first,
        Start::Resume(_) => load_checkpoint(&folder, settings, first)?,
    };
    let desk = Desk::new(settings, &ground.device, &training.session, &checkpoint, &folder)?;
    check_measured(settings, &folder, &ground)?;
    save_setup(&folder, settings, &ground.table)?;
    let done = checkpoint.description.model.training.rounds;
    metrics::rewind(&folder.metrics(), done)?;
    let how = match (start, done) {
        (Start::New, _) => "; each client first measures its images, once".to_string(),
        (Start::MomentsOf(source), _) => format!("; nothing is measured: it has the moments of {}", source.display()),
        (Start::Resume(_), 0) => ", resumed before its first round".to_string(),
        (Start::Resume(_), done) => format!(", resumed after round {done}"),
    };
    progress.say(format!("run folder {}{how}", folder.path().display()));
    let federation = match privacy.carry_out(settings, &ground.holders(), &folder, progress) {
        Err(Error::Interrupted) => None,
        protected => Some(federation(settings, ground, training, desk, protected?, &checkpoint, &folder)?),
    };
    Ok(Prepared { folder, checkpoint, judge, federation })
}

/// What a run stands on, before it has a folder.
struct Ground {
    device: Device,
    encoder: Encoder,
    data: Dataset,
    arch: Architecture,
    members: Vec<Vec<usize>>,
    table: Table,
}

impl Ground {
    fn new(settings: &Settings, progress: &Progress) -> Result<Self> {
        let device = device::open(&settings.device)?;
        let encoder = Encoder::open(&settings.encoder, &device)?.with_sketches(&settings.sketches, &device)?;
        let data = load_data(settings, Split::Train)?;
        let arch = settings.architecture(data.channels(), data.classes());
        arch.validate()?;
        mixture::check(&arch, settings.components)?;
        encoder.feature_shapes(arch.image_size)?;
        progress.say(headline(&data, (&arch, settings.components), &encoder, &device));
        let clients = settings.clients as usize;
        let members = settings.partition.split(data.labels(), data.len(), data.classes(), clients, settings.seed)?;
        let table = Table::new(data.labels(), data.class_names(), &members);
        progress.say(table.to_string());
        Ok(Ground { device, encoder, data, arch, members, table })
    }

    fn holders(&self) -> Holders<'_> {
        Holders {
            encoder: &self.encoder,
            data: &self.data,
            members: &self.members,
            conditional: self.arch.classes > 0,
            device: &self.device,
        }
    }
}

fn headline(data: &Dataset, (arch, components): (&Architecture, usize), encoder: &Encoder, device: &Device) -> String {
    let generator = match components {
        1 => format!("generator of {} weights", arch.weights()),
        several => format!("mixture of {several} generators of {} weights", arch.weights()),
    };
    format!(
        "{}: {} images of {2}x{2}, {3}; {generator}; encoder {encoder}; {4}",
        data.name(),
        data.len(),
        data.image_size(),
        if arch.classes > 0 { format!("{} classes", arch.classes) } else { "unconditional".into() },
        device::name(device),
    )
}

/// Refuses a moving average where a step cannot hold all that is averaged, before anything is measured for it.
fn check_average(settings: &Settings, ground: &Ground, protected: bool) -> Result<()> {
    if settings.average_rate == 0.0 {
        return Ok(());
    }
    let styles = Styles::new(settings.styles)?;
    let in_a_step = settings.classes_per_step * styles.count();
    if protected {
        // Which classes a client holds is private, so each may hold them all.
        return client::check_average(in_a_step, ground.arch.classes.max(1) * styles.count());
    }
    let groups = Groups::new(&ground.data, ground.arch.classes > 0, styles);
    // A single image has no variance, so it makes no group.
    let held = |members: &[usize]| groups.divide(members).values().filter(|images| images.len() > 1).count();
    let most = match settings.federation {
        Regime::Rounds => ground.members.iter().map(|members| held(members)).max().unwrap_or(0),
        Regime::OneShot => held(&ground.members.concat()),
    };
    client::check_average(in_a_step, most)
}

/// Refuses other images, or another encoder, than those that a resumed run has measured, before anything of it is rewritten.
fn check_measured(settings: &Settings, folder: &RunFolder, ground: &Ground) -> Result<()> {
    let found = (ground.data.digest(), ground.encoder.digest());
    let clients = (0..settings.clients).map(|client| folder.client(client));
    // All are of the same data, so the first that is there speaks for the others.
    for place in std::iter::once(folder.shared()).chain(clients) {
        if client_files::check_source(&place, found)? {
            break;
        }
    }
    Ok(())
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
        Start::New | Start::MomentsOf(_) => RunFolder::create(settings.out.as_deref(), &settings.dataset)?,
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
fn first_checkpoint(settings: &Settings, ground: &Ground, privacy: String) -> Checkpoint {
    let Ground { arch, data, encoder, .. } = ground;
    let layers = arch.layers();
    let initial = |component| {
        let seed = component_seed(settings.seed, component);
        let layers = layers.iter().enumerate();
        layers.map(move |(index, layer)| score::initial_scores(seed, index, layer, settings.score_scale))
    };
    Checkpoint {
        scores: (0..settings.components).flat_map(initial).collect(),
        description: Description {
            model: artifact::Description {
                architecture: arch.clone(),
                seed: settings.seed,
                components: settings.components,
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

/// The checkpoint of the run being resumed, or its beginning `first` if no round was finished.
///
/// # Errors
/// If it does not belong to these settings and this data.
fn load_checkpoint(folder: &RunFolder, settings: &Settings, first: Checkpoint) -> Result<Checkpoint> {
    if !folder.checkpoint().exists() {
        return Ok(first);
    }
    let found = Checkpoint::read(&folder.checkpoint())?;
    let (a, b) = (&found.description.model, &first.description.model);
    for (what, found, expected) in [
        ("architecture", format!("{:?}", a.architecture), format!("{:?}", b.architecture)),
        ("seed", a.seed.to_string(), b.seed.to_string()),
        ("number of components", a.components.to_string(), b.components.to_string()),
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

/// How clients train; or a server that trains alone, where `seed` is a component's.
fn local_training(settings: &Settings, ground: &Ground, seed: u64) -> Result<LocalTraining> {
    let Ground { arch, device, encoder, .. } = ground;
    let score_layers = (settings.alpha * arch.layers().len() as f64).round() as usize;
    let wire = &settings.wire;
    let session = Session::new(arch, seed, score_layers)?.with_codecs(wire.uplink, wire.downlink);
    let session = session.with_score_scale(settings.score_scale);
    session.check()?;
    Ok(LocalTraining {
        step: TrainingStep::new(Generator::new(arch, seed, device)?, encoder.clone())?,
        adam: Adam::new(settings.lr),
        training_mask: settings.training_mask,
        estimator: settings.estimator,
        average: (settings.average_rate > 0.0).then(|| Adam::new(settings.average_rate)),
        schedule: Schedule { rounds: settings.lr_decay_rounds },
        tanh_leak: f64::from(settings.tanh_leak),
        seed,
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

/// What the server of rounds has at hand: what recent rounds changed, and threads for its clients.
struct Desk {
    history: History,
    workers: Workers,
}

impl Desk {
    fn new(
        settings: &Settings,
        device: &Device,
        session: &Session,
        checkpoint: &Checkpoint,
        folder: &RunFolder,
    ) -> Result<Self> {
        let round = checkpoint.description.model.training.rounds;
        // A GPU is kept busy by one client; on the CPU several share the cores. A server that trains alone asks nobody.
        let (threads, side_by_side) = match settings.federation {
            Regime::OneShot => (1, 1),
            Regime::Rounds if device.is_cpu() => (settings.threads, settings.clients as usize),
            Regime::Rounds => (settings.threads, 1),
        };
        Ok(Desk {
            history: History::load(session, settings.clients, round, &folder.records())?,
            workers: Workers::new(threads, side_by_side)?,
        })
    }
}

/// The federation in the state of `checkpoint`.
fn federation(
    settings: &Settings,
    ground: Ground,
    training: LocalTraining,
    desk: Desk,
    protected: Protected,
    checkpoint: &Checkpoint,
    folder: &RunFolder,
) -> Result<Federation> {
    let done = checkpoint.description.model.training.rounds;
    let training = LocalTraining { mask_noise: protected.mask_noise.clone(), ..training };
    // What was sent before the first round is part of that round's report, so a run that was interrupted in it counts it.
    let moment_bytes = if done == 0 { protected.uplink_bytes } else { 0 };
    if settings.federation == Regime::Rounds {
        let simulation = simulation(settings, ground, training, desk, protected, checkpoint, folder);
        return Ok(Federation::Rounds(Box::new(Simulation { moment_bytes, ..simulation })));
    }
    let MomentPrivacy::Shared(moments) = protected.moments else {
        return Err(Error::usage("a server that trains alone has no moments to train on"));
    };
    let moments = training.weigh(*moments)?;
    let mut components = vec![training];
    for component in 1..settings.components {
        components.push(local_training(settings, &ground, component_seed(settings.seed, component))?);
    }
    Ok(Federation::OneShot(Box::new(OneShot {
        moments,
        components,
        scores: checkpoint.scores.clone(),
        folder: folder.shared(),
        state_round: done,
        clients: settings.clients as usize,
        moment_bytes,
    })))
}

fn simulation(
    settings: &Settings,
    ground: Ground,
    training: LocalTraining,
    desk: Desk,
    protected: Protected,
    checkpoint: &Checkpoint,
    folder: &RunFolder,
) -> Simulation {
    let round = checkpoint.description.model.training.rounds;
    let (session, scores) = (training.session.clone(), checkpoint.scores.clone());
    Simulation {
        server: Server::new(session, settings.mada, round, scores, desk.history),
        training,
        transit: None,
        folders: (0..settings.clients).map(|client| folder.client(client)).collect(),
        client_rounds: checkpoint.description.client_rounds.clone(),
        committed: checkpoint.description.client_rounds.clone(),
        defer: false,
        conditional: ground.arch.classes > 0,
        privacy: protected.moments,
        moment_bytes: 0,
        asked: settings.asked(),
        dropout: settings.dropout,
        workers: desk.workers,
        resident: Resident::new(settings.client_memory.saturating_mul(1 << 20)),
        members: ground.members,
        data: ground.data,
        groups: protected.groups,
    }
}
