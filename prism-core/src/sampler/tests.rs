use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::arch::Architecture;
use crate::latent;
use crate::mask::Mask;
use crate::score::sample_bits;
use crate::stream::{Purpose, StreamId};

struct Parts {
    arch: Architecture,
    mask: Mask,
    norms: Vec<FoldedNorm>,
}

/// A generator with random masks and norms of the size that calibration gives: outputs stay within a few units.
fn parts(arch: Architecture, seed: u64) -> Parts {
    let mut stream = StreamId::new(seed, Purpose::Test).open();
    let mask = arch.layers().iter().map(|l| sample_bits(&vec![0.4; l.weights()], &mut stream)).collect();
    let mut norm = |n: usize| {
        // One over a standard deviation is positive, and of the order of one.
        let scale = (0..n).map(|_| libm::exp(0.3 * stream.normal()) as f32).collect();
        FoldedNorm { scale, shift: (0..n).map(|_| (0.3 * stream.normal()) as f32).collect() }
    };
    let norms = arch.norms().iter().map(|n| norm(n.channels)).collect();
    Parts { arch, mask: Mask::new(mask), norms }
}

impl Parts {
    fn model(&self) -> Model<'_> {
        Model::new(&self.arch, 7, &self.mask, &self.norms).unwrap()
    }

    fn inputs(&self, n: u64) -> Vec<f32> {
        let label = |k| latent::default_label(&self.arch, k);
        (0..n).flat_map(|k| latent::input(&self.arch, &latent::latent(&self.arch, 3, k), label(k)).unwrap()).collect()
    }
}

fn arch(image_size: usize, channels: usize, ngf: usize, classes: usize) -> Architecture {
    Architecture { image_size, channels, ngf, latent: 9, classes, label_scale: 3.0 }
}

fn threads(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// The largest difference between a sampler's values and the reference's, and the images' range.
fn largest_error(sampler: &Sampler, parts: &Parts, images: u64) -> (f64, f64) {
    let inputs = parts.inputs(images);
    let found = sampler.images(&inputs, threads(1));
    let expected = inputs.chunks(parts.arch.inputs()).flat_map(|input| reference::image(&parts.model(), input));
    let (mut error, mut spread) = (0.0f64, 0.0f64);
    for (x, y) in found.iter().zip(expected) {
        error = error.max((f64::from(*x) - y).abs());
        spread = spread.max((y - f64::from(found[0])).abs());
    }
    (error, spread)
}

#[test]
fn images_match_the_reference_at_every_size() {
    for (size, channels, ngf, classes) in [(8, 1, 3, 0), (16, 3, 5, 2), (32, 1, 4, 10), (64, 3, 2, 0), (128, 1, 2, 3)] {
        let parts = parts(arch(size, channels, ngf, classes), 1);
        for isa in Isa::available() {
            for (precision, limit) in [(Precision::F32, 1e-5), (Precision::I16, 1e-2)] {
                let (error, spread) = largest_error(&Sampler::with(&parts.model(), precision, isa), &parts, 2);
                assert!(error < limit, "{size} pixels, {precision:?} on {isa:?}: an error of {error}");
                assert!(spread > 0.1, "{size} pixels: the image is flat, so the comparison says nothing");
            }
        }
    }
}

#[test]
fn the_frugal_sampler_draws_the_same_bits() {
    for (size, channels, ngf, classes) in [(8, 1, 3, 0), (16, 3, 5, 2), (32, 1, 16, 10), (64, 3, 2, 0)] {
        let parts = parts(arch(size, channels, ngf, classes), 1);
        let (model, inputs) = (parts.model(), parts.inputs(2));
        let expected = Sampler::with(&model, Precision::I16, Isa::detect()).images(&inputs, threads(1));
        let found = inputs.chunks(parts.arch.inputs()).flat_map(|input| frugal::image(&model, input));
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(found.collect()), bits(expected), "{size} pixels");
    }
}

