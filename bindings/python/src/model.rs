//! A finished model: what it is, and images of it as arrays and pictures.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use prism_core::grid::square_columns;
use prism_core::inputs::{self, Inputs, Source};
use prism_core::loaded::LoadedModel;
use prism_core::sampler::Precision;
use prism_core::{Error, Result, file, labels};
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

use crate::errors::ours;
use crate::hub;

/// Images of the picture that a notebook, and a card on the hub, show.
const SHOWN: u64 = 64;

/// Opens a model's file, the one in a run's folder, or that of a repository on the hub.
#[pyfunction]
#[pyo3(signature = (source, *, revision = None))]
pub fn load(py: Python<'_>, source: PathBuf, revision: Option<&str>) -> PyResult<Model> {
    let path = match (hub::repository(&source), revision) {
        (Some(repository), _) => hub::fetch(py, repository, revision)?,
        (None, None) => source,
        (None, Some(revision)) => {
            let why =
                format!("revision {revision} is of models on the hub, and {} is none; leave it out", source.display());
            return Err(ours(Error::usage(why)));
        }
    };
    py.detach(|| LoadedModel::open(&path)).map(|model| Model { model }).map_err(ours)
}

/// A model that is ready to draw.
#[pyclass(frozen, module = "prism_fl")]
pub struct Model {
    model: LoadedModel,
}

/// A class by name or number.
#[derive(FromPyObject)]
pub enum Label {
    Number(i64),
    Name(String),
}

#[pymethods]
impl Model {
    /// The same as `load`, by the name that libraries of the hub have for it.
    #[staticmethod]
    #[pyo3(signature = (source, *, revision = None))]
    fn from_pretrained(py: Python<'_>, source: PathBuf, revision: Option<&str>) -> PyResult<Model> {
        load(py, source, revision)
    }

    /// Puts the model, a card and a picture into a repository of the hub.
    #[pyo3(signature = (repository, *, private = false))]
    fn push_to_hub(&self, py: Python<'_>, repository: &str, private: bool) -> PyResult<String> {
        let picture = py.detach(|| self.shown()).map_err(ours)?;
        hub::push(py, &self.model, &picture, repository, private)
    }

    /// What the model says about itself.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("json")?.call_method1("loads", (self.model.info().map_err(ours)?,))
    }

    /// Images as an array [n, height, width, channels] of bytes.
    #[pyo3(signature = (n = 64, *, seed = 0, first = 0, label = None, precision = "f32"))]
    fn sample(&self, n: u64, seed: u64, first: u64, label: Option<Label>, precision: &str) -> PyResult<Py<PyAny>> {
        self.array(precision, || {
            let range = inputs::range(first, n)?;
            Ok((first, self.inputs(seed, range.end, label)?))
        })
    }

    /// Images on the way from each latent to the next.
    #[pyo3(signature = (n = 2, *, steps = 8, seed = 0, label = None, precision = "f32"))]
    fn interpolate(&self, n: u64, steps: u64, seed: u64, label: Option<Label>, precision: &str) -> PyResult<Py<PyAny>> {
        self.array(precision, || Ok((0, self.inputs(seed, n, label)?.with_steps(steps)?)))
    }

    /// Writes a grid of images as a PNG file.
    #[pyo3(signature = (path, n = 64, *, seed = 0, label = None, precision = "f32"))]
    fn save_grid(&self, path: PathBuf, n: u64, seed: u64, label: Option<Label>, precision: &str) -> PyResult<()> {
        let save = || {
            let png = self.png(&self.inputs(seed, n, label)?, precision.parse()?)?;
            file::write_atomic(&path, |out| out.write_all(&png))
        };
        Python::attach(|py| py.detach(save)).map_err(ours)
    }

    /// The picture that a notebook shows.
    fn _repr_png_<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyBytes>> {
        let png = py.detach(|| self.shown()).map_err(ours)?;
        Ok(pyo3::types::PyBytes::new(py, &png))
    }

    fn __repr__(&self) -> String {
        let description = self.model.description();
        let arch = &description.architecture;
        let (size, classes) = (arch.image_size, arch.classes);
        format!("<prism_fl.Model of {}: {size} x {size} x {}, {classes} classes>", description.dataset, arch.channels)
    }
}

impl Model {
    fn inputs(&self, seed: u64, latents: u64, label: Option<Label>) -> Result<Inputs> {
        let label = label.map(|label| match label {
            Label::Number(number) => number.to_string(),
            Label::Name(name) => name,
        });
        let description = self.model.description();
        let labels = labels::resolve(description, label.as_slice())?;
        Inputs::new(description, Source::Seed(seed), latents)?.with_labels(labels)
    }

    /// The array of the inputs that `plan` gives, from the first that it names on. Other threads of Python run while it
    /// is drawn.
    fn array(&self, precision: &str, plan: impl FnOnce() -> Result<(u64, Inputs)> + Send) -> PyResult<Py<PyAny>> {
        let draw = || {
            let (first, inputs) = plan()?;
            self.model.draw(&inputs, first..inputs.count(), precision.parse()?, threads())
        };
        Python::attach(|py| {
            let numpy = py.import("numpy")?;
            let pixels = PyByteArray::new(py, &py.detach(draw).map_err(ours)?);
            let arch = &self.model.description().architecture;
            let flat = numpy.call_method1("frombuffer", (pixels, numpy.getattr("uint8")?))?;
            let shape = (-1, arch.image_size, arch.image_size, arch.channels);
            Ok(flat.call_method1("reshape", (shape,))?.unbind())
        })
    }

    fn shown(&self) -> Result<Vec<u8>> {
        self.png(&self.inputs(0, SHOWN, None)?, Precision::I16)
    }

    fn png(&self, inputs: &Inputs, precision: Precision) -> Result<Vec<u8>> {
        let columns = square_columns(usize::try_from(inputs.count()).unwrap_or(usize::MAX));
        self.model.picture(inputs, columns, precision, threads())?.png()
    }
}

fn threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
