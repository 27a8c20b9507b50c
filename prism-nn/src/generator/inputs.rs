//! What a generator is fed: normal latents, each followed by its label.

use candle_core::{Device, Tensor};
use prism_core::{Architecture, StreamId};

use super::subclasses::Subclasses;
use crate::error::{Error, Result};

/// A batch of generator inputs: standard normals of `stream`, then the one-hot label times the label scale.
///
/// Image i takes the normals `i * latent..(i + 1) * latent` of the stream. `labels` holds one class an image; for an
/// unconditional architecture only its length counts.
///
/// Result: `[labels.len(), latent + classes]`.
///
/// # Errors
/// If a label is no class of `arch`, or the device has no room.
pub fn latents(arch: &Architecture, stream: StreamId, labels: &[usize], device: &Device) -> Result<Tensor> {
    subclass_latents(arch, stream, labels, (Subclasses::default(), &[]), device)
}

/// As [`latents`], with each latent mirrored into the subclass that `chosen` names for its image; latents beyond the end of `chosen`
/// stay as they are.
///
/// # Errors
/// As for [`latents`], or if the latents are too short for the subclasses.
pub fn subclass_latents(
    arch: &Architecture,
    stream: StreamId,
    labels: &[usize],
    (subclasses, chosen): (Subclasses, &[usize]),
    device: &Device,
) -> Result<Tensor> {
    if arch.latent < subclasses.bits() {
        return Err(Error::usage(format!(
            "a latent of {} numbers cannot tell {} subclasses apart; it takes at least {}",
            arch.latent,
            subclasses.count(),
            subclasses.bits()
        )));
    }
    let mut normals = vec![0f32; labels.len() * arch.latent];
    stream.open().fill_normal(&mut normals);
    normals
        .chunks_exact_mut(arch.latent)
        .zip(chosen)
        .for_each(|(latent, &subclass)| subclasses.steer(latent, subclass));
    with_labels(arch, &normals, labels, device)
}

/// The rows of `normals [labels.len(), latent]`, each followed by its one-hot label times the label scale.
///
/// # Errors
/// If the normals are not `latent` for each label, if a label is no class of `arch`, or if the device has no room.
pub fn with_labels(arch: &Architecture, normals: &[f32], labels: &[usize], device: &Device) -> Result<Tensor> {
    if normals.len() != labels.len() * arch.latent {
        return Err(Error::usage(format!(
            "{} latent values were given for {} images; {} are needed for each",
            normals.len(),
            labels.len(),
            arch.latent
        )));
    }
    let width = arch.inputs();
    let mut rows = vec![0f32; labels.len() * width];
    for (row, (latent, &label)) in rows.chunks_exact_mut(width).zip(normals.chunks_exact(arch.latent).zip(labels)) {
        row[..arch.latent].copy_from_slice(latent);
        if arch.classes > 0 {
            let entry = row[arch.latent..].get_mut(label).ok_or_else(|| {
                Error::usage(format!("label {label} does not exist; choose one from 0 to {}", arch.classes - 1))
            })?;
            *entry = arch.label_scale;
        }
    }
    Ok(Tensor::from_vec(rows, (labels.len(), width), device)?)
}
