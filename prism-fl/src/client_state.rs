//! What a client keeps between rounds, in its own folder: its optimiser state and its copy of the global scores.
//!
//! Both are written under a name of their round. The server says which of the client's rounds counted, and only states of
//! other rounds are removed; so a client that is killed at any moment goes on from a matching pair.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{Device, Tensor};
use prism_core::arch::Layer;
use prism_core::file::Pending;
use prism_core::tensor_file::{self, FileKind, NamedTensor};
use prism_core::{Architecture, Error};
use prism_nn::Result;
use prism_nn::adam::AdamState;
use serde::{Deserialize, Serialize};

use crate::baselines::moving_average::MovingAverage;
use crate::global_state::GlobalState;
use crate::optimiser::OptimiserState;
use crate::values::values;
use crate::wire::Session;

const OPTIMISER: FileKind = FileKind { name: "optimiser state", version: 1 };
const GLOBAL: FileKind = FileKind { name: "global scores", version: 1 };

#[derive(Serialize, Deserialize)]
struct OptimiserDescription {
    architecture: Architecture,
    seed: u64,
    steps: u64,
    /// Steps of the moving average; 0 where there is none.
    average_steps: u64,
}

#[derive(Serialize, Deserialize)]
struct GlobalDescription {
    seed: u64,
    downlink: String,
    round: u32,
}

/// A folder of optimiser states and global scores.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
}

impl StateFolder {
    /// The folder at `path`, which is made when something is written.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        StateFolder { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn optimiser_path(&self, round: u32) -> PathBuf {
        self.path.join(format!("adam-{round:06}.safetensors"))
    }

    fn global_path(&self, round: u32) -> PathBuf {
        self.path.join(format!("global-{round:06}.safetensors"))
    }

    /// Whether there is an optimiser state after `round`.
    pub fn has_optimiser(&self, round: u32) -> bool {
        self.optimiser_path(round).exists()
    }

    /// The rounds of all optimiser states that are here, ascending.
    pub fn rounds(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let rounds = entries.filter_map(|entry| self.round_of(&entry.path()));
        let mut rounds: Vec<u32> = rounds.filter(|&round| self.has_optimiser(round)).collect();
        rounds.sort_unstable();
        rounds.dedup();
        rounds
    }

    /// Begins to write the optimiser state after `round`; it counts once the pending write is finished.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn begin_save_optimiser(
        &self,
        round: u32,
        arch: &Architecture,
        seed: u64,
        state: &OptimiserState,
    ) -> Result<Pending> {
        self.make()?;
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
        let description =
            OptimiserDescription { architecture: arch.clone(), seed, steps: state.steps(), average_steps };
        Ok(tensor_file::begin_write(&self.optimiser_path(round), OPTIMISER, &description, &named)?)
    }

    /// Reads the optimiser state after `round`; before the first one (`round` 0) it is new.
    ///
    /// # Errors
    /// If the file is missing, damaged, or of another run.
    pub fn load_optimiser(
        &self,
        round: u32,
        arch: &Architecture,
        seed: u64,
        device: &Device,
    ) -> Result<OptimiserState> {
        if round == 0 {
            return OptimiserState::new(arch, device);
        }
        let path = self.optimiser_path(round);
        let (description, mut tensors) = tensor_file::read::<OptimiserDescription>(&path, OPTIMISER)?;
        let refuse = |why: String| Error::corrupt(format!("optimiser state {}", path.display()), why);
        if description.architecture != *arch || description.seed != seed {
            return Err(refuse("it belongs to a run of another architecture or seed".into()).into());
        }
        let mut take = |part: &str, layer: &Layer| -> Result<Tensor> {
            let name = format!("{part}.{}", layer.name);
            let found = tensors.iter_mut().find(|t| t.name == name && t.shape == layer.shape());
            let values = found.map(|t| std::mem::take(&mut t.values).into_owned());
            let values =
                values.ok_or_else(|| refuse(format!("it has no tensor {name} of shape {:?}", layer.shape())))?;
            Ok(Tensor::from_vec(values, &layer.shape(), device)?)
        };
        let layers = arch
            .layers()
            .iter()
            .map(|layer| Ok(AdamState { first: take("first", layer)?, second: take("second", layer)? }))
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

    /// Writes what a client knew in `round` of the global scores, and says where; nothing under a downlink that sends them
    /// whole each time.
    ///
    /// # Errors
    /// If the folder cannot be written.
    fn save_global(&self, round: u32, global: &GlobalState) -> Result<Option<PathBuf>> {
        let session = global.session();
        if session.downlink().grid().is_none() {
            return Ok(None);
        }
        self.make()?;
        let tensors = session.layers().iter().zip(global.scores()).map(|(layer, scores)| NamedTensor {
            name: format!("score.{}", layer.name),
            shape: layer.shape().to_vec(),
            values: scores.into(),
        });
        let tensors: Vec<_> = tensors.collect();
        let downlink = session.downlink().to_string();
        let description = GlobalDescription { seed: session.seed(), downlink, round: global.round() };
        let path = self.global_path(round);
        tensor_file::write(&path, GLOBAL, &description, &tensors)?;
        Ok(Some(path))
    }

    /// Reads what a client knew in `round` of the global scores; before the first one (`round` 0) these are the initial ones.
    ///
    /// # Errors
    /// If the file is missing, damaged, or of another run.
    pub fn load_global(&self, round: u32, session: &Session, mada: bool) -> Result<GlobalState> {
        if session.downlink().grid().is_none() {
            return Ok(GlobalState::at(session.clone(), mada, 0, Vec::new()));
        }
        if round == 0 {
            return Ok(GlobalState::initial(session.clone(), mada));
        }
        let path = self.global_path(round);
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
        Ok(GlobalState::at(session.clone(), mada, description.round, scores))
    }

    /// Removes optimiser states and global scores other than those of `rounds`.
    ///
    /// # Errors
    /// If the folder cannot be read or a file not removed.
    pub fn keep_only(&self, rounds: &[u32]) -> Result<()> {
        let Ok(entries) = fs::read_dir(&self.path) else { return Ok(()) };
        for entry in entries {
            let path = entry.map_err(|e| Error::io("read", &self.path, e))?.path();
            if self.round_of(&path).is_some_and(|found| !rounds.contains(&found)) {
                fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
            }
        }
        Ok(())
    }

    /// The round of the state or the scores at `path`, if that is the very name which these have here.
    fn round_of(&self, path: &Path) -> Option<u32> {
        let round = path.file_stem()?.to_str()?.split_once('-')?.1.parse().ok()?;
        [self.optimiser_path(round), self.global_path(round)].iter().any(|own| own == path).then_some(round)
    }

    fn make(&self) -> Result<()> {
        Ok(fs::create_dir_all(&self.path).map_err(|e| Error::io("create the folder", &self.path, e))?)
    }
}

