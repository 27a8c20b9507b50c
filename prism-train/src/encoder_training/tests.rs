use super::*;
use prism_nn::encoder::Encoder;

/// Two classes that only a feature of colour tells apart, with a little texture.
fn colours(images: usize) -> Dataset {
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for image in 0..images {
        let class = image % 2;
        for colour in 0..3 {
            let base = if colour == 2 * class { 200 } else { 60 };
            pixels.extend((0..64).map(|at| (base + (at * 31 + image * 17 + colour * 7) % 40) as u8));
        }
        labels.push(class as u16);
    }
    let images = Dataset::new("colours", 8, 3, pixels).unwrap();
    images.with_labels(vec!["blue".into(), "red".into()], labels).unwrap()
}

fn settings() -> EncoderTraining {
    EncoderTraining {
        data_dir: "unused".into(),
        out: "encoder.safetensors".into(),
        name: Some("colours".into()),
        epochs: 4,
        seed: 1,
        layout: "8,M,8".into(),
        image_size: 8,
        batch_size: 16,
        lr: 0.05,
        limit: None,
    }
}

#[test]
fn a_separable_set_is_learned_and_the_file_holds_it() {
    let mut last = None;
    let trained = fit(&settings(), &colours(128), Some(&colours(40)), &mut |progress| last = Some(progress)).unwrap();
    let last = last.unwrap();
    assert_eq!((last.step, last.steps, last.steps_per_epoch), (32, 32, 8));
    // A fifth of the views is grey, which hides the class; the test set is in colour.
    assert!(trained.card.test_accuracy.unwrap() > 0.9, "{:?}", trained.card);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.safetensors");
    file::write(&path, &trained.bytes).unwrap();
    let encoder = Encoder::open(&format!("file:{}", path.display()), &candle_core::Device::Cpu).unwrap();
    assert_eq!(encoder.digest(), trained.digest);
}

#[test]
fn the_same_seed_gives_the_same_file_at_any_thread_count() {
    let train = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit(&settings(), &colours(64), None, &mut |_| ()).unwrap())
    };
    let one = train(1);
    assert_eq!(one, train(2));
    let other = fit(&EncoderTraining { seed: 2, ..settings() }, &colours(64), None, &mut |_| ()).unwrap();
    assert_ne!(one.digest, other.digest);
}

#[test]
fn the_order_of_the_classes_does_not_matter() {
    let mixed = colours(64);
    let sorted = mixed.subset(&(0..64).map(|i| i % 32 * 2 + i / 32).collect::<Vec<_>>());
    assert_ne!(mixed.labels(), sorted.labels());
    let train = |set: &Dataset| fit(&settings(), set, None, &mut |_| ()).unwrap();
    assert_eq!(train(&mixed), train(&sorted));
}

#[test]
fn settings_and_sets_outside_the_limits_are_refused() {
    let refused = |settings: EncoderTraining, set: &Dataset, why: &str| {
        let error = fit(&settings, set, None, &mut |_| ()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(EncoderTraining { epochs: 0, ..settings() }, &colours(4), "--epochs is 0");
    refused(EncoderTraining { batch_size: 1, ..settings() }, &colours(4), "--batch-size is 1");
    refused(EncoderTraining { lr: f64::NAN, ..settings() }, &colours(4), "--lr");
    refused(EncoderTraining { layout: "8,M,M,M,M,8".into(), ..settings() }, &colours(4), "at least 16");
    refused(settings(), &Dataset::new("plain", 8, 3, vec![0; 192]).unwrap(), "0 classes");
    let grey = Dataset::new("grey", 8, 1, vec![0; 128]).unwrap();
    let grey = grey.with_labels(vec!["a".into(), "b".into()], vec![0, 1]).unwrap();
    refused(settings(), &grey, "channel");
}
