//! The noised scores that a client's newest answer was made of, where noise is on masks: a round that is asked for again gets no
//! second noise, whoever asks and however often.

use std::fs;
use std::path::Path;

use prism_core::Error;
use prism_core::tensor_file::{self, FileKind, NamedTensor};
use prism_nn::Result;
use serde::{Deserialize, Serialize};

const KIND: FileKind = FileKind { name: "noised scores", version: 1 };
const NAME: &str = "noised.safetensors";

#[derive(Serialize, Deserialize)]
struct Description {
    round: u32,
}

/// Whether any noise has been drawn by the client whose folder this is.
pub fn has_drawn(folder: &Path) -> bool {
    folder.join(NAME).exists()
}

/// The noised scores of `round`, one list a layer; none where the client has not answered it.
///
/// # Errors
/// If a later round has been answered, or the file is damaged.
pub fn load(folder: &Path, round: u32) -> Result<Option<Vec<Vec<f32>>>> {
    if !has_drawn(folder) {
        return Ok(None);
    }
    let (Description { round: newest }, tensors) = tensor_file::read(&folder.join(NAME), KIND)?;
    if newest > round {
        let why = format!(
            "it asks for round {round}, and this client has answered round {newest}: its noise is for each round once; go on \
             with the later rounds, or agree on a new federation"
        );
        return Err(Error::corrupt("a broadcast", why).into());
    }
    let layers = tensors.into_iter().map(|tensor| tensor.values.into_owned()).collect();
    Ok((newest == round).then_some(layers))
}

/// Keeps the noised scores of `round` in place of an earlier one's. They may be answered with once this returns.
///
/// # Errors
/// If the folder cannot be written.
pub fn save(folder: &Path, round: u32, layers: &[Vec<f32>]) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
    let named = layers.iter().enumerate().map(|(layer, scores)| NamedTensor {
        name: format!("layer.{layer:03}"),
        shape: vec![scores.len()],
        values: scores.as_slice().into(),
    });
    let tensors: Vec<_> = named.collect();
    Ok(tensor_file::write(&folder.join(NAME), KIND, &Description { round }, &tensors)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_round_s_scores_come_back_and_an_earlier_round_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let layers: Vec<Vec<f32>> = (0..12).map(|layer| vec![layer as f32; layer % 3 + 1]).collect();
        assert!(load(folder.path(), 3).unwrap().is_none());
        save(folder.path(), 3, &layers).unwrap();
        assert_eq!(load(folder.path(), 3).unwrap().unwrap(), layers);
        assert!(load(folder.path(), 4).unwrap().is_none());
        assert!(load(folder.path(), 2).unwrap_err().to_string().contains("answered round 3"));
    }
}
