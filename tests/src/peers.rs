//! Real peers that may be missing: skipped with a visible line, except in CI.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The program of that name, or none with a visible line; in CI a missing peer fails the test.
pub fn program(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    });
    found.or_else(|| missing(name))
}

/// The Python in which tests/setup installed the E2EE clients.
pub fn python() -> Option<PathBuf> {
    let python = root().join("target/peers/bin/python");
    if python.is_file() {
        Some(python)
    } else {
        missing("target/peers (ntgcalls)")
    }
}

/// JsSIP in one file, which tests/setup makes.
pub fn web() -> Option<PathBuf> {
    let file = root().join("target/peers/web/jssip.js");
    if file.is_file() {
        Some(file)
    } else {
        missing("target/peers/web (JsSIP)")
    }
}

/// Whether this process may make network namespaces.
pub fn may_make_namespaces() -> Option<()> {
    let root = std::process::Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|out| out.stdout == b"0\n");
    if root {
        program("ip").map(|_| ())
    } else {
        absent("the right to make network namespaces is missing; run it as root")
    }
}

/// The folder of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

fn missing<T>(name: &str) -> Option<T> {
    absent(&format!("{name} is missing; tests/setup installs it"))
}

/// Fails in CI; elsewhere says that the test is skipped, and why.
fn absent<T>(sentence: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{sentence}");
    // Not by eprintln: the test runner would keep that for itself.
    writeln!(std::io::stderr(), "SKIPPED: {sentence}").ok();
    None
}
