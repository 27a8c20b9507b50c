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
        components: 1,
        encoder: "random:1".into(),
        dataset: "untrained \"quoted\" ünïcode".into(),
        training: Training { rounds: 3, clients: 2, partition: "iid".into(), ..Training::default() },
        mask_rule: MaskRule::Threshold,
        privacy: "none: no noise was added".into(),
    }
}

/// A model whose layers are `density` dense.
fn artifact(architecture: Architecture, density: f32, seed: u64) -> Artifact {
    let component = component(&architecture, density, seed);
    Artifact::new(description(architecture), vec![component]).unwrap()
}

/// A mixture of so many.
fn mixture(architecture: Architecture, components: usize) -> Artifact {
    let parts = (0..components as u64).map(|seed| component(&architecture, 0.1 + 0.2 * seed as f32, seed)).collect();
    Artifact::new(Description { components, ..description(architecture) }, parts).unwrap()
}

fn component(architecture: &Architecture, density: f32, seed: u64) -> Component {
    let mut stream = StreamId::new(seed, Purpose::Test).open();
    let mask = architecture.layers().iter().map(|l| sample_bits(&vec![density; l.weights()], &mut stream)).collect();
    let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect();
    let norms =
        architecture.norms().into_iter().map(|n| FoldedNorm { scale: draw(n.channels), shift: draw(n.channels) });
    Component { mask: Mask::new(mask), norms: norms.collect() }
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
    let other = Artifact { components: artifact(Architecture { ngf: 4, ..arch(2) }, 0.5, 2).components, ..model };
    assert!(other.verify().is_err());
}

#[test]
fn a_mixture_is_written_and_read_and_every_component_answers_for_itself() {
    let wide = Architecture { ngf: 4, ..arch(2) };
    let model = mixture(wide.clone(), 3);
    assert_eq!((model.meta.version, model.meta.layers.len()), (MIXTURE_VERSION, 3 * wide.layers().len()));
    let bytes = model.to_bytes().unwrap();
    let read = Artifact::from_bytes(&bytes).unwrap();
    assert_eq!(read, model);
    read.verify().unwrap();
    let file = zstd::decode_all(&bytes[..]).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    assert!(file.tensor("2.norm.bn.scale").is_ok() && file.tensor("mask.first").is_err());
    let stats = model.stats();
    assert_eq!((stats.weights, &stats.layers[5].name[..]), (3 * wide.weights(), "1.first"));
    for damaged in 0..3 {
        let mut other = model.clone();
        let own = &mut other.components[damaged].norms[0].shift[0];
        *own += 10.0;
        assert!(other.verify().is_err(), "component {damaged} is not looked at");
    }
    let seeds: Vec<_> = model.models().iter().map(|m| m.seed()).collect();
    assert_eq!(seeds, [7, 8, 9]);
}

#[test]
fn mixtures_outside_their_limits_are_refused() {
    let parts = |n| vec![component(&arch(2), 0.5, 1); n];
    let attempt = |components, n| {
        let why = Artifact::new(Description { components, ..description(arch(2)) }, parts(n)).unwrap_err();
        why.to_string()
    };
    assert!(attempt(65, 65).contains("components is 65"));
    assert!(attempt(0, 0).contains("components is 0"));
    assert!(attempt(2, 3).contains("3 components do not fit"));
    let vast = Architecture { image_size: 32, ngf: 256, latent: 128, ..arch(0) };
    let why = Description { components: 64, ..description(vast) }.check().unwrap_err();
    assert!(why.contains("64 components of"), "{why}");
}

#[test]
fn descriptions_outside_their_limits_are_refused() {
    let good = artifact(arch(2), 0.5, 1);
    let attempt = |change: &dyn Fn(&mut Description)| {
        let mut description = good.meta.description.clone();
        change(&mut description);
        Artifact::new(description, good.components.clone()).map(|_| ()).map_err(|e| e.to_string())
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
