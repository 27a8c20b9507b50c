//! `prism-train audit`: attacks the release of moments, and planted faults that the attacks must catch.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_core::Device;
use clap::Args;
use prism_data::{Dataset, LoadOptions, Split};
use prism_fl::privacy::accounting::Budget;
use prism_fl::privacy::audit::canary::{self, CanaryFinding};
use prism_fl::privacy::audit::images::{self, ImageFinding};
use prism_fl::privacy::audit::{Audit, Finding, Subject};
use prism_fl::privacy::gaussian::NoiseSource;
use prism_fl::settings::privacy::Adjacency;
use prism_nn::encoder::Encoder;
use prism_nn::{Error, Result};
use serde::Serialize;

use crate::metrics::EvaluatedModel;
use crate::metrics::evaluation::first;
use crate::metrics::features::{Features, PooledEncoder};
use crate::metrics::membership::{self, Membership};
use crate::run::layout_of;

/// Flags of `prism-train audit`.
#[derive(Args)]
pub struct AuditArgs {
    /// The epsilon that is claimed
    #[arg(long, value_name = "E", default_value_t = 1.0, allow_hyphen_values = true)]
    epsilon: f64,
    /// The delta that is claimed
    #[arg(long, value_name = "D", default_value_t = 1e-5, allow_hyphen_values = true)]
    delta: f64,
    /// What neighbouring data sets differ in: replace-one or add-remove
    #[arg(long, value_name = "RULE", default_value_t = Adjacency::ReplaceOne)]
    adjacency: Adjacency,
    /// Clients whose shares of the noise add up; 1 for local noise
    #[arg(long, value_name = "N", default_value_t = 1)]
    shares: u32,
    /// Releases of each of two neighbouring data sets
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    releases: u64,
    /// Canary images in the end-to-end audit
    #[arg(long, value_name = "N", default_value_t = 200)]
    canaries: usize,
    /// Frozen encoder whose bound on one image is tested
    #[arg(long, value_name = "NAME", default_value = "public")]
    encoder: String,
    /// Run folder whose generated images are searched for traces of its training images
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    /// Folder that holds the run's data set; by default the run's own
    #[arg(long, value_name = "DIR", requires = "run")]
    data_dir: Option<PathBuf>,
    /// Images to generate, and to compare with of those trained on and of those not
    #[arg(long, value_name = "N", default_value_t = 1000)]
    images: usize,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Most canaries of an audit.
const MOST_CANARIES: usize = 10_000;

#[derive(Serialize)]
struct Report {
    claimed_epsilon: f64,
    delta: f64,
    releases: u64,
    noise: Vec<Finding>,
    images: Vec<ImageFinding>,
    canaries: Vec<CanaryFinding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<Membership>,
    passed: bool,
}

/// Runs the audit; the exit code is 1 if the release breaks its claim or a planted fault went unnoticed.
pub fn run(args: &AuditArgs) -> Result<ExitCode> {
    for (flag, value, least, most) in [
        ("releases", args.releases, 10_000, 10_000_000),
        ("canaries", args.canaries as u64, 40, MOST_CANARIES as u64),
        ("shares", args.shares.into(), 1, 100_000),
        ("images", args.images as u64, 100, 10_000),
    ] {
        if !(least..=most).contains(&value) {
            return Err(Error::usage(format!("--{flag} is {value}; choose a number from {least} to {most}")));
        }
    }
    let report = audit(args)?;
    if args.json {
        let text = serde_json::to_string_pretty(&report);
        prism_core::outln!("{}", text.map_err(|e| Error::usage(format!("no JSON can be written: {e}")))?);
    } else {
        print(&report);
    }
    Ok(ExitCode::from(u8::from(!report.passed)))
}

fn audit(args: &AuditArgs) -> Result<Report> {
    let budget = Budget::new(args.epsilon, args.delta)?;
    let source = NoiseSource::OperatingSystem;
    canary::check_count(args.canaries, budget, MOST_CANARIES)?;
    let encoder = Encoder::open(&args.encoder, &Device::Cpu)?;
    let &AuditArgs { adjacency, shares, releases, .. } = args;
    let audit = Audit { budget, adjacency, shares, releases, source };
    let noise = Subject::ALL.into_iter().map(|subject| audit.attack(subject)).collect::<Result<Vec<_>>>()?;
    let images = [false, true].map(|fault| images::attack(&encoder, fault));
    let images = images.into_iter().collect::<Result<Vec<_>>>()?;
    let canaries = [true, false].map(|noise| canary::attack(&encoder, budget, args.canaries, noise, source));
    let canaries = canaries.into_iter().collect::<Result<Vec<_>>>()?;
    let passed = noise.iter().all(|finding| finding.violation == (finding.subject != Subject::Release))
        && images.iter().all(|finding| finding.violation == finding.train_mode)
        && !canaries[0].violation
        && canaries[1].violation;
    let membership = args.run.as_ref().map(|run| look_for_members(args, run)).transpose()?;
    Ok(Report {
        claimed_epsilon: args.epsilon,
        delta: args.delta,
        releases,
        noise,
        images,
        canaries,
        membership,
        passed,
    })
}

/// Compares images generated by the model of `run` with images that it was trained on and with images that it was not.
fn look_for_members(args: &AuditArgs, run: &Path) -> Result<Membership> {
    let model = EvaluatedModel::open(run)?;
    let Some(settings) = &model.origin else {
        return Err(Error::usage(format!(
            "{} is no run folder, so its training images are unknown; give the folder of a run",
            run.display()
        )));
    };
    let arch = &model.description.architecture;
    let load = |split, limit| -> Result<Dataset> {
        let options = LoadOptions {
            data_dir: args.data_dir.clone().or_else(|| settings.data.data_dir.clone()),
            image_size: arch.image_size,
            channels: Some(arch.channels),
            intensity: settings.data.intensity,
            limit,
            split,
            seed: settings.federation.seed,
            layout: layout_of(settings, args.data_dir.is_none()),
            ..LoadOptions::default()
        };
        Ok(first(&prism_data::load(settings.data.dataset, &options)?, args.images))
    };
    let (members, others) = (load(Split::Train, settings.data.limit)?, load(Split::Test, None)?);
    let labels: Vec<Option<usize>> = (0..args.images).map(|i| (arch.classes > 0).then(|| i % arch.classes)).collect();
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let generated = model.draw(1, &labels, threads, &|_| ())?;
    let network = PooledEncoder::open(&args.encoder, &Device::Cpu)?;
    let features = |images: &Dataset| Features::of(&network, images, &|_| ());
    membership::measure(&features(&generated)?, &features(&members)?, &features(&others)?)
}

fn print(report: &Report) {
    prism_core::outln!(
        "claim: epsilon {} at delta {:e}; {} releases a side",
        report.claimed_epsilon,
        report.delta,
        report.releases
    );
    prism_core::outln!(
        "\n{:<46} {:>10} {:>10}  verdict",
        "attack on the noise: epsilon is at least",
        "rates",
        "Gaussian"
    );
    for finding in &report.noise {
        let verdict = verdict(finding.violation, finding.subject != Subject::Release);
        prism_core::outln!(
            "{:<46} {:>10.3} {:>10.3}  {verdict}",
            finding.subject.name(),
            finding.epsilon,
            finding.gaussian_epsilon
        );
    }
    prism_core::outln!("\n{:<46} {:>10}", "attack on the bound of one image", "worst");
    for finding in &report.images {
        let name = if finding.train_mode { "fault: encoder in training mode" } else { "encoder" };
        prism_core::outln!(
            "{name:<46} {:>10.3}             {}",
            finding.worst,
            verdict(finding.violation, finding.train_mode)
        );
    }
    prism_core::outln!("\n{:<46} {:>10} {:>10}", "canaries, one release: epsilon is at least", "right", "epsilon");
    for (finding, name) in report.canaries.iter().zip(["release", "fault: noise off"]) {
        let right = format!("{}/{}", finding.correct, finding.guesses);
        let verdict = verdict(finding.violation, name != "release");
        prism_core::outln!("{name:<46} {right:>10} {:>10.3}  {verdict}", finding.epsilon);
    }
    if let Some(found) = &report.membership {
        prism_core::outln!(
            "\nmembership in {} generated images (0.5 +- {:.3} reveals nothing)",
            found.generated,
            found.error
        );
        prism_core::outln!("{:<46} {:>10.3}", "nearest real image was trained on", found.nearest_is_member);
        prism_core::outln!("{:<46} {:>10.3}", "training images lie nearer than unseen ones", found.auc);
    }
    prism_core::outln!("\n{}", if report.passed { "passed" } else { "FAILED" });
}

fn verdict(violation: bool, fault: bool) -> &'static str {
    match (violation, fault) {
        (false, false) => "below the claim",
        (true, false) => "THE CLAIM IS BROKEN",
        (true, true) => "caught",
        (false, true) => "NOT CAUGHT",
    }
}
