//! The program's face: help that fits a page, and help that has everything.

use std::process::Command;

use prism_train::settings::flags;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_prism-train")).args(arguments).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_short_help_fits_a_page_and_names_what_one_needs_every_day() {
    let help = help(&["-h"]);
    assert!(help.lines().count() <= 40, "{} lines: {help}", help.lines().count());
    assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    for flag in flags::all().filter(|flag| flag.everyday) {
        assert!(help.contains(&format!("--{} ", flag.name)) && help.contains(flag.help), "--{}: {help}", flag.name);
    }
    for command in ["check", "recipes", "eval", "report", "audit", "encoder", "bench"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
}

#[test]
fn the_long_help_explains_every_flag_with_its_default() {
    // Lines break where the terminal's width has it.
    let help = help(&["--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    for flag in flags::all() {
        assert!(help.contains(&format!("--{}", flag.name)), "--{}: {help}", flag.name);
        assert!(flag.more.len() > 20, "--{} is explained", flag.name);
    }
    for default in ["[default: strokes]", "[default: flips]", "[default: 0.4]", "[default: 1e-5]", "[default: grid:8]"]
    {
        assert!(help.contains(default), "{default}: {help}");
    }
    assert!(help.contains("Choose flips, raw, mrc, sums."), "{help}");
}

#[test]
fn every_command_has_help() {
    assert!(help(&["encoder", "--help"]).contains("--data-dir"));
    assert!(help(&["recipes", "--help"]).contains("--json"));
}

#[test]
fn completions_and_manual_pages_are_written_for_all_programs() {
    let folder = tempfile::tempdir().unwrap();
    let write = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_prism-train")).current_dir(&folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    write(&["completions", "bash", "share/bash"]);
    write(&["completions", "fish", "share/fish"]);
    write(&["man", "share/man1"]);
    for (file, words) in [
        ("bash/prism-train.bash", &["--dp-epsilon", "recipes"][..]),
        ("bash/prism-infer.bash", &["--label"]),
        ("bash/prism-export.bash", &["--mask"]),
        ("fish/prism-infer.fish", &["interpolate"]),
        ("man1/prism-train.1", &["dp", "image generator"]),
        ("man1/prism-train-eval.1", &["tstr"]),
        ("man1/prism-infer.1", &["seed"]),
        ("man1/prism-export.1", &["calibration"]),
    ] {
        let text = std::fs::read_to_string(folder.path().join("share").join(file)).unwrap();
        words.iter().for_each(|word| assert!(text.contains(word), "{file} should have '{word}'"));
    }
}
