//! Live progress on stderr: bars on a terminal, a line a round elsewhere, nothing with `--quiet`.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use prism_fl::Observer;

use super::metrics::RoundMetrics;
use crate::settings::{Settings, flags};
use crate::units::{bytes, estimate, figure};

/// Where progress goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Silent,
    Lines,
    Bars,
}

/// A bar on stderr, hidden if quiet or where stderr is no terminal. Until it is known how much there is to do, it only
/// shows that something goes on.
pub struct Bar {
    bar: ProgressBar,
    unit: &'static str,
}

impl Bar {
    /// A bar of `unit`, called `message`.
    pub fn new(quiet: bool, message: &str, unit: &'static str) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {msg}, {elapsed}"));
        bar.set_message(message.to_string());
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Bar { bar, unit }
    }

    /// Says what is being done.
    pub fn call(&self, message: &str) {
        self.bar.set_message(message.to_string());
    }

    /// Moves to `done` of `all`.
    pub fn to(&self, done: u64, all: u64) {
        if self.bar.length() != Some(all) {
            self.bar.set_style(style(&format!(
                "{{msg}} [{{bar:32}}] {{pos}}/{{len}} {}, {{rate}}, {{eta}} left",
                self.unit
            )));
            self.bar.set_length(all);
            self.bar.set_position(done);
            self.bar.reset_eta();
        }
        self.bar.set_position(done);
    }

    /// Moves on by `count`, of `all`.
    pub fn add(&self, count: u64, all: u64) {
        if self.bar.length() != Some(all) {
            self.to(self.bar.position(), all);
        }
        self.bar.inc(count);
    }

    /// Whether everything is done that it counts.
    pub fn is_full(&self) -> bool {
        self.bar.length() == Some(self.bar.position())
    }

    /// Writes a line above the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| prism_core::errln!("{line}"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The templates are ours, so they cannot fail to parse; a plain bar would do if one did.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn Write| {
        // Nobody is to be told that a bar has no room.
        let _ = write!(out, "{}/s", figure(state.per_sec()));
    };
    style.progress_chars("=> ").with_key("rate", rate)
}

/// The progress of one run.
pub struct Progress {
    mode: Mode,
    rounds: u32,
    /// Images of a local step.
    batch: usize,
    state: Mutex<State>,
}

/// What a bar shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// Something that cannot be counted.
    Other,
    /// Files, as they are read.
    Reading,
    /// Images, as the encoder sees them.
    Measuring,
    /// Local steps.
    Training,
}

#[derive(Default)]
struct State {
    bar: Option<(Activity, Bar)>,
    round: u32,
    /// Images that are measured before the next local step.
    to_measure: u64,
    /// Local steps that are behind, and those of the whole run.
    steps: (u64, u64),
    /// Local steps of this round.
    round_steps: u64,
    /// Rounds of this process, and the seconds that they took.
    pace: (u32, f64),
}

impl Progress {
    /// Progress of a run as `settings` say; none at all if `quiet`.
    pub fn new(settings: &Settings, quiet: bool) -> Self {
        let mode = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, false) => Mode::Lines,
            (false, true) => Mode::Bars,
        };
        let (rounds, batch) = (settings.federation.rounds, settings.training.batch_size);
        Progress { mode, rounds, batch, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line above the bar, if there is one.
    fn write(&self, line: &str) {
        let line = flags::spell_of_run(line);
        match &self.state().bar {
            Some((_, bar)) => bar.say(&line),
            None => prism_core::errln!("{line}"),
        }
    }

    /// Says one thing that happened.
    pub fn say(&self, line: impl AsRef<str>) {
        if self.mode != Mode::Silent {
            self.write(line.as_ref());
        }
    }

    /// One of `all` files was read.
    pub fn read(&self, all: usize) {
        self.show(&mut self.state(), Activity::Reading, "reading").add(1, all as u64);
    }

    /// Says that `what` is being done now, which cannot be counted.
    pub fn doing(&self, what: &str) {
        let mut state = self.state();
        let training = matches!(state.bar, Some((Activity::Training, _)));
        let message = if training { format!("round {}/{}: {what}", state.round, self.rounds) } else { what.into() };
        self.show(&mut state, if training { Activity::Training } else { Activity::Other }, &message).call(&message);
    }

    /// The whole run has `steps.1` local steps, of which `steps.0` are behind.
    pub fn begin(&self, steps: (u64, u64)) {
        self.state().steps = steps;
    }

    /// Names the round that begins.
    pub fn round(&self, round: u32) {
        let mut state = self.state();
        (state.round, state.round_steps) = (round, 0);
        if let Some((Activity::Training, bar)) = &state.bar {
            bar.call(&format!("round {round}/{}", self.rounds));
        }
    }

    /// Moves to `done` local steps, however many the round really took, and reports the round.
    pub fn finish_round(&self, done: u64, metrics: &RoundMetrics) {
        let line = {
            let mut state = self.state();
            state.steps.0 = done;
            // In the first round images are measured, which no other round does again.
            let measuring = if state.pace.0 == 0 { metrics.phases.broadcasting } else { 0.0 };
            state.pace = (state.pace.0 + 1, state.pace.1 + metrics.phases.total - measuring);
            self.round_line(&state, metrics)
        };
        self.say(line);
    }

    /// What a person wants to know of a round; all else is in `metrics.jsonl`.
    fn round_line(&self, state: &State, metrics: &RoundMetrics) -> String {
        let RoundMetrics { federation: round, phases } = metrics;
        let mut parts = vec![
            format!("round {:>1$}/{2}", round.round, self.rounds.to_string().len(), self.rounds),
            format!("loss {}", round.loss.map_or("-".into(), figure)),
        ];
        if phases.clients > 0.0 && state.round_steps > 0 {
            let images = state.round_steps as f64 * self.batch as f64 / phases.clients;
            parts.push(format!("{images:.0} images/s"));
        }
        let sent = &round.traffic;
        // A server that trains alone asks nobody.
        if sent.clients_asked > 0 {
            parts.push(format!("up {}", bytes(sent.uplink_bytes as f64)));
            parts.push(format!("down {}", bytes(sent.downlink_bytes as f64)));
        }
        if sent.clients_answered < sent.clients_asked {
            parts.push(format!("{} of {} clients", sent.clients_answered, sent.clients_asked));
        }
        let left = self.rounds.saturating_sub(round.round);
        if left > 0 {
            parts.push(format!("{} left", estimate(state.pace.1 / f64::from(state.pace.0.max(1)) * f64::from(left))));
        }
        parts.join("  ")
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.state().bar = None;
    }

    /// The bar of `activity`, which a new one called `message` becomes unless it is there.
    fn show<'a>(&self, state: &'a mut State, activity: Activity, message: &str) -> &'a Bar {
        if state.bar.as_ref().is_none_or(|(shown, _)| *shown != activity) {
            // The old one goes before the new one is drawn.
            state.bar = None;
        }
        let unit = match activity {
            Activity::Other => "",
            Activity::Reading => "files",
            Activity::Measuring => "images",
            Activity::Training => "steps",
        };
        &state.bar.get_or_insert_with(|| (activity, Bar::new(self.mode != Mode::Bars, message, unit))).1
    }
}

