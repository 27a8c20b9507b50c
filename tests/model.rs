//! Small untrained models, for tests of the format and of the program that reads it.

use prism_core::artifact::{Artifact, Component, Description, MaskRule, Training};
use prism_core::sampler::FoldedNorm;
use prism_core::score::sample_bits;
use prism_core::{Architecture, Mask, Purpose, StreamId};

/// The smallest conditional generator: 8x8 grey images, 3 classes.
pub fn tiny() -> Architecture {
    Architecture { image_size: 8, channels: 1, ngf: 1, latent: 4, classes: 3, label_scale: 3.0 }
}

/// A model of shape `arch` whose masks are `density` dense; mask, norms and signs follow from `seed`.
///
/// # Panics
/// If `arch` is no valid architecture.
pub fn untrained(arch: Architecture, density: f32, seed: u64) -> Artifact {
    mixture(arch, density, seed, 1)
}

/// A mixture of `components` such models.
///
/// # Panics
/// If `arch` is no valid architecture, or there are more components than a model may have.
pub fn mixture(arch: Architecture, density: f32, seed: u64, components: usize) -> Artifact {
    let parts = (0..components as u64).map(|c| component(&arch, density, seed.wrapping_add(c))).collect();
    let description = Description {
        class_names: (0..arch.classes).map(|class| format!("class {class}")).collect(),
        architecture: arch,
        seed,
        components,
        encoder: "none".into(),
        dataset: "untrained".into(),
        training: Training { partition: "none".into(), ..Training::default() },
        mask_rule: MaskRule::Sampled,
        privacy: "none needed: no image was used".into(),
    };
    Artifact::new(description, parts).expect("the parts of a test model fit")
}

fn component(arch: &Architecture, density: f32, seed: u64) -> Component {
    let mut stream = StreamId::new(seed, Purpose::Test).open();
    let mask = arch.layers().iter().map(|l| sample_bits(&vec![density; l.weights()], &mut stream)).collect();
    let mut draw = |n, mean, std| (0..n).map(|_| (mean + std * stream.normal()) as f32).collect();
    let mut norm = |n| FoldedNorm { scale: draw(n, 1.0, 0.3), shift: draw(n, 0.0, 0.3) };
    let norms = arch.norms().iter().map(|n| norm(n.channels)).collect();
    Component { mask: Mask::new(mask), norms }
}
