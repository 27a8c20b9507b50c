//! What a run folder holds. Files and figures that are missing are left out: a run may still be going on.

use std::collections::BTreeMap;
use std::path::Path;

use prism_core::{Error, artifact, file, mixture};
use prism_data::partition::Table;
use prism_export::{Checkpoint, RunFolder};
use prism_fl::divergence;
use prism_nn::Result;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::comparison::Comparison;
use crate::metrics::Evaluation;

/// Most bytes of a text file of a run.
const MAX_TEXT: u64 = 1 << 30;
/// Most bytes of a picture.
const MAX_PICTURE: u64 = 1 << 26;
/// Most pictures of samples that a report shows for a run, beside that of the finished model.
const MAX_PICTURES: usize = 5;

/// The largest number that a figure can show: sums and ranges of such are finite.
const LARGEST: f64 = 1e100;

/// One run.
pub struct Record {
    /// The folder's name.
    pub name: String,
    /// Its settings: a table for each group, as in `settings.toml`.
    pub settings: toml::Table,
    /// The lines of `metrics.jsonl`, in order.
    pub rounds: Vec<Map<String, Value>>,
    /// Who holds what.
    pub partition: Option<Table>,
    /// The model, where the run has saved a round.
    pub model: Option<TrainedModel>,
    /// Images that the model drew.
    pub pictures: Pictures,
    /// Bytes of the finished artifact.
    pub model_bytes: Option<u64>,
    /// The last evaluation.
    pub evaluation: Option<Evaluation>,
    /// Generated images beside real ones, where they have been compared.
    pub comparison: Option<Comparison>,
}

/// The model of the checkpoint that the run keeps.
pub struct TrainedModel {
    /// What the checkpoint says of it.
    pub description: artifact::Description,
    /// Its masked layers; none where its weights are dense.
    pub layers: Vec<LayerDensity>,
}

/// Pictures of generated images, as PNG files.
pub struct Pictures {
    /// Some of the grids that were drawn between rounds, by round.
    pub by_round: Vec<(u32, Vec<u8>)>,
    /// The picture drawn from the finished artifact.
    pub finished: Option<Vec<u8>>,
}

/// How many weights of a layer are kept.
pub struct LayerDensity {
    /// The layer's name.
    pub name: String,
    /// Its weights.
    pub weights: usize,
    /// Share of them that a thresholded mask keeps.
    pub density: f64,
    /// Mean entropy of their probabilities, in bits.
    pub entropy: f64,
}

impl Record {
    /// Reads the run in the folder at `path`.
    ///
    /// # Errors
    /// If there is no run, or a file that is there is damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let run = RunFolder::open(path)?;
        let settings = run.settings();
        let text = text(&settings)?;
        let settings = text.parse().map_err(|e: toml::de::Error| refuse(&settings, e.message()))?;
        let absolute = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let name = absolute.file_name().unwrap_or(absolute.as_os_str()).to_string_lossy().into_owned();
        let checkpoint = if run.checkpoint().exists() { Some(run.last_checkpoint()?) } else { None };
        let model_bytes = std::fs::metadata(run.model()).ok().map(|found| found.len());
        Ok(Record {
            name,
            settings,
            rounds: rounds(&run.metrics())?,
            partition: json(&run.partition())?,
            model: checkpoint.map(TrainedModel::of),
            pictures: Pictures { by_round: grids(&path.join("samples"))?, finished: picture(&run.samples())? },
            model_bytes,
            evaluation: json(&run.evaluation())?,
            comparison: None,
        })
    }

    /// A figure of every round that has it.
    pub fn curve(&self, key: &str) -> Vec<(f64, f64)> {
        let point = |line: &Map<String, Value>| Some((number(line, "round")?, number(line, key)?));
        self.rounds.iter().filter_map(point).collect()
    }

    /// The sum of a figure over all rounds.
    pub fn sum(&self, key: &str) -> f64 {
        self.curve(key).iter().map(|(_, value)| value).sum()
    }

    /// A figure of the last round that has it.
    pub fn last(&self, key: &str) -> Option<f64> {
        self.curve(key).last().map(|(_, value)| *value)
    }

    /// Clients that were due and missing, and in how many rounds each.
    pub fn missing(&self) -> BTreeMap<u64, usize> {
        let mut found = BTreeMap::new();
        let lists = self.rounds.iter().filter_map(|line| line.get("missing")?.as_array());
        lists.flatten().filter_map(Value::as_u64).for_each(|client| *found.entry(client).or_default() += 1);
        found
    }

    /// The setting `key` of `group` as text, without quotation marks.
    pub fn setting(&self, group: &str, key: &str) -> Option<String> {
        let value = self.settings.get(group)?.get(key)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_string))
    }

    /// What the checkpoint says of the model.
    pub fn description(&self) -> Option<&artifact::Description> {
        self.model.as_ref().map(|model| &model.description)
    }
}