/// What a client knows once it has the server's message.
///
/// It is a function of the state that the client was at and of the message, bit by bit: clients of one process that were at the
/// same state share it, and keep one file of it in all their folders.
pub struct ReceivedState {
    /// The global scores.
    pub global: GlobalState,
    /// Where they have been written to.
    file: OnceLock<PathBuf>,
}

impl ReceivedState {
    /// A client that is at `global`.
    pub fn new(global: GlobalState) -> Self {
        ReceivedState { global, file: OnceLock::new() }
    }

    /// Writes it into a client's folder, as what the client knew in `round`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, folder: &StateFolder, round: u32) -> Result<()> {
        // Another client may have written it; not every file system lets folders share a file.
        let link = |file: &PathBuf| folder.make().is_ok() && fs::hard_link(file, folder.global_path(round)).is_ok();
        if self.file.get().is_some_and(link) {
            return Ok(());
        }
        folder.save_global(round, &self.global)?.into_iter().for_each(|path| _ = self.file.set(path));
        Ok(())
    }
}

/// What identifies a received state: the round, the digest of the state before it, and the message's checksum.
pub type ReceivedKey = (u32, [u8; 8], [u8; 8]);

/// The received states of a round, so that clients of one process decode a message once.
#[derive(Default)]
pub struct ReceiveCache(Mutex<Vec<(ReceivedKey, Arc<ReceivedState>)>>);

impl ReceiveCache {
    /// The state under `key`, computed by `receive` if nobody has had it; states of other rounds are dropped.
    ///
    /// # Errors
    /// Those of `receive`.
    pub fn get<E>(
        &self,
        key: ReceivedKey,
        receive: impl FnOnce() -> std::result::Result<GlobalState, E>,
    ) -> std::result::Result<Arc<ReceivedState>, E> {
        // Whole entries go in and out, so a panic elsewhere cannot have left one half written.
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|((round, ..), _)| *round == key.0);
        if let Some((_, found)) = states.iter().find(|(other, _)| *other == key) {
            return Ok(Arc::clone(found));
        }
        let received = Arc::new(ReceivedState::new(receive()?));
        states.push((key, Arc::clone(&received)));
        Ok(received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_states_of_other_rounds_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let kept = ["adam-000007.safetensors", "global-000007.safetensors", "adam-7.safetensors", "adam-000001.png"];
        let others =
            ["adam-and-eve.safetensors", "global-warming.csv", "adam-+00001.safetensors", "other-000001.safetensors"];
        let removed = ["adam-000006.safetensors", "global-1000000.safetensors"];
        let states = StateFolder::new(folder.path());
        for name in kept.iter().chain(&others).chain(&removed) {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        states.keep_only(&[6, 7]).unwrap();
        assert!(folder.path().join("adam-000006.safetensors").exists(), "both of these rounds are kept");
        states.keep_only(&[7]).unwrap();
        assert!(kept.iter().chain(&others).all(|name| folder.path().join(name).exists()));
        assert!(removed.iter().all(|name| !folder.path().join(name).exists()));
    }
}