impl Observer for Progress {
    fn on_step(&self) {
        let mut state = self.state();
        state.round_steps += 1;
        state.steps.0 += 1;
        let (done, all) = state.steps;
        let message = format!("round {}/{}", state.round, self.rounds);
        self.show(&mut state, Activity::Training, &message).to(done, all.max(done));
    }

    fn on_measuring(&self, images: usize) {
        self.state().to_measure = images as u64;
    }

    fn on_images(&self, images: usize) {
        let mut state = self.state();
        let all = state.to_measure.max(images as u64);
        self.show(&mut state, Activity::Measuring, "measuring").add(images as u64, all);
    }

    fn on_event(&self, line: &str) {
        self.say(line);
    }

    fn on_warning(&self, line: &str) {
        // Warnings survive --quiet.
        self.write(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phases::Phases;
    use crate::run::metrics::tests::metrics;

    /// What the bar shows: position, length.
    fn shown(progress: &Progress) -> Option<(Activity, u64, Option<u64>)> {
        progress.state().bar.as_ref().map(|(activity, bar)| (*activity, bar.bar.position(), bar.bar.length()))
    }

    #[test]
    fn a_bar_counts_what_is_going_on_and_never_stands_full_before_it() {
        let progress = Progress::new(&Settings::default(), true);
        assert_eq!(shown(&progress), None);
        (0..3).for_each(|_| progress.read(7));
        assert_eq!(shown(&progress), Some((Activity::Reading, 3, Some(7))));
        progress.doing("measuring the test images");
        assert_eq!(shown(&progress), Some((Activity::Other, 0, None)));
        progress.on_measuring(1000);
        progress.begin((40, 80));
        progress.round(5);
        progress.on_images(256);
        assert_eq!(shown(&progress), Some((Activity::Measuring, 256, Some(1000))));
        progress.on_step();
        assert_eq!(shown(&progress), Some((Activity::Training, 41, Some(80))));
        progress.doing("judging");
        assert_eq!(shown(&progress), Some((Activity::Training, 41, Some(80))));
        progress.end();
        assert_eq!(shown(&progress), None);
    }

    #[test]
    fn a_line_of_a_round_is_for_people() {
        let mut settings = Settings::default();
        (settings.federation.rounds, settings.training.batch_size) = (80, 10);
        let progress = Progress::new(&settings, true);
        let mut round = metrics(9, 7.0312);
        round.federation.lambda = Some(0.25);
        let sent = &mut round.federation.traffic;
        (sent.clients_asked, sent.clients_answered) = (2, 1);
        (sent.uplink_bytes, sent.downlink_bytes) = (3_100, 12_000_000);
        round.phases = Phases { total: 8.0, broadcasting: 6.0, clients: 1.5, ..Phases::default() };
        progress.round(9);
        (0..60).for_each(|_| progress.on_step());
        progress.finish_round(60, &round);
        let line = progress.round_line(&progress.state(), &round);
        // Two seconds a round, without those in which images were measured.
        let expected = "round  9/80  loss 7.031  400 images/s  up 3.1 KB  down 12.0 MB  1 of 2 clients  2 min left";
        assert_eq!(line, expected);
    }
}
