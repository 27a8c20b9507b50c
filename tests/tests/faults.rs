//! A disk that fails at any write, sync or rename: the run says so in one line, nothing that was saved is lost, and it resumes to the
//! same bytes. `faults/fail_call.c` makes the call fail; without Linux and a C compiler these tests say that they did not run.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::tiny::{artifact, rounds_reported, tiny, train};
use e2e::{command, succeed};

const ENOSPC: &str = "28";
const EIO: &str = "5";

/// The library that lets a call fail, built into `folder`; none where there is no C compiler.
fn library(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("fail_call.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/fail_call.c");
    let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
    let built = Command::new("cc").args(flags).arg(&library).arg(source).arg("-ldl").status();
    match built {
        Ok(status) => {
            assert!(status.success(), "fail_call.c does not build");
            Some(library)
        }
        Err(_) => {
            eprintln!("not run: there is no C compiler (cc)");
            None
        }
    }
}

/// A program whose call number `at` on a file below `folder` fails with `error`; none fails at 0.
struct Faults<'a> {
    library: &'a Path,
    folder: &'a Path,
    at: usize,
    error: &'a str,
}

impl Faults<'_> {
    fn run(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = command(name, self.folder, arguments);
        command.env("LD_PRELOAD", self.library).env("FAIL_BELOW", self.folder).env("FAIL_ERRNO", self.error);
        command
            .env("FAIL_AT", self.at.to_string())
            .env("FAIL_COUNT", self.counts())
            .output()
            .expect("the program starts")
    }

    fn counts(&self) -> PathBuf {
        self.library.with_extension("count")
    }

    /// How many calls the program makes that could fail.
    fn count(&self, name: &str, arguments: &[&str]) -> usize {
        let output = self.run(name, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(self.counts()).expect("the count was written");
        text.lines().last().and_then(|line| line.parse().ok()).expect("a count")
    }
}

/// Asserts that a program failed as it should: exit code 1, one sentence that names a file, no panic.
fn assert_said(output: &Output, what: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{what}: {said}");
    assert!(!said.contains("panicked") && said.matches("error: ").count() == 1, "{what}: {said}");
    assert!(said.contains("No space left on device") || said.contains("Input/output error"), "{what}: {said}");
}

/// About `tests` numbers from 1 to `last`, the first and the last among them.
fn spread(last: usize, tests: usize) -> impl Iterator<Item = usize> {
    let stride = (last / tests).max(1);
    (1..last).step_by(stride).chain([last])
}

fn a_run_survives(more: &[&str]) {
    let (folder, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = fs::canonicalize(folder.path()).unwrap();
    let Some(library) = library(beside.path()) else { return };
    let whole = train(&root, "whole", more);
    let faults = |at, error| Faults { library: &library, folder: &root, at, error };
    let path_of = |name: &str| root.join(name).display().to_string();
    let counted = path_of("counted");
    let calls = faults(0, EIO).count("prism-train", &tiny(&[more, &["--out", &counted]].concat()));
    assert!(calls > 20, "{calls} calls: is the library loaded?");
    let mut failed = 0;
    for (at, error) in spread(calls, 8).zip([ENOSPC, EIO].into_iter().cycle()) {
        let (name, what) = (format!("run-{at}"), format!("call {at} of {calls}"));
        let (path, run) = (path_of(&name), root.join(&name));
        let output = faults(at, error).run("prism-train", &tiny(&[more, &["--out", &path]].concat()));
        // What is only for durability, such as the sync of a folder, may fail.
        if !output.status.success() {
            assert_said(&output, &what);
            failed += 1;
            match run.join("settings.toml").exists() {
                true => drop(succeed("prism-train", &root, &["--resume", &name, "--quiet"])),
                // Nothing was made yet, and the same command starts it.
                false => drop(train(&root, &name, more)),
            }
        }
        assert!(whole == artifact(&run), "{what}");
        assert_eq!(rounds_reported(&run), 3, "{what}: each round is reported once");
    }
    assert!(failed >= 4, "only {failed} runs failed: the calls that were to fail did not");
}

#[test]
fn rounds_on_a_failing_disk_lose_nothing() {
    a_run_survives(&[]);
}

#[test]
fn one_shot_on_a_failing_disk_loses_nothing() {
    a_run_survives(&["--mode", "one-shot", "--subclasses", "2", "--batch-size", "16"]);
}
