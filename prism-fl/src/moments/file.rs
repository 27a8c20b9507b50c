//! `moments.safetensors`: feature moments in the folder of whoever trains on them.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Layout, Storage, Tensor};
use prism_core::Error;
use prism_core::tensor_file::{self, FileKind, NamedTensor};
use prism_nn::{Result, SecondMoment};
use serde::{Deserialize, Serialize};

use super::{ClientMoments, LayerMoments};

const MOMENTS: FileKind = FileKind { name: "feature moments", version: 3 };

/// The protection of moments that have none.
pub const RAW: &str = "none";

/// What feature moments were measured on; moments of another source are never used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MomentsSource {
    /// Digest of a client's images, which stays in its own folder; empty in a server's, which knows none.
    pub data: String,
    /// Digest of the encoder.
    pub encoder: String,
    /// Subclasses of a class.
    pub subclasses: usize,
    /// How they are protected: [`RAW`], or everything that the noise depends on.
    pub privacy: String,
}

impl MomentsSource {
    /// Refuses this source, which was found at `path`, if it is not the one that is `due`.
    ///
    /// # Errors
    /// [`Error::Usage`] saying in what they differ, and what to do.
    pub fn check(&self, due: &MomentsSource, path: &Path) -> Result<()> {
        if self == due {
            return Ok(());
        }
        let why = format!("{} does not go with this run: {}", path.display(), self.difference(due));
        Err(Error::usage(why).into())
    }

    /// In what this source differs from the one that is due, and what to do.
    fn difference(&self, due: &MomentsSource) -> String {
        let parts = [
            (self.data == due.data, "they were measured on other images; give the run's own images, as they were"),
            (self.encoder == due.encoder, "they were measured by another encoder; give the run's own"),
            (self.subclasses == due.subclasses, "they are of another number of subclasses"),
            (self.privacy == due.privacy, "they are under other privacy settings"),
        ];
        let found = parts.into_iter().find_map(|(same, what)| (!same).then_some(what));
        format!("{}, or start a new run", found.unwrap_or("they are of another source"))
    }
}

#[derive(Serialize, Deserialize)]
struct MomentsDescription {
    source: MomentsSource,
    /// The number of each group.
    groups: Vec<u32>,
    /// What the second moments are, and what they are called.
    second: SecondMoment,
    grid: Option<usize>,
    /// Bytes that clients sent for them.
    sent: u64,
}

/// Where the feature moments in `folder` are.
pub fn moments_path(folder: &Path) -> PathBuf {
    folder.join("moments.safetensors")
}

/// Writes a client's feature moments into its `folder`.
///
/// # Errors
/// If the folder cannot be written.
pub fn save_moments(folder: &Path, source: &MomentsSource, moments: &ClientMoments) -> Result<()> {
    make(folder)?;
    let mut parts = Vec::new();
    let second = moments.kind();
    for (layer, moments) in moments.layers().iter().enumerate() {
        parts.push((format!("mean.{layer}"), &moments.mean));
        parts.push((format!("{second}.{layer}"), &moments.second));
        parts.push((format!("scale.{layer}"), &moments.scale));
        if let Some([mean, weight]) = &moments.weights {
            parts.push((format!("mean-weight.{layer}"), mean));
            parts.push((format!("{second}-weight.{layer}"), weight));
        }
    }
    // They are written from where they are, for they may fill half of the memory.
    let held: Vec<_> = parts.iter().map(|(_, tensor)| tensor.storage_and_layout()).collect();
    let parts = parts.iter().zip(&held);
    let tensors = parts.map(|((name, tensor), (storage, layout))| named(name, tensor, (storage, layout)));
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    let (groups, second, grid) = (moments.groups().to_vec(), moments.kind(), moments.grid());
    let description = MomentsDescription { source: source.clone(), groups, second, grid, sent: moments.sent() };
    Ok(tensor_file::write(&moments_path(folder), MOMENTS, &description, &tensors)?)
}

/// Refuses moments in `folder` that are of another source than `source`, without reading them into use.
///
/// # Errors
/// If the file is damaged, or of another source.
pub fn check_moments(folder: &Path, source: &MomentsSource) -> Result<()> {
    let path = moments_path(folder);
    if !path.exists() {
        return Ok(());
    }
    let (description, _) = tensor_file::read::<MomentsDescription>(&path, MOMENTS)?;
    description.source.check(source, &path)
}

