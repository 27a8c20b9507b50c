//! A disk that fails at any write, sync or rename, and memory that is refused: a run that cannot go on ends, nothing that was saved
//! is lost, and it resumes to the same bytes. `faults/fail_call.c` makes the call fail; without Linux and a C compiler these tests say
//! that they did not run.
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

/// What fails, and how a program ends whose call failed.
#[derive(Clone, Copy)]
enum Fault {
    /// A call on a file below the folder, with an error number: exit code 1 and one sentence with the system's words.
    Disk(&'static str),
    /// An allocation of 16 KB and more: as above, or aborted, as Rust's allocations are.
    Memory,
}

impl Fault {
    fn assert_ended(self, output: &Output, what: &str) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{what}: {said}");
        match self {
            Fault::Disk(_) => {
                assert_eq!(output.status.code(), Some(1), "{what}: {said}");
                assert_eq!(said.matches("error: ").count(), 1, "{what}: {said}");
                assert!(
                    said.contains("No space left on device") || said.contains("Input/output error"),
                    "{what}: {said}"
                );
            }
            Fault::Memory => assert!(said.contains("memory"), "{what}: {said}"),
        }
    }
}

/// Runs `prism-train` in `folder` with the library preloaded, where call number `at` fails; none fails at 0.
fn run_with(library: &Path, folder: &Path, (at, fault): (usize, Fault), arguments: &[&str]) -> Output {
    let (what, error) = match fault {
        Fault::Disk(error) => ("disk", error),
        Fault::Memory => ("memory", "12"),
    };
    let mut command = command("prism-train", folder, arguments);
    command.env("LD_PRELOAD", library).env("FAIL_BELOW", folder).env("FAIL_WHAT", what).env("FAIL_ERRNO", error);
    command.env("FAIL_AT", at.to_string()).env("FAIL_COUNT", count_file(library)).output().expect("the program starts")
}

fn count_file(library: &Path) -> PathBuf {
    library.with_extension("count")
}

/// About `tests` numbers from 1 to `last`, the first and the last among them.
fn spread(last: usize, tests: usize) -> impl Iterator<Item = usize> {
    let stride = (last / tests).max(1);
    (1..last).step_by(stride).chain([last])
}

fn a_run_survives(faults: &[Fault], more: &[&str]) {
    let (folder, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = fs::canonicalize(folder.path()).unwrap();
    let Some(library) = library(beside.path()) else { return };
    let whole = train(&root, "whole", more);
    let start = |name: &str, fault: (usize, Fault)| {
        let path = root.join(name).display().to_string();
        // One thread, so that calls come in one order.
        run_with(&library, &root, fault, &tiny(&[more, &["--threads", "1", "--out", &path]].concat()))
    };
    assert!(start("counted", (0, faults[0])).status.success());
    let counts = fs::read_to_string(count_file(&library)).unwrap();
    let calls: usize = counts.lines().last().unwrap().parse().unwrap();
    assert!(calls > 20, "{calls} calls: is the library loaded?");
    let mut failed = 0;
    for (at, &fault) in spread(calls, 8).zip(faults.iter().cycle()) {
        let (name, what) = (format!("run-{at}"), format!("call {at} of {calls}"));
        let run = root.join(&name);
        let output = start(&name, (at, fault));
        // What is only for durability, such as the sync of a folder, may fail.
        if !output.status.success() {
            fault.assert_ended(&output, &what);
            failed += 1;
            if run.join("settings.toml").exists() {
                succeed("prism-train", &root, &["--resume", &name, "--quiet"]);
            } else {
                // It had not begun, and the same command starts it.
                train(&root, &name, more);
            }
        }
        assert!(whole == artifact(&run), "{what}");
        assert_eq!(rounds_reported(&run), 3, "{what}: each round is reported once");
    }
    assert!(failed >= 4, "only {failed} runs failed: the calls that were to fail did not");
}

#[test]
fn rounds_on_a_failing_disk_lose_nothing() {
    a_run_survives(&[Fault::Disk(ENOSPC), Fault::Disk(EIO)], &[]);
}

#[test]
fn one_shot_on_a_failing_disk_loses_nothing() {
    a_run_survives(
        &[Fault::Disk(EIO), Fault::Disk(ENOSPC)],
        &["--mode", "one-shot", "--subclasses", "2", "--batch-size", "16"],
    );
}

#[test]
fn a_run_that_gets_no_memory_loses_nothing() {
    a_run_survives(&[Fault::Memory], &[]);
}
