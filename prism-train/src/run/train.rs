//! One training run from beginning to end: prepare, rounds, checkpoints, grids, export.

use std::path::PathBuf;
use std::time::Instant;

use candle_core::Device;
use prism_core::artifact::{self, Training};
use prism_core::wire::Session;
use prism_core::{Architecture, file, score};
use prism_export::Checkpoint;
use prism_export::checkpoint::Description;
use prism_nn::adam::Adam;
use prism_nn::encoder::Encoder;
use prism_nn::generator::Generator;
use prism_nn::{Error, Result, device};
use serde::Serialize;

use super::metrics::{self, RoundMetrics};
use super::progress::Progress;
use super::{RunFolder, client_files, interrupt};
use crate::data::{self, Dataset, LoadOptions, Source, Split};
use crate::federation::{LocalTraining, Round, Server, Simulation, Workers, divergence};
use crate::partition::Table;
use crate::settings::Settings;

/// Whether a run begins or goes on.
pub enum Start {
    /// A new run in a new folder.
    New,
    /// The run in this folder.
    Resume(PathBuf),
}

/// What a run left behind.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The run folder.
    pub run: PathBuf,
    /// Rounds finished.
    pub round: u32,
    /// Whether it was interrupted before its last round.
    pub interrupted: bool,
    /// The artifact, unless interrupted.
    pub model: Option<PathBuf>,
    /// The picture drawn from the artifact, unless interrupted.
    pub samples: Option<PathBuf>,
    /// Bytes of the artifact, unless interrupted.
    pub model_bytes: Option<u64>,
    /// Bytes that clients sent in all rounds.
    pub uplink_bytes: u64,
    /// Bytes that the server sent in all rounds.
    pub downlink_bytes: u64,
}

/// Trains as `settings` say, in a folder that is left complete whenever the process ends.
///
/// # Errors
/// If a setting, the data or the folder is refused, or the computation fails. Finished rounds stay saved.
pub fn train(settings: &Settings, start: &Start, quiet: bool) -> Result<Outcome> {
    settings.validate()?;
    let progress = Progress::new(settings.rounds, quiet);
    let mut run = Run::prepare(settings, start, &progress)?;
    let steps_per_round = run.expected_steps();
    progress.begin(u64::from(run.round()) * steps_per_round, u64::from(settings.rounds) * steps_per_round);
    while run.round() < settings.rounds && !interrupt::asked() {
        let metrics = run.next_round(&progress)?;
        progress.finish_round(u64::from(run.round()) * steps_per_round, &metrics);
    }
    progress.end();
    run.finish()
}

/// A run between rounds.
struct Run<'a> {
    settings: &'a Settings,
    folder: RunFolder,
    simulation: Simulation,
    description: Description,
}

impl<'a> Run<'a> {
    fn prepare(settings: &'a Settings, start: &Start, progress: &Progress) -> Result<Self> {
        let device = device::open(&settings.device)?;
        let data = load_data(settings)?;
        let arch = settings.architecture(data.channels(), data.classes());
        arch.validate()?;
        let encoder = Encoder::open(&settings.encoder, &device)?;
        progress.say(format!(
            "{}: {} images of {2}x{2}, {3}; generator of {4} weights; encoder {encoder}; {5}",
            data.name(),
            data.len(),
            data.image_size(),
            if arch.classes > 0 { format!("{} classes", arch.classes) } else { "unconditional".into() },
            arch.weights(),
            device::name(&device),
        ));
        let members = settings.partition.split(
            data.labels(),
            data.len(),
            data.classes(),
            settings.clients as usize,
            settings.seed,
        )?;
        let table = Table::new(data.labels(), data.class_names(), &members);
        progress.say(table.to_string());

        let folder = open_folder(settings, start)?;
        let checkpoint = match start {
            Start::New => first_checkpoint(settings, &arch, &data, &encoder),
            Start::Resume(_) => load_checkpoint(&folder, settings, &arch, &data, &encoder)?,
        };
        save_setup(&folder, settings, &table)?;
        metrics::rewind(&folder.metrics(), checkpoint.description.model.training.rounds)?;
        let simulation = simulation(settings, &checkpoint, encoder, data, members, &folder, &device)?;
        let at = match checkpoint.description.model.training.rounds {
            0 => String::new(),
            round => format!(", resumed after round {round}"),
        };
        progress.say(format!("run folder {}{at}", folder.path().display()));
        Ok(Run { settings, folder, simulation, description: checkpoint.description })
    }

    fn round(&self) -> u32 {
        self.description.model.training.rounds
    }

    /// Local steps of a round in which every client asked answers.
    fn expected_steps(&self) -> u64 {
        let asked = (f64::from(self.settings.clients) * self.settings.fraction).round().max(1.0);
        asked as u64 * self.settings.local_steps
    }

