//! Which device computes: `auto`, `cpu` or `cuda:N`.

use candle_core::Device;

use crate::error::{Error, Result};

/// Opens the device that `name` asks for; `auto` takes the first GPU where this build and this machine have one.
///
/// # Errors
/// [`Error::Core`] if the name is unknown, if this build has no CUDA, or if the GPU cannot be opened.
pub fn open(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(first_gpu().unwrap_or(Device::Cpu)),
        "cuda" => open_cuda(0),
        _ => match name.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(ordinal)) => open_cuda(ordinal),
            _ => Err(Error::usage(format!("device '{name}' is unknown; choose auto, cpu or cuda:N, such as cuda:0"))),
        },
    }
}

/// `cpu` or `cuda`, for reports.
pub fn name(device: &Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}

fn first_gpu() -> Option<Device> {
    // `auto` promises only to use a GPU where one works, so a GPU that does not open is no error.
    if cfg!(feature = "cuda") { Device::new_cuda(0).ok() } else { None }
}

fn open_cuda(ordinal: usize) -> Result<Device> {
    if !cfg!(feature = "cuda") {
        return Err(Error::usage(
            "this program was built without CUDA; build it with --features cuda, or choose --device cpu",
        ));
    }
    Device::new_cuda(ordinal)
        .map_err(|e| Error::usage(format!("GPU {ordinal} cannot be opened ({e}); choose another, or --device cpu")))
}
