//! Standard output and standard error, where a reader may have gone (`prism-train | head -1` must not end in a panic),
//! and how the program was called.

use std::env;
use std::ffi::OsStr;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, StdoutLock, Write, stderr, stdout};
use std::path::Path;
use std::process;

use crate::error::{Error, Result};

/// Writes a line of data to standard output. A reader that has gone misses nothing; a full disk ends the program.
pub fn out(line: Arguments<'_>) {
    if let Err(error) = deliver(|out| writeln!(out, "{line}")) {
        err(format_args!("error: cannot write <stdout>: {error}"));
        process::exit(1);
    }
}

/// Writes bytes to standard output. A reader that has gone misses nothing.
///
/// # Errors
/// [`Error::Io`] where they cannot be written, as on a full disk.
pub fn out_bytes(bytes: &[u8]) -> Result<()> {
    deliver(|out| out.write_all(bytes)).map_err(|error| Error::io("write", "<stdout>", error))
}

fn deliver(write: impl FnOnce(&mut StdoutLock<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut out = stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes a line of progress or of an error to standard error. Where that is closed, nobody is there to be told.
pub fn err(line: Arguments<'_>) {
    let _ = writeln!(stderr().lock(), "{line}");
}

/// How to call `program`, one of this project's, as this one was called: through cargo, or from the same folder.
pub fn command(program: &str) -> String {
    let called = env::args_os().next().unwrap_or_default();
    called_as(&called, env::var_os("CARGO").is_some(), program)
}

/// The same of a program that was `called` so, perhaps by cargo.
fn called_as(called: &OsStr, by_cargo: bool, program: &str) -> String {
    let called = Path::new(called);
    if by_cargo && called.iter().any(|part| part == "target") {
        let release = if called.iter().any(|part| part == "release") { "--release " } else { "" };
        return format!("cargo run {release}--bin {program} --");
    }
    called.with_file_name(program).display().to_string()
}

/// `println!`, but for a reader that has gone.
#[macro_export]
macro_rules! outln {
    ($($text:tt)*) => { $crate::console::out(format_args!($($text)*)) };
}

/// `eprintln!`, but for a reader that has gone.
#[macro_export]
macro_rules! errln {
    ($($text:tt)*) => { $crate::console::err(format_args!($($text)*)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_called_as_this_one_was() {
        let command = |called: &str, by_cargo| called_as(OsStr::new(called), by_cargo, "prism-infer");
        assert_eq!(command("prism-train", false), "prism-infer");
        assert_eq!(command("./target/release/prism-train", false), "./target/release/prism-infer");
        assert_eq!(command("target/release/prism-train", true), "cargo run --release --bin prism-infer --");
        assert_eq!(command("target/debug/prism-train", true), "cargo run --bin prism-infer --");
        assert_eq!(command("/usr/bin/prism-train", true), "/usr/bin/prism-infer");
    }
}
