//! The program's face: its help names every flag that the README speaks of.

use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_prism-train")).args(arguments).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_names_every_flag() {
    let help = help(&["--help"]);
    for flag in [
        "dataset",
        "data-dir",
        "image-size",
        "clients",
        "partition",
        "rounds",
        "local-steps",
        "batch-size",
        "fraction",
        "dropout",
        "ngf",
        "lr",
        "seed",
        "mada",
        "alpha",
        "encoder",
        "conditional",
        "device",
        "threads",
        "out",
        "config",
        "resume",
        "quiet",
    ] {
        assert!(help.contains(&format!("--{flag} ")) || help.contains(&format!("--{flag}\n")), "--{flag}: {help}");
    }
}

#[test]
fn the_encoder_has_a_command() {
    assert!(help(&["encoder", "--help"]).contains("--data-dir"));
}
