//! The program `quartet`: arguments in, exit code out; all else is the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(quartet::cli::main())
}
