//! Inception's weights out of a `.pth` or a safetensors file that may be truncated, altered or hostile.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use candle_core::{DType, Tensor, pickle};
use prism_core::file::read_bounded;

use crate::encoder::tensors::{MAX_FILE, Tensors};
use crate::encoder::weights::BatchNorm;
use crate::error::{Error, Result};

/// How `torch.save` files begin: they are zip archives.
const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";

/// Tensors by name, as `f32` with their shapes.
type Named = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// Named tensors, as `f32` with their shapes.
pub struct Weights {
    what: String,
    tensors: Named,
}

/// The tensors of the file at `path`, as candle reads them.
fn read_pickle(path: &Path) -> std::result::Result<Named, String> {
    let file = pickle::PthTensors::new(path, None).map_err(|e| e.to_string())?;
    let mut tensors = Named::new();
    for (name, info) in file.tensor_infos() {
        // candle makes room for what is announced before it reads, and a failed allocation ends the process.
        let numbers = info.layout.dims().iter().try_fold(1u64, |product, &n| product.checked_mul(n as u64));
        if numbers.is_none_or(|n| n > MAX_FILE / 4) {
            return Err(format!("tensor '{name}' is said to be {:?}, more than a file can hold", info.layout.dims()));
        }
        let values = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1();
        if let Some(tensor) = file.get(name).map_err(|e| e.to_string())? {
            tensors.insert(name.clone(), (tensor.dims().to_vec(), values(&tensor).map_err(|e| e.to_string())?));
        }
    }
    Ok(tensors)
}

/// Runs code of others that may panic on what a hostile file hands it, and makes that an error.
fn contained<T>(run: impl FnOnce() -> std::result::Result<T, String>) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("its reader failed on what it found".into()))
}

impl Weights {
    /// Reads the file at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let what = format!("Inception weights {}", path.display());
        if !path.is_file() {
            return Err(Error::usage(format!(
                "there is no weights file {}; fetch pt_inception-2015-12-05-6726825d.pth from the releases of \
                 github.com/mseitzer/pytorch-fid and give its path",
                path.display()
            )));
        }
        let bytes = read_bounded(path, MAX_FILE)?;
        if bytes.starts_with(&ZIP_MAGIC) { Self::of_pickle(what, path) } else { Self::parse(&what, &bytes) }
    }

    /// The tensors of a safetensors file that errors call `what`.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Self> {
        let file = Tensors::parse(what, bytes).map_err(|_| {
            Error::corrupt(
                what,
                "it is neither a complete safetensors file nor one that torch.save of PyTorch 1.6 or newer wrote; fetch it \
                 again, or load it in Python and save it by safetensors.torch.save_file",
            )
        })?;
        let mut tensors = HashMap::new();
        for (name, shape) in file.shapes() {
            // Counters and the like are no floats, and not read.
            if let Ok(values) = file.floats(&name, &shape) {
                tensors.insert(name, (shape, values));
            }
        }
        Ok(Weights { what: what.into(), tensors })
    }

    fn of_pickle(what: String, path: &Path) -> Result<Self> {
        let tensors = contained(|| read_pickle(path)).map_err(|why| {
            let why = format!("its tensors cannot be read ({why}); fetch it again, or save it as safetensors");
            Error::corrupt(&what, why)
        })?;
        Ok(Weights { what, tensors })
    }

    /// The values of tensor `name`, which must have `shape` and be finite.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let refuse = |why: String| Err(Error::corrupt(&self.what, why));
        match self.tensors.get(name) {
            None => refuse(format!("it has no tensor '{name}' of numbers; give pytorch-fid's Inception weights")),
            Some((found, _)) if found != shape => refuse(format!(
                "tensor '{name}' has shape {found:?} instead of {shape:?}; give pytorch-fid's Inception weights, not \
                 torchvision's"
            )),
            Some((_, values)) => match values.iter().find(|v| !v.is_finite()) {
                Some(odd) => refuse(format!("tensor '{name}' holds {odd}; weights are finite")),
                None => Ok(values.clone()),
            },
        }
    }

    /// The batch norm `PREFIX.weight`, `.bias`, `.running_mean` and `.running_var`.
    pub fn norm(&self, prefix: &str, channels: usize, epsilon: f64) -> Result<BatchNorm> {
        let values = |name: &str| self.floats(&format!("{prefix}.{name}"), &[channels]);
        let variance = values("running_var")?;
        if let Some(negative) = variance.iter().find(|v| **v < 0.0) {
            let why = format!("tensor '{prefix}.running_var' has the negative variance {negative}");
            return Err(Error::corrupt(&self.what, why));
        }
        Ok(BatchNorm {
            scale: values("weight")?,
            shift: values("bias")?,
            mean: values("running_mean")?,
            variance,
            epsilon,
        })
    }
}
