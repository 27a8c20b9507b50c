//! One training run from beginning to end: rounds, checkpoints, grids, export.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use prism_export::Checkpoint;
use prism_export::checkpoint::Description;
use prism_export::cli::kept_checkpoint;
use prism_nn::{Error, Result};
use serde::Serialize;

use super::judge::Judge;
use super::metrics::{self, RoundMetrics};
use super::phases::{Lap, Phases};
use super::prepare;
use super::progress::Progress;
use super::traffic::{Summary, Traffic};
use super::{RunFolder, interrupt};
use crate::federation::{Federation, Regime, Round, divergence};
use crate::settings::Settings;

/// Whether a run begins or goes on.
pub enum Start {
    /// A new run in a new folder.
    New,
    /// A new run in a new folder, on the moments of the run in this one.
    MomentsOf(PathBuf),
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
    /// The artifact, unless interrupted; for a baseline of dense weights, which has none, its checkpoint.
    pub model: Option<PathBuf>,
    /// The picture drawn from the model, unless interrupted.
    pub samples: Option<PathBuf>,
    /// Whether the model is a baseline of dense weights, for which there is no artifact.
    pub dense: bool,
    /// Bytes of the artifact, or of dense weights as 32-bit numbers, unless interrupted.
    pub model_bytes: Option<u64>,
    /// Bytes that clients sent in all rounds.
    pub uplink_bytes: u64,
    /// Bytes that the server sent in all rounds.
    pub downlink_bytes: u64,
    /// All of the run's traffic, beside its bounds.
    pub traffic: Summary,
    /// Where the time of this process's rounds went.
    pub phases: Phases,
}

/// Trains as `settings` say, in a folder that is left complete whenever the process ends.
///
/// # Errors
/// If a setting, the data or the folder is refused, or the computation fails. Committed rounds stay saved.
pub fn train(settings: &Settings, start: &Start, quiet: bool) -> Result<Outcome> {
    settings.validate()?;
    let progress = Progress::new(settings.rounds, quiet);
    let prepared = prepare::prepare(settings, start, &progress)?;
    let Some(federation) = prepared.federation else {
        return stopped(&prepared.folder, &prepared.checkpoint.description, Phases::default());
    };
    let mut run = Run::new(settings, prepared.folder, prepared.checkpoint, prepared.judge, federation)?;
    let steps_per_round = run.expected_steps();
    progress.begin(u64::from(run.round()) * steps_per_round, u64::from(settings.rounds) * steps_per_round);
    while run.round() < settings.rounds && !interrupt::asked() {
        match run.next_round(&progress) {
            // Asked to stop while images were measured: a resumed run takes this round from its beginning. What was before it is
            // committed, and what is in memory now must not be.
            Err(Error::Interrupted) => {
                progress.end();
                return run.finish();
            }
            metrics => progress.finish_round(u64::from(run.round()) * steps_per_round, &metrics?),
        }
    }
    progress.end();
    run.commit_last()?;
    run.finish()
}

/// A run between rounds.
struct Run<'a> {
    settings: &'a Settings,
    folder: RunFolder,
    federation: Federation,
    description: Description,
    judge: Judge,
    phases: Phases,
    /// The round of the last checkpoint, and when it was written.
    committed: (u32, Instant),
    /// How long the last round took.
    pace: Duration,
}

impl<'a> Run<'a> {
    fn new(
        settings: &'a Settings,
        folder: RunFolder,
        checkpoint: Checkpoint,
        mut judge: Judge,
        federation: Federation,
    ) -> Result<Self> {
        judge.resume(&folder.metrics(), &checkpoint, &folder.best())?;
        let description = checkpoint.description;
        let committed = (description.model.training.rounds, Instant::now());
        let (phases, pace) = (Phases::default(), Duration::ZERO);
        Ok(Run { settings, folder, federation, description, judge, phases, committed, pace })
    }

    fn round(&self) -> u32 {
        self.description.model.training.rounds
    }

    /// Local steps of a round in which every client asked answers.
    fn expected_steps(&self) -> u64 {
        if self.settings.federation == Regime::OneShot {
            return self.settings.local_steps * self.settings.components as u64;
        }
        u64::from(self.settings.asked()) * self.settings.local_steps
    }

    fn next_round(&mut self, progress: &Progress) -> Result<RoundMetrics> {
        let (mut whole, mut clock) = (Lap::start(), Lap::start());
        let number = self.round() + 1;
        progress.round(number, self.settings.clients as usize);
        // Where the round is likely to be committed, the disk has its states while clients train, and nobody waits for it.
        let likely = number == self.settings.rounds || self.since_checkpoint() + self.pace >= self.interval();
        self.federation.defer(!likely);
        let round = self.federation.round(number, &|| progress.step())?;
        for rejected in &round.rejected {
            progress.say(format!("round {number}: client {} is left out: {}", rejected.client, rejected.reason));
        }
        let training = &mut self.description.model.training;
        training.rounds = number;
        training.uplink_bytes += round.uplink_bytes + round.moment_bytes;
        training.downlink_bytes += round.downlink_bytes;
        self.description.client_rounds = self.federation.client_rounds();
        let mut metrics = self.measure(number, &round, clock.lap());
        metrics.evaluation = self.judge.evaluate(&self.checkpoint())?;
        let judging = clock.lap();
        if let Some(history) = self.federation.history() {
            history.save(&self.folder.records())?;
        }
        metrics::append(&self.folder.metrics(), &metrics)?;
        let best = self.judge.improves(&metrics);
        if best || self.is_due() {
            self.commit()?;
        }
        // After the checkpoint, which must never be of an earlier round than the best one.
        if best {
            self.checkpoint().write(&self.folder.best())?;
        }
        let checkpoint = clock.lap();
        let every = self.settings.sample_every;
        if every > 0 && (number.is_multiple_of(every) || number == self.settings.rounds) {
            super::samples::draw_grid(&self.checkpoint(), &self.folder.sample_grid(number))?;
        }
        let samples = clock.lap();
        let total = whole.lap();
        self.pace = Duration::from_secs_f64(total);
        self.phases.add(&Phases { judging, checkpoint, samples, total, ..round.phases });
        Ok(metrics)
    }

