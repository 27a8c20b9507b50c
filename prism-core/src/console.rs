//! Lines and bytes on standard output and standard error, where a reader may have gone: `prism-train | head -1` must not end in a panic.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, StdoutLock, Write, stderr, stdout};
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