    fn next_round(&mut self, progress: &Progress) -> Result<RoundMetrics> {
        let begun = Instant::now();
        let number = self.round() + 1;
        progress.round(number, self.settings.clients as usize);
        let round = self.simulation.round(number, &|| progress.step())?;
        let training = &mut self.description.model.training;
        training.rounds = number;
        training.uplink_bytes += round.uplink_bytes;
        training.downlink_bytes += round.downlink_bytes;
        self.description.client_rounds.clone_from(&self.simulation.client_rounds);
        let metrics = self.measure(number, &round, begun.elapsed().as_secs_f64());
        // The checkpoint commits the round: before it, a resumed run repeats the round; after it, it never does.
        metrics::append(&self.folder.metrics(), &metrics)?;
        self.checkpoint().write(&self.folder.checkpoint())?;
        for &client in &round.answered {
            client_files::remove_other_states(&self.folder.client(client), number)?;
        }
        let every = self.settings.sample_every;
        if every > 0 && (number.is_multiple_of(every) || number == self.settings.rounds) {
            super::samples::draw_grid(&self.checkpoint(), &self.folder.sample_grid(number))?;
        }
        Ok(metrics)
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { description: self.description.clone(), scores: self.simulation.server.scores().to_vec() }
    }

    fn measure(&self, number: u32, round: &Round, seconds: f64) -> RoundMetrics {
        let scores = self.simulation.server.scores();
        let weights: usize = scores.iter().map(Vec::len).sum();
        let kept = scores.iter().flatten().filter(|&&s| s > 0.0).count();
        let answers = round.answered.len().max(1) as f64;
        RoundMetrics {
            round: number,
            loss: round.loss,
            lambda: round.lambda,
            uplink_bytes: round.uplink_bytes,
            downlink_bytes: round.downlink_bytes,
            uplink_bits_per_weight: round.uplink_bytes as f64 * 8.0 / answers / weights as f64,
            kl_bits_per_weight: round.kl_bits_per_weight,
            entropy_bits_per_weight: divergence::entropy_bits(scores),
            density: kept as f64 / weights as f64,
            clients_asked: round.asked.len() as u32,
            clients_answered: round.answered.len() as u32,
            seconds,
        }
    }

    /// Exports the artifact and draws its picture, unless the run was interrupted before its last round.
    fn finish(self) -> Result<Outcome> {
        let interrupted = self.round() < self.settings.rounds;
        let mut outcome = Outcome {
            run: self.folder.path().to_path_buf(),
            round: self.round(),
            interrupted,
            model: None,
            samples: None,
            model_bytes: None,
            uplink_bytes: self.description.model.training.uplink_bytes,
            downlink_bytes: self.description.model.training.downlink_bytes,
        };
        if !interrupted {
            let (model, samples) = (self.folder.model(), self.folder.samples());
            let checkpoint = self.checkpoint();
            let report = prism_export::export(&checkpoint, prism_export::Options::of(&checkpoint), &model)?;
            super::samples::draw_picture(&model, &samples)?;
            outcome.model_bytes = Some(report.file_bytes);
            (outcome.model, outcome.samples) = (Some(model), Some(samples));
        }
        Ok(outcome)
    }
}

fn load_data(settings: &Settings) -> Result<Dataset> {
    let source: Source = settings.dataset.parse()?;
    let options = LoadOptions {
        data_dir: settings.data_dir.clone(),
        image_size: settings.image_size,
        channels: settings.channels,
        limit: settings.limit,
        split: Split::Train,
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
fn first_checkpoint(settings: &Settings, arch: &Architecture, data: &Dataset, encoder: &Encoder) -> Checkpoint {
    let initial = |(index, layer)| score::initial_scores(settings.seed, index, layer);
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
                privacy: "none: the moments of clients' images are used as they are".into(),
            },
            client_rounds: vec![0; settings.clients as usize],
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
) -> Result<Checkpoint> {
    let first = first_checkpoint(settings, arch, data, encoder);
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

fn simulation(
    settings: &Settings,
    checkpoint: &Checkpoint,
    encoder: Encoder,
    data: Dataset,
    members: Vec<Vec<usize>>,
    folder: &RunFolder,
    device: &Device,
) -> Result<Simulation> {
    let arch = &checkpoint.description.model.architecture;
    let score_layers = (settings.alpha * arch.layers().len() as f64).round() as usize;
    let session = Session::new(arch, settings.seed, score_layers)?;
    // A GPU is kept busy by one client; on the CPU several share the cores.
    let side_by_side = if device.is_cpu() { settings.clients as usize } else { 1 };
    Ok(Simulation {
        server: Server::new(session.clone(), settings.seed, settings.mada, checkpoint.scores.clone()),
        training: LocalTraining {
            generator: Generator::new(arch, settings.seed, device)?,
            encoder,
            adam: Adam::new(settings.lr),
            seed: settings.seed,
            local_steps: settings.local_steps,
            batch_size: settings.batch_size,
            classes_per_step: settings.classes_per_step,
            session,
        },
        folders: (0..settings.clients).map(|client| folder.client(client)).collect(),
        client_rounds: checkpoint.description.client_rounds.clone(),
        conditional: arch.classes > 0,
        fraction: settings.fraction,
        dropout: settings.dropout,
        workers: Workers::new(settings.threads, side_by_side)?,
        members,
        data,
    })
}
