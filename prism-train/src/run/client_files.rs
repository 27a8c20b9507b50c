//! What a client keeps between rounds: its optimiser state, its copy of the global scores, and its feature moments, in its
//! own folder.
//!
//! Both are loaded when the client takes part and dropped after it, so a run's memory does not grow with the number of
//! clients. State and scores are written under a new name each round; the checkpoint says which name counts, and only
//! then are older ones removed. So a run that is killed at any moment resumes from a matching set.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use prism_core::arch::Layer;
use prism_core::file::Pending;
use prism_core::tensor_file::{self, FileKind, NamedTensor};
use prism_core::wire::Session;
use prism_core::{Architecture, Error};
use prism_nn::Result;
use prism_nn::adam::Moments;
use serde::{Deserialize, Serialize};

use crate::federation::moving_average::MovingAverage;
use crate::federation::{Global, OptimiserState};
use crate::moments::{ClientMoments, LayerMoments};

const OPTIMISER: FileKind = FileKind { name: "optimiser state", version: 1 };
const GLOBAL: FileKind = FileKind { name: "global scores", version: 1 };
const MOMENTS: FileKind = FileKind { name: "feature moments", version: 2 };

#[derive(Serialize, Deserialize)]
struct OptimiserDescription {
    architecture: Architecture,
    seed: u64,
    steps: u64,
    /// Steps of the moving average; 0 where there is none.
    #[serde(default)]
    average_steps: u64,
}

/// What feature moments were measured on; moments under another key are never used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MomentsKey {
    /// Digest of the data set's pixels and labels.
    pub data: String,
    /// Digest of the client's image numbers.
    pub members: String,
    /// Digest of the encoder.
    pub encoder: String,
    /// Whether moments are per class.
    pub conditional: bool,
    /// Styles of a class.
    #[serde(default = "one")]
    pub styles: usize,
    /// How they are protected: [`RAW`], or everything that the noise depends on.
    pub privacy: String,
}

/// The styles of moments that were measured before there were any.
fn one() -> usize {
    1
}

/// The protection of moments that have none.
pub const RAW: &str = "none";

#[derive(Serialize, Deserialize)]
struct MomentsDescription {
    key: MomentsKey,
    /// The number of each group; its name is from before there were styles.
    classes: Vec<u32>,
    grid: Option<usize>,
    /// Bytes that clients sent for them.
    #[serde(default)]
    sent: u64,
}

fn state_path(folder: &Path, round: u32) -> PathBuf {
    folder.join(format!("adam-{round:06}.safetensors"))
}

fn global_path(folder: &Path, round: u32) -> PathBuf {
    folder.join(format!("global-{round:06}.safetensors"))
}

fn moments_path(folder: &Path) -> PathBuf {
    folder.join("moments.safetensors")
}

/// Writes the optimiser state of a client after `round` into its `folder`; it counts once the pending write is finished.
///
/// # Errors
/// If the folder cannot be written.
pub fn save_state(
    folder: &Path,
    round: u32,
    arch: &Architecture,
    seed: u64,
    state: &OptimiserState,
) -> Result<Pending> {
    make(folder)?;
    let mut tensors = Vec::new();
    for (layer, moments) in arch.layers().iter().zip(state.layers()) {
        tensors.push(named(format!("first.{}", layer.name), &moments.first)?);
        tensors.push(named(format!("second.{}", layer.name), &moments.second)?);
    }
    for (name, tensor) in state.average.iter().flat_map(MovingAverage::tensors) {
        tensors.push(named(name, &tensor)?);
    }
    let average_steps = state.average.as_ref().map_or(0, MovingAverage::steps);
    let description = OptimiserDescription { architecture: arch.clone(), seed, steps: state.steps(), average_steps };
    Ok(tensor_file::begin_write(&state_path(folder, round), OPTIMISER, &description, &tensors)?)
}

