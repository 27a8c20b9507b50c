//! Live progress on stderr: bars on a terminal, a line a round elsewhere, nothing with `--quiet`.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use prism_fl::Observer;

use super::metrics::RoundMetrics;

/// Where progress goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Silent,
    Lines,
    Bars,
}

/// A bar of steps on stderr, hidden if `quiet` or where stderr is no terminal.
pub fn steps(quiet: bool) -> ProgressBar {
    bar(quiet, "steps")
}

/// A bar of `what` on stderr, hidden if `quiet` or where stderr is no terminal.
pub fn bar(quiet: bool, what: &str) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    // The template is ours, so it cannot fail to parse; a plain bar would do if it did.
    let template = format!("{{msg}} [{{bar:32}}] {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// The progress of one run.
pub struct Progress {
    mode: Mode,
    steps: ProgressBar,
    rounds: u32,
}

impl Progress {
    /// Progress of a run of `rounds` rounds; none at all if `quiet`.
    pub fn new(rounds: u32, quiet: bool) -> Self {
        let mode = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, false) => Mode::Lines,
            (false, true) => Mode::Bars,
        };
        let steps = steps(mode != Mode::Bars);
        Progress { mode, steps, rounds }
    }

    /// Says one thing that happened.
    pub fn say(&self, line: impl AsRef<str>) {
        match self.mode {
            Mode::Silent => {}
            Mode::Lines => prism_core::errln!("{}", line.as_ref()),
            Mode::Bars => self.steps.suspend(|| prism_core::errln!("{}", line.as_ref())),
        }
    }

    /// Starts the bar of the whole run: `done` of `total` local steps are behind.
    pub fn begin(&self, done: u64, total: u64) {
        self.steps.set_length(total);
        self.steps.set_position(done);
        self.steps.reset_eta();
        self.steps.enable_steady_tick(Duration::from_millis(250));
    }

    /// Names the round that begins.
    pub fn round(&self, round: u32, clients: usize) {
        self.steps.set_message(format!("round {round}/{}, {clients} clients", self.rounds));
    }

    /// Moves to `done` local steps, however many the round really took, and reports the round.
    pub fn finish_round(&self, done: u64, metrics: &RoundMetrics) {
        self.steps.set_position(done);
        let RoundMetrics { federation: round, evaluation, .. } = metrics;
        let number = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.4}"));
        let federation = format!(
            "  lambda {}  up {:.4} bit/weight (KL bound {})  down {:.4}  {}/{} clients",
            number(round.lambda),
            round.traffic.rates.uplink_bits_per_weight,
            number(round.traffic.rates.kl_bits_per_weight),
            round.traffic.rates.downlink_bits_per_weight,
            round.traffic.clients_answered,
            round.traffic.clients_asked,
        );
        self.say(format!(
            "round {:>3}/{}  loss {}{}  {:.1} s{}",
            round.round,
            self.rounds,
            number(round.loss),
            // A server that trains alone asks nobody.
            if round.traffic.clients_asked > 0 { federation } else { String::new() },
            round.seconds,
            evaluation.map_or(String::new(), |e| format!("  Frechet distance {:.3}", e.frechet_distance)),
        ));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.steps.finish_and_clear();
    }
}

impl Observer for Progress {
    fn on_step(&self) {
        self.steps.inc(1);
    }

    fn on_event(&self, line: &str) {
        self.say(line);
    }

    fn on_warning(&self, line: &str) {
        // Warnings survive --quiet.
        self.steps.suspend(|| prism_core::errln!("{line}"));
    }
}
