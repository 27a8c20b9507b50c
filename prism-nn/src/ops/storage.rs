//! Between candle's storages and the kernels' slices.

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor};

use crate::cpu::planar::planes::Planes;

/// Whether the CPU kernels take `tensor`: f32 in main memory.
pub fn on_cpu(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// Whether kernels of this crate take `tensor`: f32, in main memory or on a GPU that this build can use.
pub fn has_kernels(tensor: &Tensor) -> bool {
    let device = tensor.device();
    (device.is_cpu() || cfg!(feature = "cuda") && device.is_cuda()) && tensor.dtype() == DType::F32
}

/// The floats of a contiguous f32 tensor.
pub fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op: "a CPU kernel" }),
    }
}

/// The floats of a contiguous f32 tensor, to overwrite.
pub fn floats_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (layout.contiguous_offsets(), storage) {
        (Some((start, end)), CpuStorage::F32(values)) => Ok(&mut values[start..end]),
        _ => Err(candle_core::Error::RequiresContiguous { op: "a CPU kernel" }),
    }
}

/// Calls `work` with the floats of several contiguous f32 tensors in main memory.
pub fn with_floats<const N: usize, R>(tensors: [&Tensor; N], work: impl FnOnce([&[f32]; N]) -> R) -> Result<R> {
    let held = tensors.map(Tensor::storage_and_layout);
    let mut slices = [&[][..]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&held) {
        *slice = floats_of(storage, layout)?;
    }
    Ok(work(slices))
}

/// The floats of a contiguous f32 tensor in main memory, while its storage is held.
pub fn floats_of<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    match storage {
        Storage::Cpu(storage) => floats(storage, layout),
        _ => candle_core::bail!("a CPU kernel needs its arguments in main memory"),
    }
}

/// The shape of one image of a `[B, C, H, W]` tensor.
pub fn planes(shape: &Shape) -> Result<Planes> {
    let (_, channels, height, width) = shape.dims4()?;
    Ok(Planes { channels, height, width })
}
