//! Helpers of the whole-pipeline tests: they run the programs that users run.

pub mod forge;
pub mod fuzzing;
pub mod model;
pub mod tiny;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// The program `name` of this workspace. `cargo test --workspace` builds it before any test runs; where only these tests
/// were asked for and it is not there yet, it is built now.
///
/// # Panics
/// If it cannot be built.
pub fn program(name: &str) -> PathBuf {
    // This test is target/PROFILE/deps/NAME; the programs are one folder up.
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().and_then(Path::parent).expect("a test lies in target/PROFILE/deps");
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    static MISSING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
    if !program.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = ["build", "--quiet", "-p", name, "--bin", name];
        let status = Command::new(cargo).args(build).current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(status.expect("cargo runs").success(), "{name} does not build");
    }
    program
}

/// A command that runs the program `name` in `folder`.
pub fn command(name: &str, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(name));
    command.current_dir(folder).args(arguments);
    command
}

/// Runs the program `name` in `folder` to its end.
///
/// # Panics
/// If it cannot be started.
pub fn run(name: &str, folder: &Path, arguments: &[&str]) -> Output {
    command(name, folder, arguments).output().unwrap_or_else(|e| panic!("{name} does not start: {e}"))
}

/// Runs the program `name` in `folder` and returns its standard output.
///
/// # Panics
/// If it fails; the message carries what it said.
pub fn succeed(name: &str, folder: &Path, arguments: &[&str]) -> String {
    let output = run(name, folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?} failed: {stderr}");
    String::from_utf8(output.stdout).expect("standard output is text")
}

/// Asserts that the program ends with `code`, says one `error: ` line that holds every one of `words`, and does not panic.
///
/// # Panics
/// If it does anything else.
pub fn refused(name: &str, folder: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(name, folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{name} {arguments:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{name} {arguments:?} panicked: {stderr}");
    assert_eq!(stderr.matches("error: ").count(), 1, "{name} {arguments:?} should say one error: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{name} {arguments:?} should mention '{word}': {stderr}");
    }
}
