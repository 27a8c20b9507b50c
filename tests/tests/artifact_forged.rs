//! Artifacts whose payload hash is right and whose content lies. Each lie is refused by its name, and none panics.

use e2e::forge::{Forged, packed};
use e2e::model::{mixture, tiny, untrained};
use prism_core::artifact::Artifact;
use proptest::prelude::*;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

/// `first` is range-coded, the small layers are raw.
fn good() -> Forged {
    let artifact = untrained(tiny(), 0.1, 3);
    assert_eq!(serde_json::to_value(artifact.meta().layers[0].encoding).unwrap(), "range");
    assert_eq!(serde_json::to_value(artifact.meta().layers[4].encoding).unwrap(), "raw");
    Forged::from_good(&artifact.to_bytes().unwrap())
}

/// What the reader says after `change`.
fn after(change: impl FnOnce(&mut Forged)) -> Result<Artifact, String> {
    let mut forged = good();
    change(&mut forged);
    Artifact::from_bytes(&forged.file()).map_err(|e| e.to_string())
}

fn refuse(word: &str, change: impl FnOnce(&mut Forged)) {
    let why = after(change).expect_err("the lie must be refused");
    assert!(why.contains(word), "should mention '{word}': {why}");
    assert!(!why.chars().any(char::is_control), "should be safe to print: {why:?}");
}

#[test]
fn the_forger_can_write_a_good_artifact() {
    let (forged, original) = (after(|_| ()).unwrap(), untrained(tiny(), 0.1, 3));
    assert_eq!(forged.components(), original.components());
    assert_eq!(forged.meta().description, original.meta().description);
    // Its keys stand in another order, under another hash. Written again, it is what this program would have made.
    assert_ne!(forged.meta().payload_sha256, original.meta().payload_sha256);
    assert_eq!(forged.to_bytes().unwrap(), original.to_bytes().unwrap());
}

#[test]
fn another_version_is_refused_whatever_else_it_holds() {
    refuse("version is 3", |f| f.meta["version"] = json!(3));
    refuse("version is 0", |f| f.meta = json!({"version": 0, "anything": [1, 2]}));
    refuse("version", |f| f.meta = json!({"other": 1}));
    refuse("metadata", |f| f.meta = json!("text"));
}

#[test]
fn mixtures_that_contradict_themselves_are_refused() {
    let lie = |word: &str, change: &dyn Fn(&mut Forged)| {
        let mut forged = Forged::from_good(&mixture(tiny(), 0.4, 3, 2).to_bytes().unwrap());
        change(&mut forged);
        let why = Artifact::from_bytes(&forged.file()).expect_err("the lie must be refused").to_string();
        assert!(why.contains(word), "should mention '{word}': {why}");
    };
    assert!(Artifact::from_bytes(&Forged::from_good(&mixture(tiny(), 0.4, 3, 2).to_bytes().unwrap()).file()).is_ok());
    lie("version 1 cannot hold", &|f| f.meta["version"] = json!(1));
    for count in [0u64, 1, 65, 1 << 40] {
        lie("a mixture has 2 to 64", &|f| f.meta["description"]["components"] = json!(count));
    }
    lie("lists 10 layers", &|f| f.meta["description"]["components"] = json!(3));
    lie("version 2 cannot hold", &|f| drop(f.meta["description"].as_object_mut().unwrap().remove("components")));
    lie("no tensor 1.mask.first", &|f| {
        f.tensors.iter_mut().find(|t| t.0 == "1.mask.first").unwrap().0 = "mask.first".into()
    });
    lie("payload hash", &|f| f.tensors.swap(0, 7));
    lie("scale of norm bn is NaN", &|f| f.tensor("1.norm.bn.scale").copy_from_slice(&f32::NAN.to_le_bytes()));
    refuse("a mixture has 2 to 64", |f| f.meta["description"]["components"] = json!(1));
    refuse("version 1 cannot hold", |f| f.meta["description"]["components"] = json!(2));
    refuse("version 2 cannot hold", |f| f.meta["version"] = json!(2));
}

#[test]
fn unknown_fields_and_wrong_types_are_refused() {
    refuse("unknown field", |f| f.meta["extra"] = json!(1));
    refuse("unknown field", |f| f.meta["description"]["architecture"]["extra"] = json!(1));
    refuse("metadata", |f| f.meta["description"]["seed"] = json!(-1));
    refuse("metadata", |f| f.meta["layers"][0]["ones"] = json!(1.5));
    refuse("metadata", |f| f.meta["layers"][0]["encoding"] = json!("zip"));
    refuse("metadata", |f| f.meta["layers"][0]["sigma"] = Value::Null);
}

#[test]
fn architectures_out_of_their_limits_are_refused() {
    let set =
        |key: &'static str, value: Value| move |f: &mut Forged| f.meta["description"]["architecture"][key] = value;
    refuse("image size is 24", set("image_size", json!(24)));
    refuse("ngf is 1000000", set("ngf", json!(1_000_000)));
    refuse("latent size is 0", set("latent", json!(0)));
    refuse("channels is 2", set("channels", json!(2)));
    refuse("label scale", set("label_scale", json!(0)));
    refuse("layers", set("image_size", json!(16)));
    refuse("shape", set("ngf", json!(2)));
    refuse("names 3 classes", set("classes", json!(2)));
}

