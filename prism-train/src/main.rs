//! The `prism-train` program; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    prism_train::cli::main()
}
