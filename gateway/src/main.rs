//! The program `quartet`: arguments in, exit code out; all else is the library.

fn main() {
    quartet::plugins::watch::leave(quartet::cli::main())
}
