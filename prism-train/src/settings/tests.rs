use std::collections::BTreeSet;
use std::path::Path;

use clap::Command;
use prism_fl::settings::{Objective, UpdateCodec};

use super::flags::{Allowed, Given};
use super::*;

fn command() -> Command {
    Command::new("prism-train").args_override_self(true).args(flags::arguments())
}

fn parse(arguments: &[&str]) -> Vec<Given> {
    let line = std::iter::once("prism-train").chain(arguments.iter().copied());
    flags::given(&command().try_get_matches_from(line).unwrap())
}

/// The settings of a command line, or what it is told.
fn settings(arguments: &[&str]) -> std::result::Result<Settings, String> {
    let settings = Settings::resolve(&parse(arguments), None, None).and_then(|s| s.validate().map(|()| s));
    settings.map_err(|error| {
        assert_eq!(error.exit_code(), 2, "{error}");
        flags::spell(&error.to_string(), &command())
    })
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn flags_win_over_the_file_that_over_the_recipe_and_that_over_defaults() {
    let config = file("[federation]\nclients = 5\n[data]\ndata-dir = \"a\"\n[recipe]\npurpose = \"none\"");
    let flags = parse(&["--clients", "7", "--clients", "8", "--seed=3"]);
    let settings = Settings::resolve(&flags, Some("mnist-relay"), Some(config.path())).unwrap();
    assert_eq!((settings.federation.clients, settings.federation.seed), (8, 3));
    assert_eq!(settings.data.data_dir, Some("a".into()));
    assert_eq!((settings.wire.codec, settings.federation.rounds), (UpdateCodec::Mrc, 30));
    assert_eq!(settings.model.ngf, 16);
    let config = Settings::resolve(&[], Some("mnist-relay"), Some(config.path())).unwrap();
    assert_eq!(config.federation.clients, 5);
    assert_eq!(Settings::resolve(&[], None, None).unwrap(), Settings::default());
}

#[test]
fn a_folder_of_data_without_a_name_is_one_of_own_images() {
    let source = |flags: &[&str], recipe| Settings::resolve(&parse(flags), recipe, None).unwrap().data.dataset;
    assert_eq!(source(&["--data-dir", "photos"], None), Source::Folder);
    assert_eq!(source(&["--data-dir", "photos", "--dataset", "mnist"], None), Source::Mnist);
    assert_eq!(source(&["--data-dir", "photos"], Some("fashion-mnist")), Source::FashionMnist);
    assert_eq!(source(&[], None), Source::Strokes);
}

#[test]
fn there_are_fewer_than_40_settings_and_each_has_a_flag_with_a_default_of_its_type() {
    let mut all = Settings::default();
    (all.data.data_dir, all.data.limit, all.data.channels) = (Some("a".into()), Some(1), Some(1));
    all.privacy.epsilon = Some(1.0);
    let table = toml::Table::try_from(&all).unwrap();
    let keys: BTreeSet<(&str, &str)> = table
        .iter()
        .flat_map(|(group, keys)| keys.as_table().unwrap().keys().map(|key| (group.as_str(), key.as_str())))
        .collect();
    let flags: BTreeSet<(&str, &str)> = flags::settings().map(|flag| (flag.group, flag.key())).collect();
    assert_eq!(keys, flags);
    assert_eq!(flags.len(), 39);
    for flag in flags::settings() {
        let number = !table[flag.group][flag.key()].is_str();
        assert_eq!(number, matches!(flag.allowed, Allowed::Number), "--{}", flag.name);
        assert_eq!(number, limits::range(flag.key()).is_some(), "--{} has a range", flag.name);
        let names: BTreeSet<&str> = flags::all().map(|flag| flag.key()).collect();
        assert_eq!(names.len(), flags::all().count(), "a key names one flag");
    }
}

#[test]
fn every_name_that_help_offers_is_one_that_the_setting_has() {
    for flag in flags::settings() {
        let Allowed::Names(names) = flag.allowed else { continue };
        for name in names {
            let given = [Given { flag, text: name.to_string() }];
            Settings::resolve(&given, None, None).unwrap_or_else(|e| panic!("--{} {name}: {e}", flag.name));
        }
    }
    assert_eq!(settings(&["--objective", "moving-average"]).unwrap().training.objective, Objective::MovingAverage);
}

#[test]
fn keys_that_are_unknown_or_in_another_table_are_named() {
    for (text, words) in [
        ("[federation]\nklients = 5", "no setting klients under [federation]"),
        ("[fed]\nx = 5", "no setting x under [fed]"),
        ("[model]\nrounds = 5", "rounds stands under [model]; it belongs to [federation]"),
        ("clients = 5", "clients stands under no table; it belongs to [federation]"),
        ("[federation]\nclients = \"ten\"", "`clients` is ten; choose 1 to"),
        ("[federation]\nclients = -1", "`clients` is -1; choose 1 to"),
        ("[federation]\nclients = 2.5", "`clients` is 2.5; choose 1 to"),
        ("[wire]\ncodec = \"zip\"", "`codec` is zip; choose flips, raw, mrc or sums"),
        ("[data]\npartition = \"halves\"", "partition 'halves' is unknown"),
        ("[data]\ndata-dir = 5", "`data-dir` is 5; give a text in quotes"),
        ("[federation", "unclosed table"),
    ] {
        let config = file(text);
        let error = Settings::resolve(&[], None, Some(config.path())).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        assert!(error.contains(words) && error.starts_with(&config.path().display().to_string()), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn values_that_a_flag_cannot_have_are_refused_in_one_sentence() {
    for (flags, words) in [
        (&["--clients", "0"][..], "--clients is 0; choose 1 to"),
        (&["--clients", "-3"], "--clients is -3; choose 1 to"),
        (&["--clients", "ten"], "--clients is ten; choose 1 to"),
        (&["--clients", "5000000000"], "--clients is 5000000000; choose 1 to"),
        (&["--fraction", "0"], "--fraction is 0; choose a number above 0"),
        (&["--fraction", "NaN"], "--fraction is NaN"),
        (&["--lr", "-1"], "--lr is -1; choose a number above 0"),
        (&["--image-size", "33"], "--image-size is 33; choose a power of two"),
        (&["--channels", "2"], "--channels is 2; choose 1 (grey) or 3"),
        (&["--limit", "0"], "--limit is 0; choose at least 1 image"),
        (&["--threads", "1025"], "--threads is 1025; choose 0"),
        (&["--sample-every", "-1"], "--sample-every is -1; choose 0"),
        (&["--seed", "18446744073709551615"], "--seed is 18446744073709551615; choose 0 to"),
        (&["--classes-per-step", "1152921504606846976"], "choose 1 to 1000"),
        (&["--codec", "zip"], "--codec is zip; choose flips, raw, mrc or sums"),
        (&["--dataset", "imagenet"], "--dataset is imagenet; choose strokes, mnist"),
        (&["--partition", "halves"], "partition 'halves' is unknown; choose iid"),
        (&["--dp-epsilon", "-1"], "--dp-epsilon is -1; choose a number above 0"),
        (&["--dp-epsilon", "NaN"], "--dp-epsilon is NaN"),
        (&["--dp-features", "grid:3"], "feature set 'grid:3' is unknown"),
        (&["--dp-trust", "secagg"], "give --dp-epsilon"),
        (&["--dp-adjacency", "replace:0", "--dp-epsilon", "1"], "--dp-adjacency is replace:0; choose replace-one"),
        (&["--dp-trust", "secagg:2", "--dp-epsilon", "1"], "--dp-trust is secagg:2; choose local"),
        (&["--components", "2"], "--components is 2; choose 1, or --mode one-shot"),
        (&["--dp-epsilon", "1", "--objective", "moments-sketches"], "noisy sketches"),
        (&["--dp-epsilon=1", "--dataset=folder", "--channels=1", "--limit=9"], "--limit is 9, and which images"),
        (&["--dp-epsilon=1", "--dataset=folder"], "--channels is not given, so one picture in colour"),
    ] {
        let error = settings(flags).expect_err(&format!("{flags:?} is refused"));
        assert!(error.contains(words) && !error.contains('\n'), "{flags:?}: {error}");
    }
}

#[test]
fn saved_settings_read_back_the_same_and_give_the_same_agreement() {
    let settings = settings(&[
        "--partition=dirichlet:0.3",
        "--seed=9",
        "--tanh-grad-bias=0.1",
        "--dp-epsilon=0.2",
        "--objective=mean-squares",
    ])
    .unwrap();
    let saved = file(&settings.to_toml().unwrap());
    let again = Settings::read(saved.path()).unwrap();
    assert_eq!(again, settings);
    assert_eq!(again.agreement().privacy.epsilon, Some(0.2));
    assert_eq!(again.agreement().federation, settings.federation);
}

#[test]
fn a_resumed_run_may_go_on_longer_but_not_change_its_width() {
    let saved = file(&settings(&["--tanh-grad-bias", "0.1", "--dp-epsilon", "1"]).unwrap().to_toml().unwrap());
    let resume = |flags: &[&str]| Settings::resume(&parse(flags), saved.path());
    let longer = resume(&["--rounds", "40", "--threads", "1", "--data-dir", "a"]).unwrap();
    assert_eq!((longer.federation.rounds, longer.run.threads), (40, 1));
    assert_eq!(longer.data.data_dir, Some("a".into()));
    assert_eq!(resume(&["--sample-every", "6"]).unwrap().run.sample_every, 6);
    for same in [["--ngf", "16"], ["--tanh-grad-bias", "0.10"], ["--dp-epsilon", "1.0"], ["--dp-trust", "local"]] {
        assert!(resume(&same).is_ok(), "{same:?}");
    }
    for (other, words) in [
        (["--ngf", "8"], "`ngf` 8 contradicts the run being resumed, which has 16"),
        (["--dp-epsilon", "2"], "`epsilon` 2 contradicts the run being resumed, which has 1;"),
        (["--limit", "9"], "`limit` 9 contradicts the run being resumed, which has none"),
    ] {
        let error = resume(&other).unwrap_err();
        assert!(error.to_string().contains(words) && error.exit_code() == 2, "{error}");
    }
}

#[test]
fn every_recipe_on_the_shelf_is_built_in_valid_and_named_after_its_images() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let names: BTreeSet<String> = files
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_string())
        .collect();
    assert_eq!(names, recipes::RECIPES.iter().map(|recipe| recipe.name.to_string()).collect());
    for recipe in recipes::RECIPES {
        let settings = Settings::resolve(&[], Some(recipe.name), None).unwrap();
        settings.validate().unwrap();
        let dataset = settings.data.dataset.name();
        // All private ones train on 60,000 images, and delta may be a tenth of one in them.
        assert!(settings.privacy.epsilon.is_none() || settings.privacy.delta <= 0.1 / 60_000.0, "{}", recipe.name);
        let is_free = ["quick", "faces64", "photos"].contains(&recipe.name);
        assert!(is_free || recipe.name.starts_with(dataset), "{} trains on {dataset}", recipe.name);
        let card = recipe.card().unwrap();
        let artifact = format!("{}/../models/{}.safetensors.zst", env!("CARGO_MANIFEST_DIR"), recipe.name);
        let bytes = std::fs::metadata(artifact).map(|found| found.len()).ok();
        assert_eq!(card.model_bytes, bytes, "{}: the file on the shelf", recipe.name);
        assert!(!settings.to_toml().unwrap().contains("purpose"), "a run has settings alone");
    }
    assert_eq!(Settings::resolve(&[], Some("quick"), None).unwrap(), Settings::default());
    let error = recipes::find("mnits").err().unwrap().to_string();
    assert!(error.contains("`recipe` is mnits; choose quick, mnist,") && error.contains("photos"), "{error}");
}

#[test]
fn settings_are_spelled_as_the_flags_that_a_command_has() {
    let message = "`epsilon` is 0, `ngf` too; see `prism-train --help` or `no-flag`";
    let spelled = flags::spell(message, &command());
    assert_eq!(spelled, "--dp-epsilon is 0, --ngf too; see `prism-train --help` or `no-flag`");
    let audit = Command::new("audit").arg(clap::Arg::new("epsilon").long("epsilon"));
    assert!(flags::spell(message, &audit).starts_with("--epsilon is 0, `ngf` too"));
}
