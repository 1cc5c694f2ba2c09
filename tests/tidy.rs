//! The rules of the house that a machine can check: what may stand where, how long a file may be, what a name may not be.
//!
//! Each rule reports every place at once, as `file:line: sentence`. It reads text, not syntax: comments are skipped line by
//! line, and what follows the first `#[cfg(test)]` of a file counts as test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "tidy/directions.rs"]
mod directions;
#[path = "tidy/words.rs"]
mod words;

/// Longest file before its tests; a longer one says why after `Size:` in its header.
const MAX_FILE_LINES: usize = 500;

/// Where tokio may be: everything else is a machine, or a thread that shall not know of tasks.
const TOKIO_ROOMS: &[&str] = &[
    "gateway/src/io/",
    "gateway/src/cli/",
    "gateway/src/demo/",
    "gateway/src/networks/telegram/",
    "gateway/src/main.rs",
];

/// Names that say nothing about what is in there.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "misc", "types", "manager",
];

/// Every folder of the repository that holds Rust of the product.
const PRODUCT: &[&str] = &["proto/src/", "gateway/src/", "plugins/"];

/// A Rust file, cut where its tests begin.
struct Source {
    path: String,
    text: String,
    /// The lines before its `#[cfg(test)] mod tests {`.
    product: usize,
    /// Whether all of it is test: by its place, or because its parent declares it under `#[cfg(test)]`.
    test: bool,
}

