//! The plugin templates, built outside the tree as a stranger would.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peers::root;
use crate::wrapper::keep_from_others;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// The C template of a codec, copied beside the header and built by its own Makefile.
pub fn build_c(folder: &Path) -> PathBuf {
    build_c_template(folder, "codec", "l16.c")
}

/// The C template of a path.
pub fn build_c_path(folder: &Path) -> PathBuf {
    build_c_template(folder, "path", "framed.c")
}

/// The C template of a transport.
pub fn build_c_transport(folder: &Path) -> PathBuf {
    build_c_template(folder, "transport", "masked.c")
}

fn build_c_template(folder: &Path, kind: &str, source: &str) -> PathBuf {
    let root = root();
    for file in [source, "Makefile"] {
        let from = root.join(format!("plugins/template-{kind}-c")).join(file);
        copy(&from, &folder.join(file));
    }
    copy(
        &root.join("plugins/api/include/quartet_plugin.h"),
        &folder.join("quartet_plugin.h"),
    );
    let made = Command::new("make")
        .arg("-s")
        .current_dir(folder)
        .status()
        .expect("make");
    assert!(made.success(), "the C template builds outside the tree");
    let file = folder.join(format!("libtemplate_{kind}_c.so"));
    keep_from_others(folder, &file);
    file
}

/// The Rust template of a codec, copied, with its dependency pointed at the published sources.
pub fn build_rust(folder: &Path) -> PathBuf {
    lay_out_rust(folder);
    cargo_build(folder).unwrap_or_else(|text| panic!("the Rust template builds outside the tree: {text}"))
}

/// The Rust template of a path.
pub fn build_rust_path(folder: &Path) -> PathBuf {
    lay_out(folder, "template-path");
    cargo_build(folder).unwrap_or_else(|text| panic!("the Rust template builds outside the tree: {text}"))
}

/// The Rust template of a transport.
pub fn build_rust_transport(folder: &Path) -> PathBuf {
    lay_out(folder, "template-transport");
    cargo_build(folder).unwrap_or_else(|text| panic!("the Rust template builds outside the tree: {text}"))
}

/// The sources of the Rust template in a folder outside the tree, for a test to change before it builds them.
pub fn lay_out_rust(folder: &Path) {
    lay_out(folder, "template-codec");
}

fn lay_out(folder: &Path, template: &str) {
    let root = root();
    let from = root.join("plugins").join(template);
    copy(&from.join("src/lib.rs"), &folder.join("src/lib.rs"));
    let manifest = std::fs::read_to_string(from.join("Cargo.toml")).expect("Cargo.toml");
    let api = root.join("plugins/api").display().to_string();
    std::fs::write(
        folder.join("Cargo.toml"),
        manifest.replace("\"../api\"", &format!("{api:?}")),
    )
    .expect("Cargo.toml");
    copy(&root.join("Cargo.lock"), &folder.join("Cargo.lock"));
}

/// Builds what [`lay_out_rust`] left there; the error is what the compiler says.
pub fn cargo_build(folder: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "-q", "--offline"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .output()
        .expect("cargo");
    match built.status.success() {
        true => {
            let of = |kind: &str| folder.join(format!("target/debug/libtemplate_{kind}.so"));
            let mut built = ["codec", "transport", "path"]
                .map(of)
                .into_iter()
                .filter(|file| file.exists());
            let file = built.next().expect("a library");
            keep_from_others(folder, &file);
            Ok(file)
        }
        false => Err(String::from_utf8_lossy(&built.stderr).into_owned()),
    }
}
