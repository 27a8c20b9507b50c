//! Draws 64 images from an artifact: `cargo run --release -p prism-core --example draw -- models/mnist.safetensors.zst`

use std::num::NonZeroUsize;
use std::path::Path;

use prism_core::artifact::Artifact;
use prism_core::grid::Picture;
use prism_core::sampler::{Mixture, pixel};
use prism_core::{Result, latent, mixture};

fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "models/mnist.safetensors.zst".into());
    let artifact = Artifact::read(Path::new(&path))?;
    let model = Mixture::new(&artifact.models());
    let (arch, seed) = (model.arch(), 0);
    let input = |k| latent::input(arch, &latent::latent(arch, seed, k), latent::default_label(arch, k));
    let inputs = (0..64).map(input).collect::<Result<Vec<_>>>()?.concat();
    let components: Vec<usize> = (0..64).map(|k| mixture::component_of_image(model.components(), seed, k)).collect();
    let pixels = pixel::bytes(&model.images(&inputs, &components, NonZeroUsize::MIN));
    let png = Picture::grid(arch, &pixels, 8)?.png()?;
    prism_core::file::write_atomic(Path::new("drawn.png"), |out| out.write_all(&png))
}