/// Reads the optimiser state of a client after `round`; a client that never trained (`round` 0) starts afresh.
///
/// # Errors
/// If the file is missing, damaged, or of another run.
pub fn load_state(
    folder: &Path,
    round: u32,
    arch: &Architecture,
    seed: u64,
    device: &Device,
) -> Result<OptimiserState> {
    if round == 0 {
        return OptimiserState::new(arch, device);
    }
    let path = state_path(folder, round);
    let (description, mut tensors) = tensor_file::read::<OptimiserDescription>(&path, OPTIMISER)?;
    let refuse = |why: String| Error::corrupt(format!("optimiser state {}", path.display()), why);
    if description.architecture != *arch || description.seed != seed {
        return Err(refuse("it belongs to a run of another architecture or seed".into()).into());
    }
    let mut take = |part: &str, layer: &Layer| -> Result<Tensor> {
        let name = format!("{part}.{}", layer.name);
        let found = tensors.iter_mut().find(|t| t.name == name && t.shape == layer.shape());
        let values = found.map(|t| std::mem::take(&mut t.values));
        let values = values.ok_or_else(|| refuse(format!("it has no tensor {name} of shape {:?}", layer.shape())))?;
        Ok(Tensor::from_vec(values, &layer.shape(), device)?)
    };
    let layers = arch
        .layers()
        .iter()
        .map(|layer| Ok(Moments { first: take("first", layer)?, second: take("second", layer)? }))
        .collect::<Result<_>>()?;
    let average = (description.average_steps > 0).then(|| {
        let find = |name: &str| {
            let found = tensors.iter().find(|tensor| tensor.name == name);
            found.map(|t| Tensor::from_slice(&t.values, t.shape.as_slice(), device)).transpose()
        };
        MovingAverage::from_tensors(description.average_steps, find).map_err(|e| refuse(e.to_string()))
    });
    Ok(OptimiserState::from_layers(description.steps, layers, average.transpose()?))
}

#[derive(Serialize, Deserialize)]
struct GlobalDescription {
    seed: u64,
    downlink: String,
    round: u32,
}

/// Writes what a client knew in `round` of the global scores into its `folder`; nothing under a downlink that sends them
/// whole each time.
///
/// # Errors
/// If the folder cannot be written.
pub fn save_global(folder: &Path, round: u32, session: &Session, global: &Global) -> Result<()> {
    if session.downlink().grid().is_none() {
        return Ok(());
    }
    make(folder)?;
    let tensors = session.layers().iter().zip(global.scores()).map(|(layer, scores)| NamedTensor {
        name: format!("score.{}", layer.name),
        shape: layer.shape().to_vec(),
        values: scores.clone(),
    });
    let tensors: Vec<_> = tensors.collect();
    let description =
        GlobalDescription { seed: session.seed(), downlink: session.downlink().to_string(), round: global.round() };
    Ok(tensor_file::write(&global_path(folder, round), GLOBAL, &description, &tensors)?)
}

/// Reads what a client knew in `round` of the global scores; a client that never trained (`round` 0) knows the initial ones.
///
/// # Errors
/// If the file is missing, damaged, or of another run.
pub fn load_global(folder: &Path, round: u32, session: &Session, mada: bool) -> Result<Global> {
    if session.downlink().grid().is_none() {
        return Ok(Global::at(session.clone(), mada, 0, Vec::new()));
    }
    if round == 0 {
        return Ok(Global::initial(session.clone(), mada));
    }
    let path = global_path(folder, round);
    let (description, mut tensors) = tensor_file::read::<GlobalDescription>(&path, GLOBAL)?;
    let refuse = |why: &str| Error::corrupt(format!("global scores {}", path.display()), why);
    if description.seed != session.seed() || description.downlink != session.downlink().to_string() {
        return Err(refuse("they belong to a run of another seed or downlink").into());
    }
    let mut take = |layer: &Layer| {
        let name = format!("score.{}", layer.name);
        let found = tensors.iter_mut().find(|t| t.name == name && t.shape == layer.shape());
        found.map(|t| std::mem::take(&mut t.values)).ok_or_else(|| refuse("a layer is missing"))
    };
    let scores = session.layers().iter().map(&mut take).collect::<std::result::Result<_, _>>()?;
    Ok(Global::at(session.clone(), mada, description.round, scores))
}

