//! One training run from beginning to end: rounds, checkpoints, grids, export.

use std::time::{Duration, Instant};

use prism_export::{Options, export};
use prism_fl::{Error, Result, round_metrics};

use super::launch::{Launch, Start};
use super::metrics::RoundMetrics;
use super::open::{OpenRun, open};
use super::outcome::{Exported, Outcome};
use super::progress::Progress;
use super::traffic::Summary;
use super::{interrupt, samples};
use crate::phases::{Phases, Stopwatch};
use crate::settings::Settings;

/// Trains as `settings` say, in a folder that is left complete whenever the process ends.
///
/// # Errors
/// If a setting, the data or the folder is refused, or the computation fails. Committed rounds stay saved.
pub fn train(settings: &Settings, launch: &Launch) -> Result<Outcome> {
    settings.validate()?;
    if let Start::Resume(path) = &launch.start
        && let Some(outcome) = Outcome::of_finished(settings, path)?
    {
        return Ok(outcome);
    }
    let progress = Progress::new(settings, launch.quiet);
    let mut run = Run::new(settings, open(settings, launch, &progress)?);
    let finished = run.all_rounds(&progress);
    match finished {
        // Asked to stop while images were measured, which comes before anything of the round: a resumed run takes it from its
        // beginning.
        Ok(()) | Err(Error::Nn(prism_nn::Error::Interrupted)) => run.commit_last()?,
        Err(error) => return Err(error),
    }
    progress.end();
    progress.doing("exporting");
    let outcome = run.finish();
    progress.end();
    outcome
}

/// The share of the time that checkpoints may take: one over this.
const CHECKPOINT_SHARE: u32 = 100;
/// Rounds wait no longer than this for a checkpoint, however long one takes.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// A run between rounds.
struct Run<'a> {
    settings: &'a Settings,
    open: OpenRun,
    phases: Phases,
    /// Rounds that were finished before.
    first: u32,
    /// The round of the last checkpoint, and when it was written.
    committed: (u32, Instant),
    /// How long rounds wait for the next one.
    wait: Duration,
}

impl<'a> Run<'a> {
    fn new(settings: &'a Settings, open: OpenRun) -> Self {
        let committed = (open.simulation.server.round(), Instant::now());
        Run { settings, open, phases: Phases::default(), first: committed.0, committed, wait: Duration::ZERO }
    }

    fn round(&self) -> u32 {
        self.open.simulation.server.round()
    }

    fn all_rounds(&mut self, progress: &Progress) -> Result<()> {
        interrupt::check()?;
        let OpenRun { folder, simulation, ledger, .. } = &mut self.open;
        simulation.set_up(ledger.as_ref(), folder.path(), progress)?;
        let (rounds, steps) = (self.settings.federation.rounds, self.expected_steps());
        progress.begin((u64::from(self.round()) * steps, u64::from(rounds) * steps));
        while self.round() < rounds && !interrupt::is_asked() {
            let metrics = self.next_round(progress)?;
            progress.finish_round(u64::from(self.round()) * steps, &metrics);
        }
        Ok(())
    }

    /// Local steps of a round in which every client asked answers.
    fn expected_steps(&self) -> u64 {
        let federation = &self.settings.federation;
        let trained = match federation.mode {
            prism_fl::settings::TrainingMode::OneShot => self.settings.model.components as u64,
            prism_fl::settings::TrainingMode::Rounds => federation.cohort_size().into(),
        };
        trained * federation.local_steps
    }

    fn next_round(&mut self, progress: &Progress) -> Result<RoundMetrics> {
        let (mut whole, mut clock) = (Stopwatch::start(), Stopwatch::start());
        let number = self.round() + 1;
        progress.round(number);
        let (report, phases) = self.open.simulation.round(progress)?;
        for refused in &report.refused {
            progress.say(format!("round {number}: client {} is left out: {}", refused.client, refused.reason));
        }
        let OpenRun { folder, simulation, .. } = &self.open;
        let mut metrics = RoundMetrics::of(&report, &simulation.server, clock.lap());
        metrics.phases = phases;
        round_metrics::append(&folder.metrics(), &metrics)?;
        if self.is_due() {
            self.commit()?;
        }
        let checkpoint = clock.lap();
        let every = self.settings.run.sample_every;
        if every > 0 && (number.is_multiple_of(every) || number == self.settings.federation.rounds) {
            progress.doing("drawing samples");
            let grid = self.open.folder.sample_grid(number);
            samples::draw_grid(&self.open.simulation.server.checkpoint(), &grid)?;
        }
        let (samples, total) = (clock.lap(), whole.lap());
        metrics.phases = Phases { checkpoint, samples, total, ..phases };
        self.phases.add(&metrics.phases);
        Ok(metrics)
    }

    /// Whether the last round is to be committed now.
    fn is_due(&self) -> bool {
        !self.open.simulation.can_wait() || self.committed.1.elapsed() >= self.wait
    }

    fn commit(&mut self) -> Result<()> {
        if self.committed.0 != self.round() {
            let begun = Instant::now();
            self.open.simulation.commit()?;
            self.committed = (self.round(), Instant::now());
            self.wait = LONGEST_WAIT.min(CHECKPOINT_SHARE * begun.elapsed());
        }
        Ok(())
    }

    /// Commits the rounds that have not waited long enough, since no round follows them now.
    fn commit_last(&mut self) -> Result<()> {
        let mut clock = Stopwatch::start();
        self.commit()?;
        let checkpoint = clock.lap();
        self.phases.add(&Phases { checkpoint, total: checkpoint, ..Phases::default() });
        Ok(())
    }

    /// Exports the artifact and draws its picture, unless the run was interrupted before its last round.
    fn finish(self) -> Result<Outcome> {
        let OpenRun { folder, simulation, .. } = &self.open;
        let dense = simulation.server.is_dense();
        let interrupted = self.committed.0 < self.settings.federation.rounds;
        let mut outcome = Outcome {
            run: folder.path().to_path_buf(),
            round: self.committed.0,
            trained: self.committed.0.saturating_sub(self.first),
            interrupted,
            dense,
            export: None,
            traffic: Summary::read(&folder.metrics())?,
            phases: self.phases,
        };
        if interrupted {
            return Ok(outcome);
        }
        let (last, samples) = (folder.last_checkpoint()?, folder.samples());
        // A picture that is there says that all is done, so an older model's goes first.
        if samples.exists() {
            std::fs::remove_file(&samples).map_err(|e| prism_core::Error::io("remove", &samples, e))?;
        }
        let (model, model_bytes) = if dense {
            samples::draw_baseline(&last, &samples)?;
            let weights = last.description.model.architecture.weights() as u64;
            (folder.checkpoint(), 4 * weights)
        } else {
            let report = export(&last, Options::of(&last), &folder.model())?;
            samples::draw_picture(&folder.model(), &samples)?;
            (folder.model(), report.file_bytes)
        };
        outcome.export = Some(Exported { model, samples, model_bytes });
        Ok(outcome)
    }
}
