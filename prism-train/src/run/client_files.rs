//! What a client keeps between rounds: its optimiser state, its copy of the global scores, and its feature moments, in its
//! own folder.
//!
//! What does not fit into memory is loaded when the client takes part and dropped after it, so a run's memory does not grow with
//! the number of clients. State and scores are written under a name of their round; the checkpoint says which names count, and
//! only then are older ones removed. So a run that is killed at any moment resumes from a matching set.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use prism_core::arch::Layer;
use prism_core::file::Pending;
use prism_core::tensor_file::{self, FileKind, NamedTensor};
use prism_core::wire::Session;
use prism_core::{Architecture, Error};
use prism_nn::adam::Moments;
use prism_nn::{Result, SecondMoment};
use serde::{Deserialize, Serialize};

use crate::federation::moving_average::MovingAverage;
use crate::federation::{Global, OptimiserState};
use crate::moments::{ClientMoments, LayerMoments};
use crate::values::values;

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
    /// What the second moments are, and what they are called.
    #[serde(default)]
    second: SecondMoment,
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

/// Where the feature moments in a client's `folder`, or in the one that all share, are.
pub fn moments_path(folder: &Path) -> PathBuf {
    folder.join("moments.safetensors")
}

/// Where the `folder` that all share says at which values classes part into styles, if that was drawn with noise.
pub fn thresholds_path(folder: &Path) -> PathBuf {
    folder.join("styles.json")
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
        tensors.push((format!("first.{}", layer.name), moments.first.clone()));
        tensors.push((format!("second.{}", layer.name), moments.second.clone()));
    }
    tensors.extend(state.average.iter().flat_map(MovingAverage::tensors));
    let held: Vec<_> = tensors.iter().map(|(_, tensor)| tensor.storage_and_layout()).collect();
    let named = tensors.iter().zip(&held).map(|((name, tensor), (storage, layout))| {
        let (name, shape) = (name.clone(), tensor.dims().to_vec());
        Ok(NamedTensor { name, shape, values: values(tensor, storage, layout)? })
    });
    let named = named.collect::<Result<Vec<_>>>()?;
    let average_steps = state.average.as_ref().map_or(0, MovingAverage::steps);
    let description = OptimiserDescription { architecture: arch.clone(), seed, steps: state.steps(), average_steps };
    Ok(tensor_file::begin_write(&state_path(folder, round), OPTIMISER, &description, &named)?)
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
        let values = found.map(|t| std::mem::take(&mut t.values).into_owned());
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

/// Writes what a client knew in `round` of the global scores into its `folder`, and says where; nothing under a downlink that
/// sends them whole each time.
///
/// # Errors
/// If the folder cannot be written.
pub fn save_global(folder: &Path, round: u32, session: &Session, global: &Global) -> Result<Option<PathBuf>> {
    if session.downlink().grid().is_none() {
        return Ok(None);
    }
    make(folder)?;
    let tensors = session.layers().iter().zip(global.scores()).map(|(layer, scores)| NamedTensor {
        name: format!("score.{}", layer.name),
        shape: layer.shape().to_vec(),
        values: scores.into(),
    });
    let tensors: Vec<_> = tensors.collect();
    let description =
        GlobalDescription { seed: session.seed(), downlink: session.downlink().to_string(), round: global.round() };
    let path = global_path(folder, round);
    tensor_file::write(&path, GLOBAL, &description, &tensors)?;
    Ok(Some(path))
}

/// Makes `file`, which another client has written in the same `round`, the one in this client's `folder` as well; `false` where
/// the file system cannot, or there is one already.
pub fn share_global(file: &Path, folder: &Path, round: u32) -> bool {
    make(folder).is_ok() && fs::hard_link(file, global_path(folder, round)).is_ok()
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
        found.map(|t| std::mem::take(&mut t.values).into_owned()).ok_or_else(|| refuse("a layer is missing"))
    };
    let scores = session.layers().iter().map(&mut take).collect::<std::result::Result<_, _>>()?;
    Ok(Global::at(session.clone(), mada, description.round, scores))
}

