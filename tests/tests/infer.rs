//! `prism-infer` on models of several shapes: what it draws, from what, and what it refuses.

use std::fs;
use std::path::Path;

use clap::Parser;
use e2e::model::{mixture, tiny, untrained};
use prism_core::artifact::Artifact;
use prism_core::mixture::component_of_image;
use prism_core::sampler::reference;
use prism_core::{Architecture, Error, latent, npy};
use prism_infer::cli::Cli;

/// Runs `prism-infer` with `line` split at spaces, each `@` standing for the folder.
fn infer(folder: &Path, line: &str) -> Result<(), Error> {
    let at = format!("{}/", folder.display());
    let words = std::iter::once("prism-infer".to_owned()).chain(line.split(' ').map(|word| word.replace('@', &at)));
    let cli = Cli::try_parse_from(words).expect("the flags exist");
    prism_infer::draw(&cli.draw)
}

fn refuse(folder: &Path, line: &str, word: &str) {
    let error = infer(folder, line).expect_err(line);
    assert_eq!(error.exit_code(), 2, "{line}: {error}");
    assert!(error.to_string().contains(word), "{line} should mention '{word}': {error}");
}

fn array(folder: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    npy::read(&fs::read(folder.join(name)).unwrap()).unwrap()
}

fn folder_with_model(arch: &Architecture) -> (tempfile::TempDir, Artifact) {
    let folder = tempfile::tempdir().unwrap();
    let model = untrained(arch.clone(), 0.4, 1);
    model.write(&folder.path().join("m")).unwrap();
    (folder, model)
}

fn unconditional() -> Architecture {
    Architecture { classes: 0, channels: 3, ..tiny() }
}

#[test]
fn images_are_those_of_the_reference_with_labels_going_round() {
    let (folder, model) = folder_with_model(&tiny());
    let folder = folder.path();
    infer(folder, "--model @m --n 4 --seed 9 --npy @plain --quiet").unwrap();
    infer(folder, "--model @m --n 4 --seed 9 --npy @chosen --label 2,0 --quiet").unwrap();
    for (name, labels) in [("plain", [0, 1, 2, 0]), ("chosen", [2, 0, 2, 0])] {
        let (shape, values) = array(folder, name);
        assert_eq!(shape, [4, 1, 8, 8]);
        let expected = labels.into_iter().zip(0..).flat_map(|(label, k)| {
            let input = latent::input(&tiny(), &latent::latent(&tiny(), 9, k), Some(label)).unwrap();
            reference::image(&model.models()[0], &input)
        });
        assert!(values.iter().zip(expected).all(|(x, y)| (f64::from(*x) - y).abs() < 1e-5), "{name}");
    }
}

#[test]
fn a_mixture_draws_every_image_by_one_component_or_all_by_the_one_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = mixture(tiny(), 0.4, 1, 3);
    model.write(&folder.join("m")).unwrap();
    infer(folder, "--model @m --n 30 --seed 9 --npy @all --quiet").unwrap();
    for component in 0..3 {
        infer(folder, &format!("--model @m --n 30 --seed 9 --component {component} --npy @{component} --quiet"))
            .unwrap();
    }
    let (_, all) = array(folder, "all");
    let mut drawn = [0; 3];
    for (k, image) in all.chunks(64).enumerate() {
        let component = component_of_image(3, 9, k as u64);
        let (_, own) = array(folder, &component.to_string());
        assert_eq!(image, &own[k * 64..(k + 1) * 64], "image {k}");
        drawn[component] += 1;
    }
    assert!(drawn.iter().all(|&n| n > 4), "{drawn:?}");
    refuse(folder, "--model @m --component 3", "the components 0 to 2");
    infer(folder, "--model @m --n 3 --interpolate 5 --seed 9 --npy @way --quiet").unwrap();
    let of_way = format!("--model @m --n 3 --interpolate 5 --seed 9 --component {}", component_of_image(3, 9, 0));
    infer(folder, &format!("{of_way} --npy @own --quiet")).unwrap();
    assert_eq!(array(folder, "way"), array(folder, "own"), "one component draws the whole way");
    let (single, _) = folder_with_model(&tiny());
    infer(single.path(), "--model @m --n 2 --component 0 --npy @0 --quiet").unwrap();
    refuse(single.path(), "--model @m --component 1", "a single generator");
}

#[test]
fn an_image_depends_on_neither_the_number_of_images_nor_of_threads() {
    let (folder, _) = folder_with_model(&unconditional());
    let folder = folder.path();
    infer(folder, "--model @m --n 40 --npy @many --threads 1 --quiet").unwrap();
    infer(folder, "--model @m --n 3 --npy @few --threads 3 --quiet").unwrap();
    let ((_, many), (shape, few)) = (array(folder, "many"), array(folder, "few"));
    assert_eq!(shape, [3, 3, 8, 8]);
    assert_eq!(many[..few.len()], few);
    for threads in 1..4 {
        infer(folder, &format!("--model @m --n 20 --out @{threads}.png --threads {threads} --quiet")).unwrap();
        assert_eq!(fs::read(folder.join(format!("{threads}.png"))).unwrap(), fs::read(folder.join("1.png")).unwrap());
    }
}

