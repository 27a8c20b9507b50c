//! The command `info`: everything that a model says about itself, and how large it is against how small it could be.

use std::fmt::{self, Display, Formatter};

use prism_core::Result;
use prism_core::artifact::{Meta, Stats};
use prism_core::privacy::{Claim, Total, Unit};
use serde::Serialize;

use crate::cli::InfoFlags;
use crate::model;
use crate::output::no_json;

/// All that is shown.
#[derive(Serialize)]
struct Info<'a> {
    model: &'a str,
    file_bytes: u64,
    /// File bits per weight: mask, norms and metadata together.
    file_bits_per_weight: f64,
    meta: &'a Meta,
    stats: Stats,
    /// Whether the known-answer image was found again and the privacy claim follows from its noise; absent where not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
}

/// Shows what `flags` ask for on standard output.
///
/// # Errors
/// If the model cannot be read, or `--verify` finds another image than the model was made with.
pub fn info(flags: &InfoFlags) -> Result<()> {
    let model = model::load(flags.model.path())?;
    let claim = &model.artifact.meta().description.training.claim;
    let verdict = flags.verify.then(|| {
        model.artifact.verify()?;
        claim.as_ref().map_or(Ok(()), Claim::verify)
    });
    let stats = model.artifact.stats();
    let info = Info {
        model: &model.name,
        file_bytes: model.bytes,
        file_bits_per_weight: model.bytes as f64 * 8.0 / stats.weights as f64,
        meta: model.artifact.meta(),
        stats,
        verified: verdict.as_ref().map(Result::is_ok),
    };
    let text = match flags.json {
        true => serde_json::to_string_pretty(&info).map_err(no_json)?,
        false => info.to_string(),
    };
    prism_core::outln!("{}", text.trim_end());
    verdict.unwrap_or(Ok(()))
}

impl Display for Info<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.show_origin(f)?;
        self.show_sizes(f)?;
        self.show_layers(f)
    }
}

impl Info<'_> {
    fn show_origin(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (description, answer) = (&self.meta.description, &self.meta.known_answer);
        let (arch, training) = (&description.architecture, &description.training);
        let colour = if arch.channels == 1 { "grey" } else { "colour" };
        let classes = match (arch.classes, description.class_names.is_empty()) {
            (0, _) => "none".into(),
            (n, true) => n.to_string(),
            (n, false) => format!("{n}: {}", description.class_names.join(", ")),
        };
        writeln!(f, "model          {}, format version {}", self.model, self.meta.version)?;
        writeln!(f, "images         {0} x {0}, {colour}", arch.image_size)?;
        writeln!(f, "classes        {classes}")?;
        let mixture = if description.components > 1 {
            format!(", a mixture of {}", description.components)
        } else {
            String::new()
        };
        writeln!(f, "generator      ngf {}, latent {}, seed {}{mixture}", arch.ngf, arch.latent, description.seed)?;
        writeln!(f, "data set       {}", description.dataset)?;
        writeln!(f, "encoder        {}", description.encoder)?;
        writeln!(
            f,
            "training       {} rounds, {} clients, {} local steps, partition {}",
            training.rounds, training.clients, training.local_steps, training.partition
        )?;
        writeln!(f, "traffic        {} bytes up, {} bytes down", training.uplink_bytes, training.downlink_bytes)?;
        writeln!(f, "mask rule      {}", description.mask_rule.name())?;
        writeln!(f, "privacy        {}", description.privacy)?;
        if let Some(claim) = &training.claim {
            self.show_claim(f, claim)?;
        }
        writeln!(f, "payload hash   {}", self.meta.payload_sha256)?;
        let label = answer.label.map_or(String::new(), |label| format!(", label {label}"));
        let verdict = match self.verified {
            None => "",
            Some(true) => " (found again)",
            Some(false) => " (NOT found again)",
        };
        writeln!(f, "known answer   seed {}, image {}{label}: {}{verdict}", answer.seed, answer.index, answer.sha256)
    }

    fn show_claim(&self, f: &mut Formatter<'_>, claim: &Claim) -> fmt::Result {
        let unit = match claim.unit {
            Unit::Image => claim.adjacency.protected(),
            Unit::Client => "all images of one client".into(),
        };
        let Total { draws, adjacency, rho, epsilon } = claim.total;
        writeln!(
            f,
            "claim          epsilon {:.4}, delta {:e}, {unit}, {}, trust {}, rho {:.4e}, encoder trained on {}",
            claim.epsilon, claim.delta, claim.adjacency, claim.trust, claim.rho, claim.encoder_images
        )?;
        let images = adjacency.protected();
        writeln!(f, "all draws      {draws}: epsilon {epsilon:.4} for {images}, {adjacency}, rho {rho:.4e}")
    }

    fn show_sizes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let stats = &self.stats;
        writeln!(f)?;
        writeln!(f, "weights        {}, of which {} are kept ({:.4})", stats.weights, stats.ones, stats.density)?;
        writeln!(f, "file           {} bytes, {:.4} bits per weight", self.file_bytes, self.file_bits_per_weight)?;
        writeln!(
            f,
            "mask           {} bytes, {:.4} bits per weight; its entropy is {:.4}",
            stats.mask_bytes, stats.bits_per_weight, stats.entropy_bits_per_weight
        )
    }

    fn show_layers(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<16} {:>10} {:>8} {:>10} {:>8} {:>8}  code",
            "layer", "weights", "density", "bytes", "bits/w", "entropy"
        )?;
        for layer in &self.stats.layers {
            writeln!(
                f,
                "{:<16} {:>10} {:>8.4} {:>10} {:>8.4} {:>8.4}  {}",
                layer.name,
                layer.weights,
                layer.density,
                layer.bytes,
                layer.bits_per_weight,
                layer.entropy_bits_per_weight,
                layer.encoding.name()
            )?;
        }
        Ok(())
    }
}