/// The width of the paper's first block: the longest sums that are likely.
#[test]
fn a_wide_generator_matches_the_reference() {
    let parts = parts(Architecture { latent: 128, ..arch(8, 3, 256, 0) }, 1);
    for isa in Isa::available() {
        let (error, _) = largest_error(&Sampler::with(&parts.model(), Precision::F32, isa), &parts, 2);
        assert!(error < 1e-5, "{isa:?}: an error of {error}");
    }
}

/// The shape whose speed is measured, with norms that double every activation, and with it every rounding error.
#[test]
fn a_deep_generator_with_steep_norms_matches_the_reference() {
    let mut parts = parts(Architecture { latent: 128, ..arch(32, 3, 64, 0) }, 1);
    for norm in &mut parts.norms {
        norm.scale.fill(2.0);
        norm.shift.fill(0.1);
    }
    let (error, _) = largest_error(&Sampler::new(&parts.model()), &parts, 2);
    assert!(error < 1e-5, "an error of {error}");
}

fn bits(images: &[f32]) -> Vec<u32> {
    images.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn integers_give_the_same_bits_on_every_instruction_set() {
    for (size, channels, ngf, classes) in [(8, 3, 7, 0), (16, 1, 17, 2), (32, 3, 6, 0)] {
        let parts = parts(arch(size, channels, ngf, classes), 3);
        let draw = |isa| bits(&Sampler::with(&parts.model(), Precision::I16, isa).images(&parts.inputs(3), threads(2)));
        let expected = draw(Isa::Portable);
        assert!(Isa::available().into_iter().all(|isa| draw(isa) == expected), "size {size}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn floats_give_the_same_bits_wherever_multiply_add_is_fused() {
    let fused: Vec<_> = Isa::available().into_iter().filter(|isa| *isa != Isa::Portable).collect();
    let parts = parts(arch(16, 3, 21, 2), 3);
    let draw =
        |isa: &Isa| bits(&Sampler::with(&parts.model(), Precision::F32, *isa).images(&parts.inputs(3), threads(2)));
    assert!(fused.windows(2).all(|pair| draw(&pair[0]) == draw(&pair[1])));
}

/// These bits were drawn once, and must be drawn by every machine and every later version.
#[test]
fn integers_draw_what_they_always_drew() {
    let parts = parts(arch(16, 3, 6, 2), 5);
    let images = Sampler::with(&parts.model(), Precision::I16, Isa::detect()).images(&parts.inputs(2), threads(1));
    let hash = images
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, x| (hash ^ u64::from(x.to_bits())).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(hash, 0x902b_8189_7b85_605d, "{hash:#018x}");
}

/// An 8x8 generator written out index by index from the formulas of the module page.
#[test]
fn the_reference_matches_the_formulas_written_out() {
    let parts = parts(Architecture { latent: 3, ..arch(8, 1, 2, 2) }, 4);
    let model = parts.model();
    let input = &parts.inputs(2)[5..];
    let layers = parts.arch.layers();
    let w = |l: usize, i: usize| f64::from(layers[l].sigma()) * f64::from(model.weights(l, &layers[l])[i]);
    let bn = |n: usize, c: usize, v: f64| {
        let norm = &parts.norms[n];
        (f64::from(norm.scale[c]) * v + f64::from(norm.shift[c])).max(0.0)
    };
    let first = |o: usize, r: usize, c: usize| -> f64 {
        (0..5).map(|i| f64::from(input[i]) * w(0, ((i * 4 + o) * 4 + r) * 4 + c)).sum()
    };
    let inside = |v: isize| (0..8).contains(&v);
    let conv = |l: usize, inputs: usize, o: usize, r: usize, c: usize, x: &dyn Fn(usize, usize, usize) -> f64| -> f64 {
        let mut sum = 0.0;
        for i in 0..inputs {
            for (u, v) in (0..3).flat_map(|u| (0..3).map(move |v| (u, v))) {
                let (y, z) = ((r + u) as isize - 1, (c + v) as isize - 1);
                if inside(y) && inside(z) {
                    sum += w(l, ((o * inputs + i) * 3 + u) * 3 + v) * x(i, y as usize, z as usize);
                }
            }
        }
        sum
    };
    let table = |channels: usize, f: &dyn Fn(usize, usize, usize) -> f64| -> Vec<f64> {
        (0..channels * 64).map(|k| f(k / 64, k / 8 % 8, k % 8)).collect()
    };
    let inner = table(2, &|o, r, c| conv(1, 4, o, r, c, &|i, y, z| bn(0, i, first(i, y / 2, z / 2))));
    let outer = table(2, &|o, r, c| {
        let skip: f64 = (0..4).map(|i| w(3, o * 4 + i) * first(i, r / 2, c / 2)).sum();
        conv(2, 2, o, r, c, &|i, y, z| bn(1, i, inner[(i * 8 + y) * 8 + z])) + skip
    });
    let image = table(1, &|o, r, c| conv(4, 2, o, r, c, &|i, y, z| bn(2, i, outer[(i * 8 + y) * 8 + z])).tanh());
    for (x, y) in reference::image(&model, input).iter().zip(image) {
        assert!((x - y).abs() < 1e-12);
    }
}

#[test]
fn an_image_is_the_same_at_any_thread_count_and_in_any_company() {
    let parts = parts(arch(16, 3, 4, 3), 2);
    for precision in [Precision::F32, Precision::I16] {
        let sampler = Sampler::with(&parts.model(), precision, Isa::detect());
        let inputs = parts.inputs(19);
        let together = sampler.images(&inputs, threads(1));
        for n in [2, 3, 5, 64] {
            assert_eq!(sampler.images(&inputs, threads(n)), together, "{n} threads");
        }
        for n in [1, 7] {
            let rows = inputs.chunks(n * 12);
            let apart: Vec<f32> = rows.flat_map(|rows| sampler.images(rows, threads(3))).collect();
            assert_eq!(apart, together, "{n} at a time");
        }
        assert!(sampler.images(&[], threads(2)).is_empty());
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let good = parts(arch(8, 1, 2, 0), 1);
    let other = parts(arch(8, 1, 3, 0), 1);
    assert!(Model::new(&good.arch, 0, &other.mask, &good.norms).is_err());
    assert!(Model::new(&good.arch, 0, &good.mask, &other.norms).is_err());
    assert!(Model::new(&good.arch, 0, &good.mask, &good.norms[1..]).is_err());
    let mut norms = good.norms.clone();
    norms[1].shift[0] = f32::INFINITY;
    let why = Model::new(&good.arch, 0, &good.mask, &norms).unwrap_err().to_string();
    assert!(why.contains("shift of norm blocks.0.bn2 is inf in channel 0"), "{why}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_small_generator_matches_its_reference(
        seed: u64, double in 0usize..3, ngf in 1usize..6, classes in 0usize..4, colour: bool, images in 1u64..6,
    ) {
        let parts = parts(arch(8 << double, if colour { 3 } else { 1 }, ngf, classes), seed);
        for isa in Isa::available() {
            for (precision, limit) in [(Precision::F32, 1e-5), (Precision::I16, 1e-2)] {
                let (error, _) = largest_error(&Sampler::with(&parts.model(), precision, isa), &parts, images);
                prop_assert!(error < limit, "{:?} on {:?}: an error of {}", precision, isa, error);
            }
        }
    }
}

#[test]
fn a_mixture_draws_each_image_by_its_component() {
    let all = [parts(arch(8, 1, 2, 3), 1), parts(arch(8, 1, 2, 3), 2)];
    let models: Vec<_> = all.iter().map(Parts::model).collect();
    let (mixture, inputs) = (Mixture::new(&models), all[0].inputs(5));
    let drawn = mixture.images(&inputs, &[1, 0, 0, 1, 1], threads(2));
    let own = |component: usize| Sampler::new(&models[component]).images(&inputs, threads(1));
    let (first, second, size) = (own(0), own(1), 64);
    for (image, expected) in [&second, &first, &first, &second, &second].into_iter().enumerate() {
        let place = image * size..(image + 1) * size;
        assert_eq!(drawn[place.clone()], expected[place], "image {image}");
    }
    assert_ne!(first, second);
    assert_eq!(mixture.components(), 2);
}
