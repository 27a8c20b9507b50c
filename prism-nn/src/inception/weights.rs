//! Inception's weights out of a safetensors file that may be truncated, altered or hostile.
//!
//! They are published as a `.pth`, which is a program for Python's pickle and can ask for any memory and depth, so it is not read.

use std::collections::HashMap;
use std::path::Path;

use prism_core::file::read_bounded;

use crate::encoder::tensors::{MAX_FILE, Tensors};
use crate::encoder::weights::BatchNorm;
use crate::error::{Error, Result};

/// How `torch.save` files begin: they are zip archives.
const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";

/// How the published file becomes one that is read.
const CONVERT: &str =
    "convert it in Python: safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'inception.safetensors')";

/// Tensors by name, as `f32` with their shapes.
type Named = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// Named tensors, as `f32` with their shapes.
pub struct Weights {
    what: String,
    tensors: Named,
}

impl Weights {
    /// Reads the file at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let what = format!("Inception weights {}", path.display());
        if !path.is_file() {
            return Err(Error::usage(format!(
                "there is no weights file {}; fetch pt_inception-2015-12-05-6726825d.pth from the releases of \
                 github.com/mseitzer/pytorch-fid and {CONVERT}",
                path.display()
            )));
        }
        let bytes = read_bounded(path, MAX_FILE)?;
        if bytes.starts_with(&ZIP_MAGIC) {
            return Err(Error::usage(format!("{} is what torch.save writes; {CONVERT}", path.display())));
        }
        Self::parse(&what, &bytes)
    }

    /// The tensors of a safetensors file that errors call `what`.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Self> {
        let file = Tensors::parse(what, bytes)
            .map_err(|_| Error::corrupt(what, format!("it is no complete safetensors file; {CONVERT}")))?;
        let mut tensors = HashMap::new();
        for (name, shape) in file.shapes() {
            // Counters and the like are no floats, and not read.
            if let Ok(values) = file.floats(&name, &shape) {
                tensors.insert(name, (shape, values));
            }
        }
        Ok(Weights { what: what.into(), tensors })
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
