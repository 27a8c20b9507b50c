//! Where images are drawn: by the sampler on the CPU, or by the differentiable generator on a GPU.

use std::num::NonZeroUsize;

use prism_core::artifact::Artifact;
use prism_core::sampler::{Isa, Mixture, Precision};
use prism_core::{Error, Result};

/// A generator on the device that draws it.
pub enum Drawer {
    /// The CPU sampler: the reference for what a model draws.
    Cpu(Mixture),
    /// A GPU, whose images differ from the CPU's by rounding.
    #[cfg(feature = "cuda")]
    Gpu(gpu::Generator),
}

impl Drawer {
    /// Builds the generator of `artifact` on the device called `name`, to compute in `precision`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the device is unknown, cannot be opened, or is a GPU and this build has no CUDA.
    pub fn open(name: &str, artifact: &Artifact, precision: Precision) -> Result<Self> {
        match name {
            "cpu" => Ok(Self::on_cpu(artifact, precision)),
            #[cfg(feature = "cuda")]
            _ => gpu::open(name, artifact, precision),
            #[cfg(not(feature = "cuda"))]
            "auto" => Ok(Self::on_cpu(artifact, precision)),
            #[cfg(not(feature = "cuda"))]
            _ if name == "cuda" || name.starts_with("cuda:") => Err(Error::usage(format!(
                "device '{name}' needs a build with --features cuda; build one, or leave --device out"
            ))),
            #[cfg(not(feature = "cuda"))]
            _ => Err(Error::usage(format!("device '{name}' is unknown; choose cpu, cuda:N or auto"))),
        }
    }

    fn on_cpu(artifact: &Artifact, precision: Precision) -> Self {
        Drawer::Cpu(Mixture::with(&artifact.models(), precision, Isa::detect()))
    }

    /// The images of `inputs`, row r drawn by component `components[r]`, as `[n, channels, size, size]` in [-1, 1];
    /// `threads` counts on the CPU only.
    ///
    /// # Errors
    /// If a GPU fails.
    pub fn images(&self, inputs: &[f32], components: &[usize], threads: NonZeroUsize) -> Result<Vec<f32>> {
        match self {
            Drawer::Cpu(mixture) => Ok(mixture.images(inputs, components, threads)),
            #[cfg(feature = "cuda")]
            Drawer::Gpu(generator) => generator.images(inputs, components),
        }
    }
}

#[cfg(feature = "cuda")]
mod gpu {
    use candle_core::{Device, Tensor};
    use prism_core::artifact;
    use prism_core::mixture::{component_seed, route};
    use prism_core::sampler::FoldedNorm;
    use prism_nn::device;

    use super::{Artifact, Drawer, Error, Precision, Result};

    /// A finished model in a GPU's memory.
    pub struct Generator {
        components: Vec<Component>,
    }

    /// One of its generators.
    struct Component {
        generator: prism_nn::generator::Generator,
        weights: Vec<Tensor>,
        norms: Vec<FoldedNorm>,
    }

    pub fn open(name: &str, artifact: &Artifact, precision: Precision) -> Result<Drawer> {
        match device::open(name).map_err(plain)? {
            Device::Cpu => Ok(Drawer::on_cpu(artifact, precision)),
            _ if precision != Precision::F32 => {
                Err(Error::usage("a GPU computes in f32 only; leave out --precision, or draw with --device cpu"))
            }
            device => Ok(Drawer::Gpu(Generator::new(artifact, &device).map_err(plain)?)),
        }
    }

    impl Generator {
        fn new(artifact: &Artifact, device: &Device) -> prism_nn::Result<Self> {
            let description = &artifact.meta().description;
            let component = |(c, own): (usize, &artifact::Component)| {
                let seed = component_seed(description.seed, c);
                let generator = prism_nn::generator::Generator::new(&description.architecture, seed, device)?;
                let weights = generator.fixed_weights(&own.mask)?;
                Ok(Component { generator, weights, norms: own.norms.clone() })
            };
            let components = artifact.components().iter().enumerate().map(component);
            Ok(Generator { components: components.collect::<prism_nn::Result<_>>()? })
        }

        pub fn images(&self, inputs: &[f32], components: &[usize]) -> Result<Vec<f32>> {
            let width = inputs.len() / components.len().max(1);
            let draw = |component: usize, rows: &[f32]| self.components[component].draw(rows);
            route(inputs, width, components, draw).map_err(plain)
        }
    }

    impl Component {
        fn draw(&self, inputs: &[f32]) -> prism_nn::Result<Vec<f32>> {
            let width = self.generator.arch().inputs();
            let z = Tensor::from_slice(inputs, (inputs.len() / width, width), self.generator.device())?;
            let images = self.generator.forward_folded(&z, &self.weights, &self.norms)?;
            Ok(images.flatten_all()?.to_vec1()?)
        }
    }

    /// An error in this program's terms; a GPU's failure is a failure of the device, not of the model.
    fn plain(error: prism_nn::Error) -> Error {
        match error {
            prism_nn::Error::Core(error) => error,
            other => Error::corrupt("the GPU", format!("{other}; draw with --device cpu")),
        }
    }
}
