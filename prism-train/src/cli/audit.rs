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
use prism_fl::privacy::audit::{Audit, ReplayFinding, Subject, replay};
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
    #[arg(long, value_name = "RULE", default_value_t = Adjacency::REPLACE_ONE)]
    adjacency: Adjacency,
    /// Clients whose shares of the noise add up; 1 for local noise
    #[arg(long, value_name = "N", default_value_t = 1)]
    shares: u32,
    /// Releases whose canaries are guessed, 200 in each
    #[arg(long, value_name = "N", default_value_t = 100)]
    releases: u64,
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

#[derive(Serialize)]
struct Report {
    claimed_epsilon: f64,
    delta: f64,
    replay: Vec<ReplayFinding>,
    images: Vec<ImageFinding>,
    canaries: Vec<CanaryFinding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<Membership>,
    passed: bool,
}

/// Runs the audit; the exit code is 1 if the release breaks its claim or a planted fault went unnoticed.
pub fn run(args: &AuditArgs) -> Result<ExitCode> {
    for (flag, value, least, most) in [
        ("releases", args.releases, 2, 10_000),
        ("shares", args.shares.into(), 1, 20),
        ("images", args.images as u64, 100, 10_000),
    ] {
        if !(least..=most).contains(&value) {
            return Err(Error::usage(format!("--{flag} is {value}; choose a number from {least} to {most}")));
        }
    }
    if args.adjacency.images() > 1 {
        return Err(Error::usage(format!(
            "--adjacency is {}, and an audit moves one image at a time; choose replace-one or add-remove",
            args.adjacency
        )));
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
    let audit =
        Audit { budget: Budget::new(args.epsilon, args.delta)?, adjacency: args.adjacency, shares: args.shares };
    let encoder = Encoder::open(&args.encoder, &Device::Cpu)?;
    let replay = Subject::of(&audit).map(|subject| replay(&audit, &encoder, subject)).collect::<Result<Vec<_>>>()?;
    let images = [false, true].map(|fault| images::attack(&encoder, fault));
    let images = images.into_iter().collect::<Result<Vec<_>>>()?;
    let source = NoiseSource::OperatingSystem;
    // Without noise a few are as good as many.
    let canaries = [(Subject::Release, args.releases), (Subject::Overwritten, 2)]
        .map(|(subject, releases)| canary::attack(&audit, &encoder, subject, (releases, source)));
    let canaries = canaries.into_iter().collect::<Result<Vec<_>>>()?;
    let expected = |subject: Subject| subject != Subject::Release;
    let passed = replay.iter().all(|finding| finding.violation == expected(finding.subject))
        && images.iter().all(|finding| finding.violation == finding.train_mode)
        && canaries.iter().all(|finding| finding.violation == expected(finding.subject));
    let membership = args.run.as_ref().map(|run| look_for_members(args, run)).transpose()?;
    Ok(Report { claimed_epsilon: args.epsilon, delta: args.delta, replay, images, canaries, membership, passed })
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
    prism_core::outln!("claim: epsilon {} at delta {:e}", report.claimed_epsilon, report.delta);
    prism_core::outln!("\n{:<46} {:>10} {:>10}  verdict", "replay: what one image gives away", "rho", "claimed");
    for finding in &report.replay {
        let (name, verdict) = (finding.subject.name(), verdict(finding.violation, finding.subject));
        let verdict = if finding.repeated { format!("{verdict}: noise comes twice") } else { verdict.to_string() };
        prism_core::outln!("{name:<46} {:>10.4e} {:>10.4e}  {verdict}", finding.rho, finding.allowed);
    }
    prism_core::outln!("\n{:<46} {:>10}", "attack on the bound of one image", "worst");
    for finding in &report.images {
        let name = if finding.train_mode { "fault: encoder in training mode" } else { "encoder" };
        prism_core::outln!(
            "{name:<46} {:>10.3}             {}",
            finding.worst,
            verdict(finding.violation, if finding.train_mode { Subject::Overwritten } else { Subject::Release })
        );
    }
    let guessed = format!("{} canaries: epsilon is at least", 2 * report.canaries[0].canaries);
    prism_core::outln!("\n{guessed:<46} {:>10} {:>10}", "rates", "Gaussian");
    for finding in &report.canaries {
        let (name, verdict) = (finding.subject.name(), verdict(finding.violation, finding.subject));
        prism_core::outln!("{name:<46} {:>10.3} {:>10.3}  {verdict}", finding.epsilon, finding.gaussian_epsilon);
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

fn verdict(violation: bool, subject: Subject) -> &'static str {
    match (violation, subject == Subject::Release) {
        (false, true) => "below the claim",
        (true, true) => "THE CLAIM IS BROKEN",
        (true, false) => "caught",
        (false, false) => "NOT CAUGHT",
    }
}
