//! The `prism-export` program; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    prism_export::cli::main()
}
