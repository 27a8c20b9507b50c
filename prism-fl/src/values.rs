//! The numbers of a tensor, without a copy where they lie in this machine's memory.

use std::borrow::Cow;

use candle_core::{Layout, Storage, Tensor};
use prism_nn::Result;

/// The values of `tensor`, whose storage is held: where they are, or a copy if they are on a GPU or not in their order.
///
/// # Errors
/// If they are no 32-bit floats, or cannot be read.
pub fn values<'a>(tensor: &Tensor, storage: &'a Storage, layout: &Layout) -> Result<Cow<'a, [f32]>> {
    match (storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => Ok(Cow::Borrowed(&storage.as_slice()?[start..end])),
        _ => Ok(Cow::Owned(tensor.flatten_all()?.to_vec1()?)),
    }
}
