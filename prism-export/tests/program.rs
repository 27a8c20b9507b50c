//! The program's face.

use std::process::Command;

#[test]
fn help_names_every_flag() {
    let output = Command::new(env!("CARGO_BIN_EXE_prism-export")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in ["--out", "--mask", "--calibration-images", "--json", "--card"] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
}