    /// Whether the last round is to be committed now.
    ///
    /// It is before a round in which images are measured, since that one may be left in its midst, when states in memory are no
    /// longer those of the round before.
    fn is_due(&self) -> bool {
        !self.federation.can_defer()
            || self.since_checkpoint() >= self.interval()
            || self.federation.measures(self.round() + 1)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(self.settings.checkpoint_seconds)
    }

    fn since_checkpoint(&self) -> Duration {
        self.committed.1.elapsed()
    }

    /// Commits the rounds since the last checkpoint: before it, a resumed run repeats them; after it, it never does.
    fn commit(&mut self) -> Result<()> {
        if self.committed.0 == self.round() {
            return Ok(());
        }
        self.federation.save()?;
        self.checkpoint().write(&self.folder.checkpoint())?;
        if let Some(history) = self.federation.history() {
            history.tidy(&self.folder.records())?;
        }
        self.federation.commit()?;
        self.committed = (self.round(), Instant::now());
        Ok(())
    }

    /// Commits the rounds that have not waited long enough, since no round follows them now.
    fn commit_last(&mut self) -> Result<()> {
        let mut clock = Lap::start();
        self.commit()?;
        let checkpoint = clock.lap();
        self.phases.add(&Phases { checkpoint, total: checkpoint, ..Phases::default() });
        Ok(())
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { description: self.description.clone(), scores: self.federation.scores().to_vec() }
    }

    fn measure(&self, number: u32, round: &Round, seconds: f64) -> RoundMetrics {
        let scores = self.federation.scores();
        let weights: usize = scores.iter().map(Vec::len).sum();
        let kept = scores.iter().flatten().filter(|&&s| s > 0.0).count() as f64 / weights as f64;
        // Dense weights are all kept, and each is a number of 32 bits.
        let (entropy, density) =
            if self.description.dense { (32.0, 1.0) } else { (divergence::entropy_bits(scores), kept) };
        let answers = round.answered.len().max(1) as f64;
        RoundMetrics {
            round: number,
            loss: round.loss,
            lambda: round.lambda,
            uplink_bytes: round.uplink_bytes + round.moment_bytes,
            downlink_bytes: round.downlink_bytes,
            uplink_bits_per_weight: round.uplink_bytes as f64 * 8.0 / answers / weights as f64,
            kl_bits_per_weight: round.kl_bits_per_weight,
            entropy_bits_per_weight: entropy,
            density,
            clients_asked: round.asked.len() as u32,
            clients_answered: round.answered.len() as u32,
            seconds,
            phases: round.phases,
            traffic: Traffic::of(round, &self.federation.training().session),
            evaluation: None,
        }
    }

    /// Exports the artifact and draws its picture, unless the run was interrupted before its last round.
    fn finish(self) -> Result<Outcome> {
        let mut outcome = stopped(&self.folder, &self.description, self.phases)?;
        if self.round() < self.settings.rounds {
            return Ok(outcome);
        }
        outcome.interrupted = false;
        let (kept, samples) = (kept_checkpoint(self.folder.path())?, self.folder.samples());
        let checkpoint = Checkpoint::read(&kept)?;
        let model = if self.description.dense { kept } else { self.folder.model() };
        outcome.model_bytes = Some(if self.description.dense {
            super::samples::draw_baseline(&checkpoint, &samples)?;
            4 * self.description.model.architecture.weights() as u64
        } else {
            let report = prism_export::export(&checkpoint, prism_export::Options::of(&checkpoint), &model)?;
            super::samples::draw_picture(&model, &samples)?;
            report.file_bytes
        });
        (outcome.model, outcome.samples) = (Some(model), Some(samples));
        Ok(outcome)
    }
}

/// The outcome of a run that stands at `description` before its last round.
fn stopped(folder: &RunFolder, description: &Description, phases: Phases) -> Result<Outcome> {
    let training = &description.model.training;
    Ok(Outcome {
        run: folder.path().to_path_buf(),
        round: training.rounds,
        interrupted: true,
        model: None,
        samples: None,
        dense: description.dense,
        model_bytes: None,
        uplink_bytes: training.uplink_bytes,
        downlink_bytes: training.downlink_bytes,
        traffic: Summary::read(&folder.metrics())?,
        phases,
    })
}
