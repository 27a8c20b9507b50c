//! # libprism
//!
//! The sampler behind a C interface: a handle, caller's buffers, error codes with a sentence. `include/prism.h` is made
//! of this file. Nothing is decided here: [`LoadedModel`] reads and draws.
//!
//! No panic crosses the border: a call that would panic returns [`PrismStatus::Bug`], unless the library was built with
//! `panic = "abort"`.

mod border;

use std::ffi::{CStr, CString, c_char};
use std::num::NonZeroUsize;
use std::path::Path;

use prism_core::inputs::{Inputs, Source};
use prism_core::loaded::LoadedModel;
use prism_core::sampler::Precision;
use prism_core::{Error, Result, labels};

use border::{given, guard, last_error, text};

/// What a call came to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrismStatus {
    /// It did what it was asked.
    Ok = 0,
    /// A file is damaged, hostile or of another version, or the system refused.
    Failure = 1,
    /// The caller's mistake: an argument that cannot be.
    Usage = 2,
    /// A mistake in this library, which should be reported.
    Bug = 3,
}

/// 32-bit floats; images may differ by rounding between machines.
pub const PRISM_F32: u32 = 0;
/// 16-bit integers with exact sums: the same images on every machine.
pub const PRISM_I16: u32 = 1;

/// A model in memory.
pub struct PrismModel {
    model: LoadedModel,
    info: CString,
}

/// The shape of a model's images.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrismShape {
    /// Side of an image in pixels.
    pub size: u32,
    /// Bytes of a pixel: 1 (grey) or 3 (red, green, blue).
    pub channels: u32,
    /// Number of classes; 0 where it has none.
    pub classes: u32,
    /// Bytes of an image: size * size * channels.
    pub bytes: usize,
}

/// What to draw.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PrismRequest {
    /// Seed of the latents. Image k depends on the seed and on k alone.
    pub seed: u64,
    /// Number k of the first image.
    pub first: u64,
    /// Number of images.
    pub count: usize,
    /// Class by name or number; several, as in "cat,dog" or "0-3", take turns. NULL: all classes.
    pub label: *const c_char,
    /// PRISM_F32 or PRISM_I16.
    pub precision: u32,
    /// Threads to draw with; the images do not depend on it. 0: one for each core.
    pub threads: u32,
}

/// Version of this library, as in "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn prism_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no zero byte"),
    };
    VERSION.as_ptr()
}

/// Why the last call on this thread failed: one sentence in UTF-8, valid until the next call on this thread. Empty
/// where none has failed.
#[unsafe(no_mangle)]
pub extern "C" fn prism_last_error() -> *const c_char {
    last_error()
}

/// Opens a model from the `length` bytes of its file, which are not used after the call. `*model` is a new handle, or
/// NULL where the call fails.
///
/// # Safety
/// `bytes` is NULL or valid for reading `length` bytes, `model` NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prism_model_open(bytes: *const u8, length: usize, model: *mut *mut PrismModel) -> PrismStatus {
    guard(|| {
        // SAFETY: the caller's promise.
        let place = unsafe { empty_place(model) }?;
        if bytes.is_null() {
            return Err(Error::usage("bytes is NULL; give the bytes of a model's file"));
        }
        // SAFETY: the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, length) };
        *place = handle(LoadedModel::from_bytes(bytes)?)?;
        Ok(())
    })
}

/// Opens a model from a file, or from the folder of a run. `*model` is a new handle, or NULL where the call fails.
///
/// # Safety
/// `path` is NULL or a text that ends with a zero byte, `model` NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prism_model_open_file(path: *const c_char, model: *mut *mut PrismModel) -> PrismStatus {
    guard(|| {
        // SAFETY: the caller's promise.
        let place = unsafe { empty_place(model) }?;
        // SAFETY: the caller's promise.
        let path = unsafe { text(path, "path") }?;
        let path = path.ok_or_else(|| Error::usage("path is NULL; name a model's file"))?;
        *place = handle(LoadedModel::open(Path::new(path))?)?;
        Ok(())
    })
}

/// Frees a model; NULL is left alone.
///
/// # Safety
/// `model` is NULL or a handle that has not been freed, and no other call with it is running or follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prism_model_free(model: *mut PrismModel) {
    if !model.is_null() {
        // What is left to free does not fail; a panic in it must still not leave.
        guard(|| {
            // SAFETY: it came from `handle`, and the caller promises that nobody else has it.
            drop(unsafe { Box::from_raw(model) });
            Ok(())
        });
    }
}