#[test]
fn latents_come_from_a_file_with_or_without_labels() {
    let (folder, _) = folder_with_model(&tiny());
    let folder = folder.path();
    infer(folder, "--model @m --n 5 --seed 3 --npy @seeded --quiet").unwrap();
    let save = |name: &str, width: usize, values: Vec<f32>| {
        fs::write(folder.join(name), [npy::header(&[5, width]), npy::values(&values)].concat()).unwrap();
    };
    let z = |k| latent::latent(&tiny(), 3, k);
    save("z", 4, (0..5).flat_map(z).collect());
    save(
        "full",
        7,
        (0..5).flat_map(|k| latent::input(&tiny(), &z(k), latent::default_label(&tiny(), k)).unwrap()).collect(),
    );
    infer(folder, "--model @m --latents @z --npy @a --quiet").unwrap();
    infer(folder, "--model @m --latents @full --npy @b --quiet").unwrap();
    assert_eq!(array(folder, "a"), array(folder, "seeded"));
    assert_eq!(array(folder, "b"), array(folder, "seeded"));
    infer(folder, "--model @m --latents @z --n 2 --npy @c --quiet").unwrap();
    assert_eq!(array(folder, "c").0, [2, 1, 8, 8]);
    refuse(folder, "--model @m --latents @z --n 6", "has 5 rows");
    refuse(folder, "--model @m --latents @full --label 1", "leave out --label");
    save("odd", 5, vec![0.0; 25]);
    refuse(folder, "--model @m --latents @odd", "rows of 4 numbers, or of 7");
    save("nan", 4, vec![f32::NAN; 20]);
    refuse(folder, "--model @m --latents @nan", "row 0 of the latents holds NaN");
    fs::write(folder.join("flat"), [npy::header(&[4]), npy::values(&[0.0; 4])].concat()).unwrap();
    refuse(folder, "--model @m --latents @flat", "2 axes");
    let wide: Vec<u8> = [0.0f64, 1e300, 0.0, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let array_of = |descr: &str, data: &[u8]| {
        let header = npy::header(&[1, 4]);
        [&header[..10], String::from_utf8_lossy(&header[10..]).replace("<f4", descr).as_bytes(), data].concat()
    };
    fs::write(folder.join("wide"), array_of("<f8", &wide)).unwrap();
    refuse(folder, "--model @m --latents @wide", "it holds 1e300");
    fs::write(folder.join("whole"), array_of("<i4", &[0; 16])).unwrap();
    refuse(folder, "--model @m --latents @whole", "array.astype('float32')");
    fs::write(folder.join("cut"), array_of("<f4", &[0; 12])).unwrap();
    let error = infer(folder, "--model @m --latents @cut").unwrap_err();
    assert!(error.to_string().contains("cut short") && error.exit_code() == 1, "{error}");
    let error = infer(folder, "--model @m --latents @m").unwrap_err();
    assert!(error.to_string().contains("numpy.save") && error.exit_code() == 1, "{error}");
}

#[test]
fn interpolation_goes_from_latent_to_latent_a_row_for_each_pair() {
    let (folder, _) = folder_with_model(&unconditional());
    let folder = folder.path();
    infer(folder, "--model @m --n 3 --npy @stops --quiet").unwrap();
    infer(folder, "--model @m --n 3 --interpolate 4 --npy @way --out @way.png --quiet").unwrap();
    let ((_, stops), (shape, way)) = (array(folder, "stops"), array(folder, "way"));
    assert_eq!(shape, [8, 3, 8, 8]);
    let image = |values: &[f32], k: usize| values[k * 192..(k + 1) * 192].to_vec();
    let near = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    for (step, stop) in [(0, 0), (3, 1), (4, 1), (7, 2)] {
        assert!(near(image(&way, step), image(&stops, stop)), "step {step} is stop {stop}");
    }
    assert!(!near(image(&way, 1), image(&stops, 0)) && !near(image(&way, 2), image(&stops, 1)));
    let png = fs::read(folder.join("way.png")).unwrap();
    assert_eq!(u32::from_be_bytes(png[16..20].try_into().unwrap()), 4 * 10 + 2, "four columns");
    refuse(folder, "--model @m --interpolate 1", "at least 2");
    refuse(folder, "--model @m --interpolate 5 --n 1", "at least 2");
    refuse(folder, "--model @m --interpolate 18446744073709551615 --n 9", "beyond all counting");
}

#[test]
fn a_folder_holds_one_picture_for_each_image() {
    let (folder, _) = folder_with_model(&unconditional());
    let folder = folder.path();
    infer(folder, "--model @m --n 3 --out-dir @new/folder --quiet").unwrap();
    let mut names: Vec<_> = fs::read_dir(folder.join("new/folder")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["image-00000-seed-0.png", "image-00001-seed-0.png", "image-00002-seed-0.png"]);
}

#[test]
fn impossible_requests_are_refused_before_anything_is_drawn() {
    let (folder, _) = folder_with_model(&tiny());
    let folder = folder.path();
    refuse(folder, "--model @m --label 3", "labels 0 to 2");
    refuse(folder, "--model @m --n 99999999999 --out @x.png", "draw fewer");
    refuse(folder, "--model @m --n 99999999999 --npy @x.npy", "draw fewer");
    refuse(folder, "--model @missing", "cannot read");
    refuse(folder, "--model @m --out - --json", "standard output");
    untrained(unconditional(), 0.4, 1).write(&folder.join("u")).unwrap();
    refuse(folder, "--model @u --label 0", "no classes");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2, "nothing was written");
}