/// Removes a client's optimiser states and global scores other than those of `round`.
///
/// # Errors
/// If the folder cannot be read or a file not removed.
pub fn remove_other_states(folder: &Path, round: u32) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let kept = [state_path(folder, round), global_path(folder, round)];
    for entry in entries {
        let path = entry.map_err(|e| Error::io("read", folder, e))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let is_state = name.starts_with("adam-") || name.starts_with("global-");
        if is_state && !kept.contains(&path) {
            fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    Ok(())
}

/// Writes a client's feature moments into its `folder`.
///
/// # Errors
/// If the folder cannot be written.
pub fn save_moments(folder: &Path, key: &MomentsKey, moments: &ClientMoments) -> Result<()> {
    make(folder)?;
    let mut tensors = Vec::new();
    for (layer, moments) in moments.layers().iter().enumerate() {
        tensors.push(named(format!("mean.{layer}"), &moments.mean)?);
        tensors.push(named(format!("variance.{layer}"), &moments.variance)?);
        tensors.push(named(format!("scale.{layer}"), &moments.scale)?);
        if let Some([mean, variance]) = &moments.weights {
            tensors.push(named(format!("mean-weight.{layer}"), mean)?);
            tensors.push(named(format!("variance-weight.{layer}"), variance)?);
        }
    }
    let (classes, grid) = (moments.groups().to_vec(), moments.grid());
    let description = MomentsDescription { key: key.clone(), classes, grid, sent: moments.sent() };
    Ok(tensor_file::write(&moments_path(folder), MOMENTS, &description, &tensors)?)
}

/// A client's feature moments, if they were saved before.
///
/// # Errors
/// If the file is damaged, or was measured on other images or with another encoder than `key` says.
pub fn load_moments(folder: &Path, key: &MomentsKey, device: &Device) -> Result<Option<ClientMoments>> {
    let path = moments_path(folder);
    if !path.exists() {
        return Ok(None);
    }
    let (description, mut tensors) = tensor_file::read::<MomentsDescription>(&path, MOMENTS)?;
    let refuse = |why: &str| Error::corrupt(format!("feature moments {}", path.display()), why);
    if description.key != *key {
        return Err(refuse(
            "they were measured on other images, with another encoder or under other privacy; give the run's own --data-dir, \
             or start a new run",
        )
        .into());
    }
    let mut tensor = |name: String| -> Result<Option<Tensor>> {
        let Some(found) = tensors.iter_mut().find(|t| t.name == name) else { return Ok(None) };
        if found.shape.len() != 2 || found.shape[0] != description.classes.len() {
            return Err(refuse("a tensor has not one row for each class").into());
        }
        Ok(Some(Tensor::from_vec(std::mem::take(&mut found.values), found.shape.as_slice(), device)?))
    };
    let mut layers = Vec::new();
    loop {
        let mut part = |name: &str| tensor(format!("{name}.{}", layers.len()));
        let (Some(mean), Some(variance), Some(scale)) = (part("mean")?, part("variance")?, part("scale")?) else {
            break;
        };
        let weights = part("mean-weight")?.zip(part("variance-weight")?).map(|(mean, variance)| [mean, variance]);
        layers.push(LayerMoments { mean, variance, scale, weights });
    }
    let moments = ClientMoments::from_parts(description.classes, layers, description.grid);
    Ok(Some(moments.with_sent(description.sent)))
}

fn named(name: String, tensor: &Tensor) -> Result<NamedTensor> {
    Ok(NamedTensor { name, shape: tensor.dims().to_vec(), values: tensor.flatten_all()?.to_vec1()? })
}

fn make(folder: &Path) -> Result<()> {
    Ok(fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?)
}