/// A client's feature moments, if they were saved before; `groups` is one more than the greatest number that a group may have.
///
/// # Errors
/// If the file is damaged, or was measured on other images or with another encoder than `source` says.
pub fn load_moments(
    folder: &Path,
    source: &MomentsSource,
    groups: usize,
    device: &Device,
) -> Result<Option<ClientMoments>> {
    let path = moments_path(folder);
    if !path.exists() {
        return Ok(None);
    }
    let (description, mut tensors) = tensor_file::read::<MomentsDescription>(&path, MOMENTS)?;
    let refuse = |why: String| Error::corrupt(format!("feature moments {}", path.display()), why);
    if description.source != *source {
        return Err(refuse(description.source.difference(source)).into());
    }
    check_groups(&description, groups).map_err(refuse)?;
    let mut layers = Vec::new();
    let groups = (description.groups.len(), description.second);
    while let Some(layer) = take_layer(&mut tensors, layers.len(), groups, device, &refuse)? {
        layers.push(layer);
    }
    if layers.is_empty() {
        return Err(refuse("they are of no encoder layer; start a new run".into()).into());
    }
    let moments = ClientMoments::from_parts(description.groups, layers, description.second, description.grid);
    Ok(Some(moments.with_sent(description.sent)))
}

/// Refuses groups that the data cannot have, and a grid that no features have.
fn check_groups(description: &MomentsDescription, groups: usize) -> std::result::Result<(), String> {
    let found = &description.groups;
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
    let (Some(mean), Some(second), Some(scale)) = (take("mean")?, take(&kind.to_string())?, take("scale")?) else {
        return Ok(None);
    };
    let of_second = take(&format!("{}-weight", kind))?;
    let weights = take("mean-weight")?.zip(of_second).map(|(mean, second)| [mean, second]);
    let like_mean = |tensor: &Tensor| tensor.dims() == mean.dims();
    if !like_mean(&second) || scale.dims() != [groups, 1] || !weights.iter().flatten().all(like_mean) {
        return Err(refuse(format!("the tensors of layer {layer} differ in shape; start a new run")).into());
    }
    Ok(Some(LayerMoments { mean, second, scale, weights }))
}

fn named<'a>(name: &str, tensor: &Tensor, (storage, layout): (&'a Storage, &Layout)) -> Result<NamedTensor<'a>> {
    let values = match (storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => Cow::Borrowed(&storage.as_slice()?[start..end]),
        _ => Cow::Owned(tensor.flatten_all()?.to_vec1()?),
    };
    Ok(NamedTensor { name: name.into(), shape: tensor.dims().to_vec(), values })
}

fn make(folder: &Path) -> Result<()> {
    Ok(fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(data: &str) -> MomentsSource {
        MomentsSource { data: data.into(), encoder: "e".into(), subclasses: 1, privacy: RAW.into() }
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
            save_moments(folder.path(), &source("d"), moments).unwrap();
            load_moments(folder.path(), &source("d"), 3, &Device::Cpu)
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
    fn moments_of_other_images_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        save_moments(folder.path(), &source("d"), &moments(&[0], 1, 1.0)).unwrap();
        let error = load_moments(folder.path(), &source("x"), 3, &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("other images"), "{error}");
    }

    #[test]
    fn second_moments_are_read_as_what_they_were_written_as() {
        let folder = tempfile::tempdir().unwrap();
        for kind in [SecondMoment::Variance, SecondMoment::Square] {
            let mut layer = moments(&[0], 1, 1.0).layers()[0].clone();
            layer.weights = Some([layer.mean.clone(), (&layer.mean * 3.0).unwrap()]);
            save_moments(folder.path(), &source("d"), &ClientMoments::from_parts(vec![0], vec![layer], kind, None))
                .unwrap();
            let found = load_moments(folder.path(), &source("d"), 1, &Device::Cpu).unwrap().unwrap();
            let [_, of_second] = found.layers()[0].weights.as_ref().unwrap();
            assert_eq!((found.kind(), of_second.to_vec2::<f32>().unwrap()), (kind, vec![vec![3.0; 3]]));
        }
    }
}