/// Removes a client's optimiser states and global scores other than those of `rounds`.
///
/// # Errors
/// If the folder cannot be read or a file not removed.
pub fn remove_other_states(folder: &Path, rounds: &[u32]) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(|e| Error::io("read", folder, e))?.path();
        if round_of_state(folder, &path).is_some_and(|found| !rounds.contains(&found)) {
            fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    Ok(())
}

/// The round of the state or the scores at `path`, if that is the very name which these have in `folder`.
fn round_of_state(folder: &Path, path: &Path) -> Option<u32> {
    let round = path.file_stem()?.to_str()?.split_once('-')?.1.parse().ok()?;
    [state_path(folder, round), global_path(folder, round)].iter().any(|own| own == path).then_some(round)
}

/// Writes a client's feature moments into its `folder`.
///
/// # Errors
/// If the folder cannot be written.
pub fn save_moments(folder: &Path, key: &MomentsKey, moments: &ClientMoments) -> Result<()> {
    make(folder)?;
    let mut tensors = Vec::new();
    let second = moments.kind().name();
    for (layer, moments) in moments.layers().iter().enumerate() {
        tensors.push(named(format!("mean.{layer}"), &moments.mean)?);
        tensors.push(named(format!("{second}.{layer}"), &moments.second)?);
        tensors.push(named(format!("scale.{layer}"), &moments.scale)?);
        if let Some([mean, weight]) = &moments.weights {
            tensors.push(named(format!("mean-weight.{layer}"), mean)?);
            tensors.push(named(format!("{second}-weight.{layer}"), weight)?);
        }
    }
    let (classes, second, grid) = (moments.groups().to_vec(), moments.kind(), moments.grid());
    let description = MomentsDescription { key: key.clone(), classes, second, grid, sent: moments.sent() };
    Ok(tensor_file::write(&moments_path(folder), MOMENTS, &description, &tensors)?)
}

/// What the feature moments in `folder` were measured on, if there are any.
///
/// # Errors
/// If the file is damaged.
pub fn found_key(folder: &Path) -> Result<Option<MomentsKey>> {
    let path = moments_path(folder);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(tensor_file::read::<MomentsDescription>(&path, MOMENTS)?.0.key))
}

/// Whether there are feature moments in `folder`.
///
/// # Errors
/// [`Error::Usage`] if they are of other images or another encoder than those with the digests `data` and `encoder`, or the file
/// is damaged.
pub fn check_source(folder: &Path, (data, encoder): (&str, &str)) -> Result<bool> {
    let Some(key) = found_key(folder)? else { return Ok(false) };
    for (same, what, remedy) in [
        (key.data == data, "other images than these", "its own --data-dir, with the files as they were"),
        (key.encoder == encoder, "its images by another encoder than this", "its own encoder's file"),
    ] {
        if !same {
            return Err(Error::usage(format!(
                "the run has measured {what} (see {}); give it {remedy}, or start a new run",
                moments_path(folder).display()
            ))
            .into());
        }
    }
    Ok(true)
}

/// A client's feature moments, if they were saved before; `groups` is one more than the greatest number that a group may have.
///
/// # Errors
/// If the file is damaged, or was measured on other images or with another encoder than `key` says.
pub fn load_moments(folder: &Path, key: &MomentsKey, groups: usize, device: &Device) -> Result<Option<ClientMoments>> {
    let path = moments_path(folder);
    if !path.exists() {
        return Ok(None);
    }
    let (description, mut tensors) = tensor_file::read::<MomentsDescription>(&path, MOMENTS)?;
    let refuse = |why: String| Error::corrupt(format!("feature moments {}", path.display()), why);
    if description.key != *key {
        let why = "they were measured on other images, with another encoder or under other privacy; give the run's own \
                   --data-dir, or start a new run";
        return Err(refuse(why.into()).into());
    }
    check_groups(&description, groups).map_err(refuse)?;
    let mut layers = Vec::new();
    let groups = (description.classes.len(), description.second);
    while let Some(layer) = take_layer(&mut tensors, layers.len(), groups, device, &refuse)? {
        layers.push(layer);
    }
    if layers.is_empty() {
        return Err(refuse("they are of no encoder layer; start a new run".into()).into());
    }
    let moments = ClientMoments::from_parts(description.classes, layers, description.second, description.grid);
    Ok(Some(moments.with_sent(description.sent)))
}

