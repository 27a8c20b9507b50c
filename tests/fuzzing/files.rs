//! Files that others send: artifacts and encoders.

use candle_core::Device;
use prism_core::artifact::Artifact;
use prism_nn::encoder::file::{self, Card};
use prism_nn::encoder::random::kaiming;

use super::Target;
use crate::forge::{Forged, packed};
use crate::model::{mixture, tiny, untrained};

/// One of each kind of file.
pub fn targets() -> Vec<Target> {
    vec![artifact(), encoder()]
}

/// The file of an artifact whose safetensors file is `input`. Where that still has metadata and tensors, its payload hash is
/// put right.
pub fn artifact_file(input: &[u8]) -> Vec<u8> {
    Forged::from_unpacked(input).map_or_else(|| packed(input), |forged| forged.file())
}

/// The safetensors file of an artifact.
fn artifact() -> Target {
    let models = [untrained(tiny(), 0.1, 3), mixture(tiny(), 0.5, 4, 2)];
    let unpacked = |model: Artifact| {
        let bytes = model.to_bytes().expect("a model fits its format");
        zstd::decode_all(&bytes[..]).expect("a good zstd frame")
    };
    Target::new("artifact", models.map(unpacked).to_vec(), |input| match Artifact::from_bytes(&artifact_file(input)) {
        Ok(artifact) => {
            let again = artifact.to_bytes().expect("what was read can be written");
            let again = Artifact::from_bytes(&again).expect("what was written can be read");
            assert!(again.components() == artifact.components(), "what was written is the same model");
            true
        }
        Err(_) => false,
    })
}

/// An encoder that this project trained.
fn encoder() -> Target {
    let card = Card {
        version: file::VERSION,
        layout: "4,M,8".into(),
        dataset: "none".into(),
        dataset_digest: "0".repeat(64),
        images: 10,
        epochs: 1,
        seed: 3,
        test_accuracy: Some(0.5),
    };
    let weights = kaiming(&card.layout.parse().expect("a layout"), 3);
    let truth = file::to_bytes(&card, &weights).expect("weights of ordinary size");
    Target::new("encoder", vec![truth], |input| file::from_bytes("file", "the input", input, &Device::Cpu).is_ok())
}
