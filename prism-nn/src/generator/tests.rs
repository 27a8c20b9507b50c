use super::*;
use prism_core::mask::pack;
use prism_core::{Purpose, StreamId};

fn tiny() -> Generator {
    let arch = Architecture { image_size: 16, channels: 1, ngf: 4, latent: 6, classes: 2, label_scale: 3.0 };
    Generator::new(&arch, 7, &Device::Cpu).unwrap()
}

fn inputs(generator: &Generator, index: u64) -> Tensor {
    let stream = StreamId::new(1, Purpose::Test).index(index);
    latents(generator.arch(), stream, &[0, 1, 0, 1], generator.device()).unwrap()
}

fn half_mask(generator: &Generator) -> Mask {
    let bits = |layer: &Layer| pack((0..layer.weights()).map(|i| i % 3 != 0));
    Mask::new(generator.arch().layers().iter().map(bits).collect())
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

#[test]
fn images_have_the_shape_and_range_of_the_architecture() {
    let generator = tiny();
    let weights = generator.fixed_weights(&half_mask(&generator)).unwrap();
    let images = generator.forward(&inputs(&generator, 0), &weights).unwrap();
    assert_eq!(images.dims(), [4, 1, 16, 16]);
    let values = images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(values.iter().all(|v| v.abs() <= 1.0));
    assert!(values.iter().any(|v| v.abs() > 0.1), "the images are empty");
}

#[test]
fn a_mask_keeps_the_frozen_weights_and_zeroes_the_rest() {
    let generator = tiny();
    let mask = half_mask(&generator);
    for ((weight, frozen), bits) in
        generator.fixed_weights(&mask).unwrap().iter().zip(generator.frozen()).zip(mask.layers())
    {
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for ((w, f), kept) in flat(weight).into_iter().zip(flat(frozen)).zip(bits.iter()) {
            assert_eq!(w, if *kept { f } else { 0.0 });
        }
    }
}

#[test]
fn every_score_of_every_layer_receives_a_gradient() {
    let generator = tiny();
    let scores = generator.initial_scores().unwrap();
    let weights = generator.masked_weights(&scores, StreamId::new(2, Purpose::Test)).unwrap();
    let images = generator.forward(&inputs(&generator, 0), &weights).unwrap();
    let gradients = images.sqr().unwrap().mean_all().unwrap().backward().unwrap();
    for (score, layer) in scores.iter().zip(generator.arch().layers()) {
        let gradient = gradients.get(score).expect(&layer.name);
        let norm = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(norm > 0.0 && norm.is_finite(), "{}: {norm}", layer.name);
    }
}

#[test]
fn statistics_of_one_batch_reproduce_that_batch() {
    let generator = tiny();
    let weights = generator.fixed_weights(&half_mask(&generator)).unwrap();
    let z = inputs(&generator, 0);
    let fixed = generator.with_weights(&weights).unwrap();
    let norms = fixed.norm_statistics(std::slice::from_ref(&z)).unwrap();
    let names: Vec<_> = generator.arch().norms().iter().map(|n| n.channels).collect();
    assert_eq!(norms.iter().map(|n| n.mean.len()).collect::<Vec<_>>(), names);
    let trained = generator.forward(&z, &weights).unwrap();
    let folded: Vec<_> = norms.iter().map(NormStatistics::fold).collect();
    let calibrated = fixed.images(&z, &folded).unwrap();
    assert!(largest_difference(&trained, &calibrated) < 1e-4);
}

#[test]
fn statistics_are_averaged_over_batches() {
    let generator = tiny();
    let weights = generator.fixed_weights(&half_mask(&generator)).unwrap();
    let batches = [inputs(&generator, 0), inputs(&generator, 1)];
    let fixed = generator.with_weights(&weights).unwrap();
    let both = fixed.norm_statistics(&batches).unwrap();
    let each: Vec<_> = batches.iter().map(|z| fixed.norm_statistics(std::slice::from_ref(z)).unwrap()).collect();
    for (norm, both) in both.iter().enumerate() {
        let expected = (each[0][norm].variance[0] + each[1][norm].variance[0]) / 2.0;
        assert!((both.variance[0] - expected).abs() <= 1e-6 * expected.abs());
        assert_ne!(each[0][norm].mean, each[1][norm].mean);
    }
}

#[test]
fn latents_end_in_the_scaled_label() {
    let generator = tiny();
    let rows = inputs(&generator, 0).to_vec2::<f32>().unwrap();
    assert_eq!(rows[0][6..], [3.0, 0.0]);
    assert_eq!(rows[1][6..], [0.0, 3.0]);
    assert_ne!(rows[0][..6], rows[2][..6]);
    let stream = StreamId::new(1, Purpose::Test);
    assert!(latents(generator.arch(), stream, &[2], &Device::Cpu).unwrap_err().to_string().contains("label 2"));
}

#[test]
fn tensors_of_another_architecture_are_refused() {
    let generator = tiny();
    let other = Architecture { image_size: 8, ..generator.arch().clone() };
    let other = Generator::new(&other, 7, &Device::Cpu).unwrap();
    assert!(generator.fixed_weights(&half_mask(&other)).is_err());
    assert!(generator.masked_weights(&other.initial_scores().unwrap(), StreamId::new(2, Purpose::Test)).is_err());
    assert!(generator.scores_from([vec![0.0; 3]]).is_err());
    assert!(generator.with_weights(other.frozen()).is_err());
    assert!(generator.with_weights(generator.frozen()).unwrap().norm_statistics(&[]).is_err());
}
