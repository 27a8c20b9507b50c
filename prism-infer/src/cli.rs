//! The program's flags, as they are typed.

use std::fmt::{self, Display, Formatter};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use prism_core::sampler::Precision;
use serde::Serialize;

/// Draw images from a PRISM model.
///
/// Without flags: 64 images of the model inside this program, as a grid in samples.png. Image K depends on the seed and
/// K alone, so the same command draws the same images everywhere.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// `info` or `bench`, or nothing to draw.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to draw.
    #[command(flatten)]
    pub draw: DrawFlags,
}

/// What the program can do besides drawing.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a model is: its shape, where it comes from, its sizes
    Info(InfoFlags),
    /// Measure how long an image takes, of a model or of a generator with random weights
    Bench(BenchFlags),
}

/// What to compute with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionName {
    /// 32-bit floats
    #[default]
    F32,
    /// 16-bit integers with exact sums: faster, and the same bits on every machine
    I16,
}

impl Display for PrecisionName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrecisionName::F32 => "f32",
            PrecisionName::I16 => "i16",
        })
    }
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::I16 => Precision::I16,
        }
    }
}

/// Which model to use.
#[derive(Args, Debug, Default)]
pub struct ModelFlags {
    /// Model file, or the folder of a run [default: the model inside this program]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The same as FILE
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub model: Option<PathBuf>,
}

impl ModelFlags {
    /// The file or folder that was named.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref().or(self.model.as_deref())
    }
}

/// What to draw, from what, and where to.
#[derive(Args, Debug, Default)]
pub struct DrawFlags {
    /// The model to draw from.
    #[command(flatten)]
    pub model: ModelFlags,
    /// Number of images [default: 64; 9 with --interpolate; all rows of --latents]
    #[arg(long, short, value_name = "N", value_parser = at_least_one::<NonZero<u64>>)]
    pub n: Option<NonZero<u64>>,
    /// Seed of the latents
    #[arg(long, value_name = "SEED", default_value_t = 0, conflicts_with = "latents")]
    pub seed: u64,
    /// Picture to write, a grid in PNG; `-` for standard output [default: samples.png]
    #[arg(long, short, value_name = "FILE.png")]
    pub out: Option<PathBuf>,
    /// Folder to write one PNG per image into, named by number, seed and class
    #[arg(long, value_name = "FOLDER")]
    pub out_dir: Option<PathBuf>,
    /// Class of the images, by name or number; several, as in cat,dog or 0-3, take turns [default: all classes]
    #[arg(long, value_name = "CLASS")]
    pub label: Vec<String>,
    /// Draw all images by this component of a mixture, counted from 0 [default: each component draws its share: of
    /// --latents as of the images of seed 0; with --interpolate one draws all]
    #[arg(long, value_name = "C")]
    pub component: Option<usize>,
    /// NumPy file to write the images into: float32 in [-1, 1], shape (n, channels, size, size)
    #[arg(long, value_name = "FILE.npy")]
    pub npy: Option<PathBuf>,
    /// NumPy file to take the latents from: float, shape (n, latent), or (n, latent + classes) with the labels in it
    #[arg(long, value_name = "FILE.npy")]
    pub latents: Option<PathBuf>,
    /// Draw STEPS images on the way from each latent to the next, in a row for each pair
    #[arg(long, value_name = "STEPS")]
    pub interpolate: Option<u64>,
    /// Columns of the grid [default: about square; STEPS with --interpolate]
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZero<usize>>)]
    pub columns: Option<NonZero<usize>>,
    /// Threads to draw with; the images do not depend on it [default: all cores]
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZero<usize>>)]
    pub threads: Option<NonZero<usize>>,
    /// What the CPU computes with
    #[arg(long, value_name = "NAME", default_value_t)]
    pub precision: PrecisionName,
    /// Where to draw: cpu, cuda:N or auto; GPUs need a build with the feature `cuda`
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub device: String,
    /// Write nothing to standard error but errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Report as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Which model to show, and how.
#[derive(Args, Debug)]
pub struct InfoFlags {
    /// The model to show.
    #[command(flatten)]
    pub model: ModelFlags,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
    /// Also draw the model's known-answer image and compare it
    #[arg(long)]
    pub verify: bool,
}

/// What to measure.
#[derive(Args, Debug)]
pub struct BenchFlags {
    /// Model file, or the folder of a run [default: random weights of the sizes below]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ngf", "image_size", "channels", "latent"])]
    pub model: Option<PathBuf>,
    /// Width of the generator
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub ngf: usize,
    /// Side of its images
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub image_size: usize,
    /// Their channels
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub channels: usize,
    /// Length of the latent
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub latent: usize,
    /// Images that are drawn at once
    #[arg(long, value_name = "N", default_value = "64", value_parser = at_least_one::<NonZero<usize>>)]
    pub batch: NonZero<usize>,
    /// Threads to draw with [default: all cores]
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZero<usize>>)]
    pub threads: Option<NonZero<usize>>,
    /// What to compute with
    #[arg(long, value_name = "NAME", default_value_t)]
    pub precision: PrecisionName,
    /// Runs, of which the median is reported
    #[arg(long, value_name = "N", default_value = "15", value_parser = at_least_one::<NonZero<usize>>)]
    pub runs: NonZero<usize>,
    /// Report as one line of JSON
    #[arg(long)]
    pub json: bool,
}

fn at_least_one<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "give a whole number from 1 upwards".into())
}