#[test]
fn layers_that_contradict_the_architecture_are_refused() {
    let set = |key: &'static str, value: Value| move |f: &mut Forged| f.meta["layers"][0][key] = value;
    refuse("in place of first", set("name", json!("frist\u{1b}[2J")));
    refuse("shape", set("shape", json!([7, 2, 4, 5])));
    refuse("sigma", set("sigma", json!(0.2)));
    refuse("keeps 225 of 224", set("ones", json!(225)));
    refuse("bytes, not", set("bytes", json!(1_000_000_000)));
    refuse("bytes, not", set("bytes", json!(3)));
    refuse("layers", |f| f.meta["layers"] = json!([]));
}

#[test]
fn masks_that_contradict_their_metadata_are_refused() {
    refuse("the mask of layer first", |f| {
        let ones = f.meta["layers"][0]["ones"].as_u64().unwrap();
        f.meta["layers"][0]["ones"] = json!(ones + 1);
    });
    refuse("the mask of layer first", |f| f.tensor("mask.first")[0] ^= 0x40);
    refuse("mask.first", |f| f.tensor("mask.first").push(0));
    refuse("a bit behind its last one", |f| *f.tensor("mask.last").last_mut().unwrap() |= 0x80);
    refuse("the mask of layer last keeps", |f| f.tensor("mask.last")[0] ^= 1);
}

#[test]
fn a_huge_architecture_in_a_small_file_is_refused_before_memory_is_set_aside() {
    refuse("shape", |f| {
        f.meta["description"]["architecture"]["ngf"] = json!(512);
        f.meta["description"]["architecture"]["latent"] = json!(4096);
    });
}

#[test]
fn norms_that_are_no_numbers_are_refused() {
    refuse("shift of norm bn is NaN in channel 0", |f| {
        f.tensor("norm.bn.shift").copy_from_slice(&f32::NAN.to_le_bytes());
    });
    refuse("scale of norm blocks.0.bn1 is inf in channel 1", |f| {
        f.tensor("norm.blocks.0.bn1.scale")[4..8].copy_from_slice(&f32::INFINITY.to_le_bytes());
    });
}

#[test]
fn missing_added_renamed_and_retyped_tensors_are_refused() {
    refuse("tensors", |f| drop(f.tensors.pop()));
    refuse("tensors", |f| f.tensors.push(("more".into(), Dtype::U8, vec![1])));
    refuse("no tensor mask.last", |f| {
        f.tensors.iter_mut().find(|t| t.0 == "mask.last").unwrap().0 = "mask.lost".into()
    });
    refuse("is I8", |f| f.tensors.iter_mut().find(|t| t.0 == "mask.last").unwrap().1 = Dtype::I8);
}

#[test]
fn texts_that_play_tricks_on_a_terminal_are_refused() {
    refuse("control character", |f| f.meta["description"]["dataset"] = json!("\u{1b}]0;owned\u{7}"));
    refuse("control character", |f| f.meta["description"]["class_names"][1] = json!("a\nb"));
    refuse("1001 characters", |f| f.meta["description"]["privacy"] = json!("p".repeat(1001)));
    refuse("unknown field", |f| f.meta["\u{1b}[2J"] = json!(1));
}

#[test]
fn a_wrong_known_answer_is_refused_or_found_by_verification() {
    let artifact = after(|f| f.meta["known_answer"]["sha256"] = json!("0".repeat(64))).unwrap();
    let why = artifact.verify().unwrap_err().to_string();
    assert!(why.contains("known-answer") && why.contains(&"0".repeat(64)), "{why}");
    for digits in ["\u{1b}[2J", "", &"0".repeat(63), &"0".repeat(65), &"A".repeat(64), &"\u{1b}".repeat(64)] {
        refuse("64 lower-case", |f| f.meta["known_answer"]["sha256"] = json!(digits));
    }
    refuse("known answer has the label", |f| f.meta["known_answer"]["label"] = json!(3));
    refuse("known answer has the label", |f| f.meta["known_answer"]["label"] = Value::Null);
}

#[test]
fn deeply_nested_metadata_are_refused() {
    let text = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let bytes = packed(&good().safetensors(&[("prism", &text)]));
    assert!(Artifact::from_bytes(&bytes).is_err());
    let nested = format!("{{\"a\":{text}}}");
    let bytes = [&(nested.len() as u64).to_le_bytes()[..], nested.as_bytes()].concat();
    assert!(Artifact::from_bytes(&packed(&bytes)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn foreign_masks_under_a_right_hash_never_panic(bytes in proptest::collection::vec(any::<u8>(), 4..29), ones in 0usize..224) {
        let read = after(|f| {
            f.meta["layers"][0]["bytes"] = json!(bytes.len());
            f.meta["layers"][0]["ones"] = json!(ones);
            *f.tensor("mask.first") = bytes;
        });
        if let Ok(artifact) = read {
            prop_assert_eq!(artifact.components()[0].mask.layers()[0].count_ones(), ones);
        }
    }
}
