//! The program `quartet`: arguments in, exit code out; all else is the library.

fn main() {
    // A panic has said what it has to say; it is ours, and no plugin's end of the process.
    let code = std::panic::catch_unwind(quartet::cli::main).unwrap_or(101);
    quartet::plugins::watch::leave(code)
}