/// Refuses groups that the data cannot have, and a grid that no features have.
fn check_groups(description: &MomentsDescription, groups: usize) -> std::result::Result<(), String> {
    let found = &description.classes;
    let ascending = found.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || found.last().is_none_or(|&last| last as usize >= groups) {
        return Err(format!(
            "their groups are {found:?} where ascending numbers below {groups} are due; start a new run"
        ));
    }
    match description.grid {
        Some(side) if !side.is_power_of_two() => Err(format!("their grid is {side}, no power of two; start a new run")),
        _ => Ok(()),
    }
}

/// The moments of one layer of so many groups, taken out of `tensors`; none if there is no such layer.
fn take_layer(
    tensors: &mut [NamedTensor<'_>],
    layer: usize,
    (groups, kind): (usize, SecondMoment),
    device: &Device,
    refuse: &dyn Fn(String) -> Error,
) -> Result<Option<LayerMoments>> {
    let mut take = |part: &str| -> Result<Option<Tensor>> {
        let name = format!("{part}.{layer}");
        let Some(found) = tensors.iter_mut().find(|t| t.name == name) else { return Ok(None) };
        if found.shape.len() != 2 || found.shape[0] != groups {
            return Err(refuse(format!("tensor {name} has not one row for each group; start a new run")).into());
        }
        if let Some(odd) = found.values.iter().find(|value| !value.is_finite()) {
            return Err(refuse(format!("tensor {name} holds {odd}; moments are finite")).into());
        }
        let values = std::mem::take(&mut found.values).into_owned();
        Ok(Some(Tensor::from_vec(values, found.shape.as_slice(), device)?))
    };
    let (Some(mean), Some(second), Some(scale)) = (take("mean")?, take(kind.name())?, take("scale")?) else {
        return Ok(None);
    };
    let of_second = take(&format!("{}-weight", kind.name()))?;
    let weights = take("mean-weight")?.zip(of_second).map(|(mean, second)| [mean, second]);
    let like_mean = |tensor: &Tensor| tensor.dims() == mean.dims();
    if !like_mean(&second) || scale.dims() != [groups, 1] || !weights.iter().flatten().all(like_mean) {
        return Err(refuse(format!("the tensors of layer {layer} differ in shape; start a new run")).into());
    }
    Ok(Some(LayerMoments { mean, second, scale, weights }))
}

fn named(name: String, tensor: &Tensor) -> Result<NamedTensor<'static>> {
    Ok(NamedTensor { name, shape: tensor.dims().to_vec(), values: tensor.flatten_all()?.to_vec1()?.into() })
}

