use proptest::prelude::*;

use super::*;
use crate::arch::Architecture;
use crate::score::sample_bits;
use crate::stream::{Purpose, StreamId};

fn arch(classes: usize) -> Architecture {
    Architecture { image_size: 8, channels: 1, ngf: 1, latent: 2, classes, label_scale: 3.0 }
}

fn description(architecture: Architecture) -> Description {
    Description {
        class_names: (0..architecture.classes).map(|class| format!("class {class}")).collect(),
        architecture,
        seed: 7,
        encoder: "random:1".into(),
        dataset: "untrained \"quoted\" ünïcode".into(),
        training: Training { rounds: 3, clients: 2, partition: "iid".into(), ..Training::default() },
        mask_rule: MaskRule::Threshold,
        privacy: "none: no noise was added".into(),
    }
}

/// A model whose layers are `density` dense.
fn artifact(architecture: Architecture, density: f32, seed: u64) -> Artifact {
    let mut stream = StreamId::new(seed, Purpose::Test).open();
    let mask = architecture.layers().iter().map(|l| sample_bits(&vec![density; l.weights()], &mut stream)).collect();
    let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect();
    let norms =
        architecture.norms().into_iter().map(|n| FoldedNorm { scale: draw(n.channels), shift: draw(n.channels) });
    let norms = norms.collect();
    Artifact::new(description(architecture), Mask::new(mask), norms).unwrap()
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let model = artifact(arch(2), 0.5, 1);
    let bytes = model.to_bytes().unwrap();
    assert_eq!(bytes, artifact(arch(2), 0.5, 1).to_bytes().unwrap());
    assert_eq!(bytes, Artifact::from_bytes(&bytes).unwrap().to_bytes().unwrap());
}

#[test]
fn it_is_written_to_disk_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors.zst");
    let model = artifact(arch(2), 0.5, 1);
    model.write(&path).unwrap();
    assert_eq!(Artifact::read(&path).unwrap(), model);
    std::fs::write(&path, b"not a model").unwrap();
    let why = Artifact::read(&path).unwrap_err().to_string();
    assert!(why.contains("tiny.safetensors.zst") && why.contains("zstd"), "{why}");
}

#[test]
fn any_zstd_and_any_safetensors_library_open_it() {
    let model = artifact(Architecture { ngf: 8, ..arch(0) }, 0.1, 1);
    let bytes = zstd::decode_all(&model.to_bytes().unwrap()[..]).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("norm.bn.scale").unwrap().shape(), [8]);
    assert_eq!(model.meta.layers[1].encoding, Encoding::Range);
    assert_eq!(file.tensor("mask.blocks.0.conv1").unwrap().shape(), [model.meta.layers[1].bytes]);
}

#[test]
fn sparse_masks_come_close_to_their_entropy_and_even_ones_stay_raw() {
    let wide = Architecture { ngf: 32, image_size: 8, channels: 3, latent: 64, classes: 0, label_scale: 3.0 };
    let sparse = artifact(wide.clone(), 0.1, 1).stats();
    assert!(sparse.bits_per_weight < sparse.entropy_bits_per_weight * 1.001 + 5.0 * 8.0 * 8.0 / sparse.weights as f64);
    assert!((sparse.entropy_bits_per_weight - 0.469).abs() < 0.01);
    let even = artifact(wide, 0.5, 1);
    assert!(even.meta.layers.iter().all(|layer| layer.encoding == Encoding::Raw));
    assert!((even.stats().bits_per_weight - 1.0).abs() < 1e-4);
}

#[test]
fn the_known_answer_is_found_again_and_missed_when_the_mask_is_another() {
    let model = artifact(Architecture { ngf: 4, ..arch(2) }, 0.5, 1);
    model.verify().unwrap();
    let other = Artifact { mask: artifact(Architecture { ngf: 4, ..arch(2) }, 0.5, 2).mask, ..model };
    assert!(other.verify().is_err());
}

#[test]
fn descriptions_outside_their_limits_are_refused() {
    let good = artifact(arch(2), 0.5, 1);
    let attempt = |change: &dyn Fn(&mut Description)| {
        let mut description = good.meta.description.clone();
        change(&mut description);
        Artifact::new(description, good.mask.clone(), good.norms.clone()).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(attempt(&|_| ()), Ok(()));
    assert!(attempt(&|d| d.dataset = "\u{1b}[2J".into()).unwrap_err().contains("control"));
    assert!(attempt(&|d| d.privacy = "x".repeat(1001)).unwrap_err().contains("1001"));
    assert!(attempt(&|d| d.class_names.truncate(1)).unwrap_err().contains("names 1 classes"));
    assert!(attempt(&|d| d.architecture.ngf = 2).unwrap_err().contains("does not fit"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_written_is_read(
        seed: u64, ngf in 1usize..5, double in 0usize..2, classes in 0usize..4, colour: bool, density in 0.0f32..=1.0,
        label_scale in 0.01f32..100.0,
    ) {
        let channels = if colour { 3 } else { 1 };
        let arch = Architecture { image_size: 8 << double, channels, ngf, latent: 5, classes, label_scale };
        let model = artifact(arch, density, seed);
        let read = Artifact::from_bytes(&model.to_bytes().unwrap()).unwrap();
        prop_assert_eq!(&read, &model);
        read.verify().unwrap();
    }
}