impl Source {
    /// The lines of the product that are code, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().take(self.product).enumerate();
        lines
            .map(|(index, line)| (index + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The comment at the top.
    fn header(&self) -> String {
        self.text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Whether it is part of the product and not of its tests.
    fn is_product(&self) -> bool {
        PRODUCT.iter().any(|folder| self.path.starts_with(folder)) && !self.test
    }
}

/// Whether a whole file is test by its place: `plugins/x/tests/`, benches, examples.
fn is_test_place(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || ["/tests/", "/benches/", "/examples/"]
            .iter()
            .any(|folder| path.contains(folder))
}

/// The modules that a file has for tests alone: the line of `#[cfg(test)]`, the name, and whether the body follows.
fn test_modules(text: &str) -> Vec<(usize, String, bool)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut modules = Vec::new();
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| **line == "#[cfg(test)]") {
        let Some(item) = lines[at + 1..].iter().find(|line| !line.starts_with("#[")) else {
            continue;
        };
        if let Some(rest) = item
            .strip_prefix("pub(crate) ")
            .or(item.strip_prefix("pub(super) "))
            .unwrap_or(item)
            .strip_prefix("mod ")
        {
            modules.push((
                at,
                rest.trim_end_matches([';', '{', ' ', '}']).to_owned(),
                rest.contains('{'),
            ));
        }
    }
    modules
}

/// The folder in which the modules of a file are.
fn modules_folder(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let own = ["/mod", "/lib", "/main"].iter().find_map(|end| stem.strip_suffix(end));
    own.unwrap_or(stem).to_owned()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a folder of the repository")
        .to_owned()
}

/// The files that belong to the repository: those git knows, or all but build output where there is no git.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(repository())
        .output();
    let mut files: Vec<String> = match listed {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split_terminator('\0')
            .map(str::to_owned)
            .collect(),
        _ => {
            let mut found = Vec::new();
            walk(&repository(), "", &mut found);
            found
        }
    };
    files.retain(|file| repository().join(file).is_file());
    files.sort();
    files
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            if !name.starts_with('.') && !matches!(name.as_str(), "target" | "state" | "node_modules" | "corpus") {
                walk(&entry.path(), &format!("{path}/"), found);
            }
        } else {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let rust = files().into_iter().filter(|path| path.ends_with(".rs"));
    let mut sources: Vec<Source> = rust
        .map(|path| {
            let text = fs::read_to_string(repository().join(&path)).expect("a Rust file is UTF-8");
            let body = test_modules(&text)
                .into_iter()
                .find(|(_, _, body)| *body)
                .map(|(at, ..)| at);
            Source {
                product: body.unwrap_or_else(|| text.lines().count()),
                test: is_test_place(&path),
                path,
                text,
            }
        })
        .collect();
    let declared: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            let folder = modules_folder(&source.path);
            let files = test_modules(&source.text).into_iter().filter(|(_, _, body)| !*body);
            files.map(move |(_, name, _)| format!("{folder}/{name}"))
        })
        .collect();
    for source in &mut sources {
        let below = |module: &String| {
            source
                .path
                .strip_prefix(module.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        source.test |= declared.iter().any(below);
    }
    assert!(sources.len() > 20, "the repository was not found");
    sources
}

#[track_caller]
fn none(places: Vec<String>) {
    assert!(places.is_empty(), "\n{}\n", places.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    none(
        sources()
            .iter()
            .filter(|source| !source.text.starts_with("//!"))
            .map(|source| {
                format!(
                    "{}:1: begin with //! and what this is, what it is not, which spec",
                    source.path
                )
            })
            .collect(),
    );
}

#[test]
fn files_are_short_or_say_why_not() {
    none(
        sources()
            .iter()
            .filter(|source| {
                source.is_product() && source.product > MAX_FILE_LINES && !source.header().contains("Size:")
            })
            .map(|source| {
                let advice = "split it, or give a reason after Size: in the header";
                format!(
                    "{}:{}: {} lines before the tests; {advice}",
                    source.path,
                    MAX_FILE_LINES + 1,
                    source.product
                )
            })
            .collect(),
    );
}

#[test]
fn names_say_something() {
    let empty = |part: &str| EMPTY_NAMES.contains(&part.trim_end_matches(".rs"));
    none(
        sources()
            .iter()
            .filter(|source| source.path.split('/').any(empty))
            .map(|source| format!("{}:1: name the file after what is in it", source.path))
            .collect(),
    );
}

#[test]
fn tokio_stays_in_its_rooms() {
    let mut places = Vec::new();
    for source in sources() {
        if !source.is_product() || TOKIO_ROOMS.iter().any(|room| source.path.starts_with(room)) {
            continue;
        }
        for (number, line) in source
            .code()
            .filter(|(_, line)| line.contains("tokio::") || line.contains("use tokio"))
        {
            places.push(format!(
                "{}:{number}: sockets and tasks live in gateway/src/io: {}",
                source.path,
                line.trim()
            ));
        }
    }
    none(places);
}

#[test]
fn nothing_panics_for_want_of_a_reason() {
    let mut places = Vec::new();
    for source in sources().into_iter().filter(Source::is_product) {
        for (number, line) in source.code() {
            for word in [
                ".unwrap()",
                ".unwrap_err()",
                ".expect(\"\")",
                "todo!(",
                "unimplemented!(",
                "dbg!(",
            ] {
                if line.contains(word) {
                    places.push(format!(
                        "{}:{number}: {word} outside tests; return an error, or expect(\"why\")",
                        source.path
                    ));
                }
            }
        }
    }
    none(places);
}

#[test]
fn allowances_carry_a_reason() {
    let mut places = Vec::new();
    for source in sources().into_iter().filter(Source::is_product) {
        for (number, line) in source.code() {
            let line = line.trim_start();
            let whole = line.starts_with("#[allow(") || line.starts_with("#![allow(");
            if whole && line.ends_with(")]") && !line.contains("reason") {
                let before = source.text.lines().nth(number.saturating_sub(2)).unwrap_or_default();
                if !before.trim_start().starts_with("//") {
                    places.push(format!("{}:{number}: add reason = \"…\" to the allow", source.path));
                }
            }
        }
    }
    none(places);
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    // Put together here, so that this file does not find itself.
    let machines = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let mut places = Vec::new();
    for file in files() {
        let Ok(text) = fs::read_to_string(repository().join(&file)) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            for machine in &machines {
                let found = line.match_indices(machine.as_str()).any(|(at, _)| {
                    // Part of a longer path or of an address is something else.
                    !line[..at]
                        .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '}' | '*'))
                });
                if found {
                    places.push(format!(
                        "{file}:{}: {machine} is a folder of one machine; use a relative path",
                        index + 1
                    ));
                }
            }
        }
    }
    none(places);
}

#[test]
fn formatting_is_that_of_rustfmt() {
    let checked = Command::new(env!("CARGO"))
        .args(["fmt", "--all", "--check"])
        .current_dir(repository())
        .output();
    match checked {
        Ok(output) if output.status.success() => {}
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("no such command") => {
            println!("rustfmt is not installed, formatting was not checked");
        }
        Ok(output) => panic!("run cargo fmt --all:\n{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => panic!("cargo cannot be started: {error}"),
    }
}

#[test]
fn files_of_tests_are_told_from_the_product() {
    let text =
        "//! x\n#[cfg(test)]\nmod ladder;\nfn f() {}\n#[cfg(test)]\n#[path = \"x\"]\npub(crate) mod tests {\n}\n";
    let modules = test_modules(text);
    assert_eq!(
        modules,
        [(1, "ladder".to_owned(), false), (4, "tests".to_owned(), true)]
    );
    for (path, folder) in [("a/src/lib.rs", "a/src"), ("a/b/mod.rs", "a/b"), ("a/b.rs", "a/b")] {
        assert_eq!(modules_folder(path), folder);
    }
    assert!(is_test_place("gateway/src/config/tests.rs") && !is_test_place("gateway/src/config/kind.rs"));
}
