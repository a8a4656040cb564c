//! The `pdarts` program; everything lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pdarts::cli::run()
}
