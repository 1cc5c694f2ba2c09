//! The program `quartet`.
fn main() {}
