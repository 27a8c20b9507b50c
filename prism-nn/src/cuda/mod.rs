//! Kernels that candle lacks on a GPU, compiled from `kernels.cu` by NVRTC when they are first needed.
//!
//! Launches are queued; nothing here waits for the GPU.

use std::sync::OnceLock;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, CudaViewMut, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::{CudaStorage, Layout, Result};
use prism_core::stream::StreamId;

/// Under which candle keeps the compiled kernels.
const MODULE: &str = "prism";
/// Weights that one thread of `masked` takes: a block of the keystream.
const WORDS: u32 = 16;
/// Elements that a kernel takes at most, so that its indices never wrap.
const MOST: u32 = 1 << 31;

/// The GPU assembly of all kernels, for the oldest GPU that the compiler knows: the driver finishes it for the one at hand.
fn assembly() -> Result<&'static str> {
    static PTX: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compile = || {
        let source = concat!("#define HOST_DEVICE __device__\n", include_str!("draw.cuh"), include_str!("kernels.cu"));
        // Sums must round as on the CPU, or masks would differ in a bit here and there.
        let options =
            CompileOptions { fmad: Some(false), ftz: Some(false), prec_div: Some(true), ..Default::default() };
        let ptx = compile_ptx_with_opts(source, options).map_err(|e| format!("{e:?}"))?;
        Ok(ptx.to_src())
    };
    match PTX.get_or_init(compile) {
        Ok(text) => Ok(text),
        Err(error) => candle_core::bail!("the GPU kernels cannot be compiled ({error}); choose --device cpu"),
    }
}

/// The elements of a tensor, few enough for the kernels' 32-bit indices.
fn count_of(layout: &Layout) -> Result<u32> {
    let elements = layout.shape().elem_count();
    match u32::try_from(elements) {
        Ok(count) if count <= MOST => Ok(count),
        _ => candle_core::bail!("a GPU kernel takes at most {MOST} numbers, not {elements}"),
    }
}

/// The `count` floats of a contiguous f32 tensor.
fn floats<'a>(storage: &'a CudaStorage, layout: &Layout, count: u32) -> Result<CudaView<'a, f32>> {
    match layout.contiguous_offsets() {
        Some((start, end)) if end - start == count as usize => Ok(storage.as_cuda_slice::<f32>()?.slice(start..end)),
        Some((start, end)) => candle_core::bail!("a GPU kernel of {count} numbers cannot take {}", end - start),
        None => Err(candle_core::Error::RequiresContiguous { op: "a GPU kernel" }),
    }
}

/// The `count` floats of a contiguous f32 tensor, to overwrite.
fn floats_mut<'a>(storage: &'a mut CudaStorage, layout: &Layout, count: u32) -> Result<CudaViewMut<'a, f32>> {
    match layout.contiguous_offsets() {
        Some((start, end)) if end - start == count as usize => {
            Ok(storage.as_cuda_slice_mut::<f32>()?.slice_mut(start..end))
        }
        Some((start, end)) => candle_core::bail!("a GPU kernel of {count} numbers cannot overwrite {}", end - start),
        None => Err(candle_core::Error::RequiresContiguous { op: "a GPU kernel" }),
    }
}

/// `frozen * M` with M drawn from `stream`: the bits that [`crate::cpu::masking::masked`] draws.
pub fn masked(
    stream: StreamId,
    (scores, s_at): (&CudaStorage, &Layout),
    (frozen, w_at): (&CudaStorage, &Layout),
) -> Result<CudaStorage> {
    let device = scores.device.clone();
    let count = count_of(s_at)?;
    let (scores, frozen) = (floats(scores, s_at, count)?, floats(frozen, w_at, count)?);
    // SAFETY: the kernel writes every element.
    let mut out: CudaSlice<f32> = unsafe { device.alloc(count as usize)? };
    let mut words = [0u32; 8];
    for (word, bytes) in words.iter_mut().zip(stream.key().chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let kernel = device.get_or_load_custom_func("masked", MODULE, assembly()?)?;
    let mut launch = kernel.builder();
    for word in &words {
        launch.arg(word);
    }
    launch.arg(&scores).arg(&frozen).arg(&mut out).arg(&count);
    // SAFETY: the arguments are those of `masked`; every slice holds `count` floats.
    unsafe { launch.launch(LaunchConfig::for_num_elems(count.div_ceil(WORDS))) }.w()?;
    Ok(CudaStorage::wrap_cuda_slice(out, device))
}

/// `gradient * frozen * theta * (1 - theta)`, as [`crate::cpu::masking::masked_gradient`].
pub fn masked_gradient(arguments: [(&CudaStorage, &Layout); 3]) -> Result<CudaStorage> {
    let [scores, frozen, gradient] = arguments;
    let device = scores.0.device.clone();
    let count = count_of(scores.1)?;
    // SAFETY: the kernel writes every element.
    let mut out: CudaSlice<f32> = unsafe { device.alloc(count as usize)? };
    let view = |(storage, layout): (_, &Layout)| floats(storage, layout, count);
    let (scores, frozen, gradient) = (view(scores)?, view(frozen)?, view(gradient)?);
    let kernel = device.get_or_load_custom_func("masked_gradient", MODULE, assembly()?)?;
    let mut launch = kernel.builder();
    launch.arg(&scores).arg(&frozen).arg(&gradient).arg(&mut out).arg(&count);
    // SAFETY: the arguments are those of `masked_gradient`; every slice holds `count` floats.
    unsafe { launch.launch(LaunchConfig::for_num_elems(count)) }.w()?;
    Ok(CudaStorage::wrap_cuda_slice(out, device))
}

/// `moment <- keep * moment + take * gradient`, or the gradient's square.
pub fn adam_moment(
    (moment, m_at): (&mut CudaStorage, &Layout),
    (gradient, g_at): (&CudaStorage, &Layout),
    (keep, take, square): (f32, f32, bool),
) -> Result<()> {
    let (device, count) = (moment.device.clone(), count_of(m_at)?);
    let (mut moment, gradient) = (floats_mut(moment, m_at, count)?, floats(gradient, g_at, count)?);
    let (kernel, square) = (device.get_or_load_custom_func("adam_moment", MODULE, assembly()?)?, u32::from(square));
    let mut launch = kernel.builder();
    launch.arg(&mut moment).arg(&gradient).arg(&keep).arg(&take).arg(&square).arg(&count);
    // SAFETY: the arguments are those of `adam_moment`; every slice holds `count` floats.
    unsafe { launch.launch(LaunchConfig::for_num_elems(count)) }.w()?;
    Ok(())
}

/// `parameter <- parameter - rate * first / (sqrt(second / correction) + epsilon)`.
pub fn adam_step(
    (parameter, p_at): (&mut CudaStorage, &Layout),
    (first, m_at): (&CudaStorage, &Layout),
    (second, v_at): (&CudaStorage, &Layout),
    (rate, correction, epsilon): (f32, f32, f32),
) -> Result<()> {
    let (device, count) = (parameter.device.clone(), count_of(p_at)?);
    let mut parameter = floats_mut(parameter, p_at, count)?;
    let (first, second) = (floats(first, m_at, count)?, floats(second, v_at, count)?);
    let kernel = device.get_or_load_custom_func("adam_step", MODULE, assembly()?)?;
    let mut launch = kernel.builder();
    launch.arg(&mut parameter).arg(&first).arg(&second).arg(&rate).arg(&correction).arg(&epsilon).arg(&count);
    // SAFETY: the arguments are those of `adam_step`; every slice holds `count` floats.
    unsafe { launch.launch(LaunchConfig::for_num_elems(count)) }.w()?;
    Ok(())
}