/// The shape of a model's images.
///
/// # Safety
/// `model` is NULL or a handle, `shape` NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prism_model_shape(model: *const PrismModel, shape: *mut PrismShape) -> PrismStatus {
    guard(|| {
        // SAFETY: the caller's promise.
        let (model, shape) = (unsafe { given(model.as_ref(), "model") }?, unsafe { given(shape.as_mut(), "shape") }?);
        let arch = &model.model.description().architecture;
        *shape = PrismShape {
            size: arch.image_size as u32,
            channels: arch.channels as u32,
            classes: arch.classes as u32,
            bytes: arch.pixels(),
        };
        Ok(())
    })
}

/// What a model says about itself, its privacy among it: JSON in UTF-8, valid as long as the model. NULL for NULL.
///
/// # Safety
/// `model` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prism_model_info(model: *const PrismModel) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(std::ptr::null(), |model| model.info.as_ptr())
}

/// Draws images into `pixels`, which has room for `capacity` bytes: image after image, row after row, pixel after
/// pixel. `capacity` is at least `request->count` times the `bytes` of the shape; what is beyond stays untouched, and so
/// does all where the call fails.
///
/// # Safety
/// `model` is NULL or a handle, `request` NULL or valid, `pixels` NULL or valid for writing `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prism_model_sample(
    model: *const PrismModel,
    request: *const PrismRequest,
    pixels: *mut u8,
    capacity: usize,
) -> PrismStatus {
    guard(|| {
        // SAFETY: the caller's promise.
        let (model, request) =
            (unsafe { given(model.as_ref(), "model") }?, unsafe { given(request.as_ref(), "request") }?);
        let needed = request.count.checked_mul(model.model.description().architecture.pixels());
        if pixels.is_null() || needed.is_none_or(|needed| capacity < needed) {
            return Err(Error::usage(match needed {
                Some(needed) => format!("pixels has room for {capacity} bytes and the images have {needed}"),
                None => format!("{} images are beyond all memory; ask for fewer", request.count),
            }));
        }
        // SAFETY: the caller's promise.
        let drawn = unsafe { draw(&model.model, request) }?;
        // SAFETY: there is room for them, and what was drawn is in memory of its own.
        unsafe { std::ptr::copy_nonoverlapping(drawn.as_ptr(), pixels, drawn.len()) };
        Ok(())
    })
}

/// # Safety
/// `request.label` must be NULL or a text that ends with a zero byte.
unsafe fn draw(model: &LoadedModel, request: &PrismRequest) -> Result<Vec<u8>> {
    let precision = match request.precision {
        PRISM_F32 => Precision::F32,
        PRISM_I16 => Precision::I16,
        other => return Err(Error::usage(format!("precision is {other}; choose PRISM_F32 (0) or PRISM_I16 (1)"))),
    };
    // SAFETY: the caller's promise.
    let label = unsafe { text(request.label, "label") }?;
    let labels = labels::resolve(model.description(), label.as_slice())?;
    let end = request.first.checked_add(request.count as u64);
    let end = end.ok_or_else(|| Error::usage(format!("first is {}; there are no images behind it", request.first)))?;
    let inputs = Inputs::new(model.description(), Source::Seed(request.seed), end)?.with_labels(labels)?;
    let all = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = NonZeroUsize::new(request.threads as usize).map_or(all, |asked| asked.min(all));
    model.draw(&inputs, request.first..end, precision, threads)
}

/// Where a handle goes, with NULL in it.
///
/// # Safety
/// `model` must be NULL or valid for writing.
unsafe fn empty_place<'a>(model: *mut *mut PrismModel) -> Result<&'a mut *mut PrismModel> {
    if model.is_null() {
        return Err(Error::usage("model is NULL; give a place for the handle"));
    }
    // What lies there may be no pointer yet, so it is written before it is referred to.
    // SAFETY: the caller's promise.
    unsafe {
        model.write(std::ptr::null_mut());
        Ok(&mut *model)
    }
}

fn handle(model: LoadedModel) -> Result<*mut PrismModel> {
    // A description that was read holds no control characters, a zero byte being one.
    let info = CString::new(model.info()?).map_err(|e| Error::corrupt("the description", e.to_string()))?;
    Ok(Box::into_raw(Box::new(PrismModel { model, info })))
}