fn make(folder: &Path) -> Result<()> {
    Ok(fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(data: &str) -> MomentsKey {
        let [data, members, encoder] = [data, "m", "e"].map(String::from);
        MomentsKey { data, members, encoder, conditional: true, styles: 1, privacy: RAW.into() }
    }

    /// Moments of `groups`, each of whose values is `value`, in as many layers.
    fn moments(groups: &[u32], layers: usize, value: f32) -> ClientMoments {
        let full = |width| Tensor::full(value, (groups.len(), width), &Device::Cpu).unwrap();
        let layer = |_| LayerMoments { mean: full(3), second: full(3), scale: full(1), weights: None };
        ClientMoments::from_parts(groups.to_vec(), (0..layers).map(layer).collect(), SecondMoment::Variance, None)
    }

    #[test]
    fn moments_that_no_data_has_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let load = |moments: &ClientMoments| {
            save_moments(folder.path(), &key("d"), moments).unwrap();
            load_moments(folder.path(), &key("d"), 3, &Device::Cpu)
        };
        assert_eq!(load(&moments(&[0, 2], 1, 1.0)).unwrap().unwrap().groups(), [0, 2]);
        for (groups, layers, value, word) in [
            (&[][..], 1, 1.0, "groups"),
            (&[0, 0], 1, 1.0, "groups"),
            (&[2, 1], 1, 1.0, "groups"),
            (&[0, 3], 1, 1.0, "below 3"),
            (&[0, 1], 0, 1.0, "no encoder layer"),
            (&[0, 1], 1, f32::NAN, "finite"),
        ] {
            let error = load(&moments(groups, layers, value)).unwrap_err();
            assert!(error.exit_code() == 1 && error.to_string().contains(word), "{groups:?}: {error}");
        }
        let mut odd = moments(&[0, 1], 1, 1.0).layers().to_vec();
        odd[0].scale = odd[0].mean.clone();
        assert!(
            load(&ClientMoments::from_parts(vec![0, 1], odd, SecondMoment::Variance, None))
                .unwrap_err()
                .to_string()
                .contains("shape")
        );
        let gridded = ClientMoments::from_parts(
            vec![0],
            moments(&[0], 1, 1.0).layers().to_vec(),
            SecondMoment::Variance,
            Some(0),
        );
        assert!(load(&gridded).unwrap_err().to_string().contains("grid"));
    }

    #[test]
    fn moments_of_other_images_are_told_before_they_are_used() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!check_source(folder.path(), ("d", "e")).unwrap());
        save_moments(folder.path(), &key("d"), &moments(&[0], 1, 1.0)).unwrap();
        assert!(check_source(folder.path(), ("d", "e")).unwrap());
        for (found, word) in [(("x", "e"), "--data-dir"), (("d", "x"), "encoder")] {
            let error = check_source(folder.path(), found).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn second_moments_are_read_as_what_they_were_written_as() {
        let folder = tempfile::tempdir().unwrap();
        for kind in [SecondMoment::Variance, SecondMoment::Square] {
            let mut layer = moments(&[0], 1, 1.0).layers()[0].clone();
            layer.weights = Some([layer.mean.clone(), (&layer.mean * 3.0).unwrap()]);
            save_moments(folder.path(), &key("d"), &ClientMoments::from_parts(vec![0], vec![layer], kind, None))
                .unwrap();
            let found = load_moments(folder.path(), &key("d"), 1, &Device::Cpu).unwrap().unwrap();
            let [_, of_second] = found.layers()[0].weights.as_ref().unwrap();
            assert_eq!((found.kind(), of_second.to_vec2::<f32>().unwrap()), (kind, vec![vec![3.0; 3]]));
        }
    }

    #[test]
    fn only_states_of_other_rounds_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let kept = ["adam-000007.safetensors", "global-000007.safetensors", "adam-7.safetensors", "adam-000001.png"];
        let others =
            ["adam-and-eve.safetensors", "global-warming.csv", "adam-+00001.safetensors", "other-000001.safetensors"];
        let removed = ["adam-000006.safetensors", "global-1000000.safetensors"];
        for name in kept.iter().chain(&others).chain(&removed) {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        remove_other_states(folder.path(), &[6, 7]).unwrap();
        assert!(folder.path().join("adam-000006.safetensors").exists(), "both of these rounds are kept");
        remove_other_states(folder.path(), &[7]).unwrap();
        assert!(kept.iter().chain(&others).all(|name| folder.path().join(name).exists()));
        assert!(removed.iter().all(|name| !folder.path().join(name).exists()));
    }
}