impl TrainedModel {
    fn of(checkpoint: Checkpoint) -> Self {
        let layers = layers(&checkpoint);
        TrainedModel { description: checkpoint.description.model, layers }
    }
}

/// A number of a line that can be drawn; `a.b` is key b of the object at key a.
fn number(line: &Map<String, Value>, key: &str) -> Option<f64> {
    let (outer, inner) = key.split_once('.').map_or((key, None), |(outer, inner)| (outer, Some(inner)));
    let value = line.get(outer)?;
    inner.map_or(Some(value), |inner| value.get(inner))?.as_f64().filter(|x| x.abs() <= LARGEST)
}

fn text(path: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&file::read_bounded(path, MAX_TEXT)?).into_owned())
}

fn refuse(path: &Path, why: &str) -> Error {
    Error::corrupt(path.display().to_string(), why)
}

/// The lines of `metrics.jsonl`; the last one may be half written.
fn rounds(path: &Path) -> Result<Vec<Map<String, Value>>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    Ok(text(path)?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let refuse = |e: serde_json::Error| refuse(path, &format!("{e}; remove it, or write it again"));
    Ok(Some(serde_json::from_str(&text(path)?).map_err(refuse)?))
}

fn picture(path: &Path) -> Result<Option<Vec<u8>>> {
    if path.exists() { Ok(Some(file::read_bounded(path, MAX_PICTURE)?)) } else { Ok(None) }
}

/// The first grid, the last, and some evenly between.
fn grids(folder: &Path) -> Result<Vec<(u32, Vec<u8>)>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let round = |path: &Path| path.file_stem()?.to_str()?.strip_prefix("round-")?.parse::<u32>().ok();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut numbered: Vec<_> = paths.filter_map(|path| Some((round(&path)?, path))).collect();
    numbered.sort();
    let mut chosen: Vec<usize> = match numbered.len() {
        0 => Vec::new(),
        count => (0..MAX_PICTURES).map(|i| i * (count - 1) / (MAX_PICTURES - 1)).collect(),
    };
    chosen.dedup();
    chosen.into_iter().map(|at| Ok((numbered[at].0, file::read_bounded(&numbered[at].1, MAX_PICTURE)?))).collect()
}

fn layers(checkpoint: &Checkpoint) -> Vec<LayerDensity> {
    let model = &checkpoint.description.model;
    let layers = model.architecture.layers();
    if checkpoint.description.dense {
        return Vec::new();
    }
    let density = |scores: &[f32]| scores.iter().filter(|&&s| s > 0.0).count() as f64 / scores.len().max(1) as f64;
    // As `prism-infer info` has them: the layers of a mixture behind their component's number.
    let prefix = |i: usize| mixture::prefix(i / layers.len(), model.components);
    let of = |(i, scores): (usize, &Vec<f32>)| LayerDensity {
        name: format!("{}{}", prefix(i), layers[i % layers.len()].name),
        weights: scores.len(),
        density: density(scores),
        entropy: divergence::entropy_bits(std::slice::from_ref(scores)),
    };
    checkpoint.scores.iter().enumerate().map(of).collect()
}
