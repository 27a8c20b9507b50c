//! The default command: draws a plan's images, chunk by chunk, and reports what it wrote.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use prism_core::{Architecture, Result};
use serde::Serialize;

use crate::cli::DrawFlags;
use crate::device::Drawer;
use crate::model;
use crate::output::{Outputs, no_json};
use crate::plan::{Plan, Target};

/// Images that each thread draws between two reports of progress.
const CHUNK: u64 = 8;
/// Most images in memory as numbers, unless an array is asked for.
const MAX_CHUNK: u64 = 256;
/// How long drawing may take before a terminal shows progress.
const PATIENCE: Duration = Duration::from_millis(500);

/// What was drawn, for `--json`.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    dataset: &'a str,
    images: u64,
    channels: usize,
    size: usize,
    seconds: f64,
    /// As text, since JSON has no form for a path that is no UTF-8.
    written: Vec<Cow<'a, str>>,
}

/// Draws what `flags` ask for.
///
/// # Errors
/// If the model, the flags or the latents cannot be used, or a file cannot be written.
pub fn draw(flags: &DrawFlags) -> Result<()> {
    let model = model::load(flags.model.path())?;
    let description = &model.artifact.meta().description;
    let plan = Plan::new(description, flags)?;
    let drawer = Drawer::open(&flags.device, &model.artifact, flags.precision.into())?;
    let started = Instant::now();
    let written = draw_all(&plan, &description.architecture, &drawer)?;
    let seconds = started.elapsed().as_secs_f64();
    if !plan.quiet {
        prism_core::errln!("drew {} images of {} ({}) in {seconds:.2} s", plan.count, model.name, description.dataset);
    }
    let arch = &description.architecture;
    let report = Report {
        model: &model.name,
        dataset: &description.dataset,
        images: plan.count,
        channels: arch.channels,
        size: arch.image_size,
        seconds,
        written: written.iter().map(|path| path.to_string_lossy()).collect(),
    };
    print(&plan, &report)
}

fn draw_all(plan: &Plan, arch: &Architecture, drawer: &Drawer) -> Result<Vec<PathBuf>> {
    let mut outputs = Outputs::new(plan, arch)?;
    let chunk = CHUNK.saturating_mul(plan.threads.get() as u64).min(MAX_CHUNK);
    let mut progress = Progress::new(plan);
    let mut first = 0;
    while first < plan.count {
        let next = first.saturating_add(chunk).min(plan.count);
        let inputs = (first..next).map(|index| plan.inputs.get(index)).collect::<Result<Vec<_>>>()?.concat();
        let components: Vec<usize> = (first..next).map(|index| plan.inputs.component(index)).collect();
        outputs.take(&drawer.images(&inputs, &components, plan.threads)?)?;
        progress.show(next);
        first = next;
    }
    outputs.finish()
}

/// Standard output holds the report as JSON, or the paths of what was written, one a line.
fn print(plan: &Plan, report: &Report<'_>) -> Result<()> {
    let text = match (plan.json, &plan.picture) {
        (true, _) => serde_json::to_string(report).map_err(no_json)?,
        // The picture itself went to standard output, and nothing else may.
        (false, Some(Target::Stdout)) => return Ok(()),
        (false, _) => report.written.join("\n"),
    };
    prism_core::outln!("{text}");
    Ok(())
}

/// One line on a terminal's standard error, once drawing takes long.
struct Progress {
    shown: bool,
    total: u64,
    started: Instant,
}

impl Progress {
    fn new(plan: &Plan) -> Self {
        let shown = !plan.quiet && std::io::stderr().is_terminal();
        Progress { shown, total: plan.count, started: Instant::now() }
    }

    fn show(&mut self, done: u64) {
        if !self.shown || self.started.elapsed() < PATIENCE {
            return;
        }
        let end = if done == self.total { "\r\u{1b}[K" } else { "" };
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(std::io::stderr(), "\rdrew {done} of {} images{end}", self.total);
    }
}
